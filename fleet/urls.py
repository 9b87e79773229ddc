"""The addresses of the site: pages and REST. /healthz and /readyz are answered by fleet/health.py."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("devices.api.urls")),
    path("", include("fleet.dashboard.urls")),
]
