"""The addresses under /api/v1/."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.routers import SimpleRouter

from devices.api import (
    care,
    deployments,
    discovery,
    forecast,
    jobs,
    overview,
    templates,
    tokens,
    transfer,
    views,
    webhooks,
)

app_name = "api"

router = SimpleRouter()
router.register("scep-servers", views.ScepServerViewSet, basename="scep-server")
router.register("device-groups", views.DeviceGroupViewSet, basename="device-group")
router.register("devices", views.DeviceViewSet, basename="device")
router.register("audit-events", views.AuditEventViewSet, basename="audit-event")
router.register("auth/tokens", tokens.ApiTokenViewSet, basename="api-token")
router.register("imports", transfer.ImportViewSet, basename="import")
router.register("deployments", deployments.DeploymentViewSet, basename="deployment")
router.register("jobs", jobs.JobViewSet, basename="job")
router.register("settings-templates", templates.SettingsTemplateViewSet, basename="settings-template")
router.register("device-searches", discovery.DeviceSearchViewSet, basename="device-search")
router.register("found-devices", discovery.FoundDeviceViewSet, basename="found-device")
router.register("webhooks", webhooks.WebhookViewSet, basename="webhook")

of_device = SimpleRouter()
of_device.register("issuance-requests", views.IssuanceRequestViewSet, basename="issuance-request")
of_device.register("restarts", views.RestartViewSet, basename="restart")
of_device.register("keys", views.KeyViewSet, basename="key")

of_job = SimpleRouter()
of_job.register("items", jobs.JobItemViewSet, basename="job-item")

of_webhook = SimpleRouter()
of_webhook.register("deliveries", webhooks.DeliveryViewSet, basename="webhook-delivery")
of_import = SimpleRouter()
of_import.register("rows", transfer.ImportRowViewSet, basename="import-row")

urlpatterns = [
    path("auth/token/", tokens.TokenView.as_view(), name="token"),
    path("overview/", overview.OverviewView.as_view(), name="overview"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="api:schema"), name="docs"),
    path("", include(router.urls)),
    path("devices/<int:device_id>/scep-settings/", views.ScepSettingsView.as_view(), name="scep-settings"),
    path("connectors/", care.ConnectorsView.as_view(), name="connectors"),
    path(
        "devices/<int:device_id>/restart-settings/",
        care.RestartSettingsView.as_view(),
        name="restart-settings",
    ),
    path("devices/<int:device_id>/identity/", care.IdentityView.as_view(), name="identity"),
    path(
        "devices/<int:device_id>/connector-test/",
        care.ConnectorTestView.as_view(),
        name="connector-test",
    ),
    path("devices/<int:device_id>/keys/<int:pk>/pkcs12/", care.Pkcs12View.as_view(), name="key-pkcs12"),
    path(
        "devices/<int:device_id>/keys/<int:pk>.pem",
        views.PemViewSet.as_view({"get": "retrieve"}),
        name="key-pem",
    ),
    path(
        "devices/<int:device_id>/keys/<int:key_id>/deployment/",
        deployments.KeyDeploymentView.as_view(),
        name="key-deployment",
    ),
    path(
        "devices/<int:device_id>/fingerprint/",
        deployments.FingerprintView.as_view(),
        name="device-fingerprint",
    ),
    path("devices/<int:device_id>/", include(of_device.urls)),
    path("device-groups/<int:group_id>/spread/", forecast.GroupSpreadView.as_view(), name="group-spread"),
    path("forecast/", forecast.ForecastView.as_view(), name="forecast"),
    path("jobs/<int:job_id>/", include(of_job.urls)),
    path("webhooks/<int:webhook_id>/", include(of_webhook.urls)),
    path("imports/<int:import_id>/report.csv", transfer.ImportReportView.as_view(), name="import-report"),
    path("imports/<int:import_id>/", include(of_import.urls)),
    path("exports/devices.csv", transfer.DevicesCsvView.as_view(), name="export-csv"),
    path("exports/devices.xml", transfer.DevicesXmlView.as_view(), name="export-xml"),
    path("exports/devices.zip", transfer.DevicesWithSecretsView.as_view(), name="export-secrets"),
    path("exports/status-log.csv", transfer.StatusLogView.as_view(), name="export-status-log"),
    path("exports/certificates.zip", transfer.CertificatesView.as_view(), name="export-certificates"),
]
