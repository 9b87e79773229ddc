"""The Django app of the fleet."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DevicesConfig(AppConfig):
    """Devices, their SCEP settings, requests, keys and the audit trail."""

    name = "devices"
    verbose_name = _("Devices")
    default_auto_field = "django.db.models.BigAutoField"
