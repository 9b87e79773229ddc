"""The Django app of the fleet."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class DevicesConfig(AppConfig):
    """Devices, their SCEP settings, requests, keys and the audit trail."""

    name = "devices"
    verbose_name = _("Devices")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Keep the groups of R1 beside the permissions, which Django makes after migrating, too."""
        from devices.access import bring_groups_up_to_date

        post_migrate.connect(bring_groups_up_to_date, sender=self, dispatch_uid="devices.groups")
