"""The addresses of the site: pages, REST, health."""

from django.urls import include, path

from fleet import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/v1/", include("devices.api.urls")),
    path("", include("fleet.dashboard.urls")),
]
