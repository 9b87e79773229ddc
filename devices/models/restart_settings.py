"""How a device is restarted beside its connector, and how long one waits until it is idle (R7, R13)."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from devices import secrets
from devices.delivery.connectors.base import Target
from devices.delivery.connectors.settings import SettingsInvalid, address_in
from devices.delivery.connectors.snmp import check_access
from devices.delivery.connectors.snmp_device import SnmpDevice
from devices.delivery.errors import NotConnected
from devices.models.choices import WhenBusyChoices
from devices.models.device import Device
from devices.models.fields import BytesField
from devices.rules.restart import IDLE_MINUTES, LONGEST_IDLE_MINUTES
from devices.rules.secret_places import SecretsPut, place

SNMP_SECRETS_HELD = gettext_noop(
    "The stored secrets for SNMP were given for another address, so they are not sent to this one. Enter them again "
    "in the restart settings of the device, or have an administrator save them."
)


class RestartSettings(models.Model):
    """Of one device. A device without them is restarted by its connector, with the defaults."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="restart_settings")
    idle_minutes = models.PositiveSmallIntegerField(
        _("Wait until the device is idle, at most"),
        default=IDLE_MINUTES,
        validators=[MinValueValidator(0), MaxValueValidator(LONGEST_IDLE_MINUTES)],
        help_text=_("Minutes, 0 to 1440."),
    )
    when_busy = models.CharField(
        _("If it is still busy then"),
        max_length=10,
        choices=WhenBusyChoices.choices,
        default=WhenBusyChoices.GIVE_UP,
        help_text=_("A batch import or export does not count as busy: the device restarts even then."),
    )
    restart_over_snmp = models.BooleanField(
        _("Restart over SNMP"),
        default=False,
        help_text=_(
            "Where the connector cannot: by prtGeneralReset of RFC 3805. The user or community must be permitted to "
            "write at the device."
        ),
    )
    snmp = models.JSONField(_("SNMP"), default=dict, blank=True)
    """What may be seen, as `snmp.check_access` has checked it; empty: no SNMP."""
    snmp_secrets_encrypted = BytesField(null=True, editable=False)
    """The secret ones, as one JSON object, encrypted."""
    snmp_secrets_set = models.JSONField(default=list, blank=True, editable=False)
    """The names of the secret ones that are stored."""
    snmp_secrets_entrusted_to = models.TextField(blank=True, default="", editable=False)
    """The place that they were given or entrusted for, as those of the device's connector."""

    class Meta:
        verbose_name = _("Restart settings")
        verbose_name_plural = _("Restart settings")
        default_permissions = ()
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(idle_minutes__range=(0, LONGEST_IDLE_MINUTES)),
                name="restart_settings_idle_minutes",
            ),
        ]

    def __str__(self) -> str:
        return f"restarts of device {self.device_id}"

    def check_ways(self) -> None:
        """Raise ValidationError for a restart over SNMP without SNMP."""
        if self.restart_over_snmp and not self.has_snmp:
            raise ValidationError({"restart_over_snmp": _("Enter first how the device is asked over SNMP.")})

    @property
    def has_snmp(self) -> bool:
        """True when the device can be asked over SNMP."""
        return bool(self.snmp or self.snmp_secrets_set)

    def put_snmp(self, values: Any) -> SecretsPut:
        """Check `values` and take them over, secret ones encrypted; those that are left out stay, empty ones go.

        No values at all: no SNMP, and no secret.
        Raises ValidationError at `snmp`.
        """
        stored = self.snmp_secrets_set if values else []
        try:
            checked = check_access(SnmpDevice.schema, values, stored_secrets=stored)
        except SettingsInvalid as error:
            problems = [f"{name}: {problem}" if name else problem for name, problem in error.problems.items()]
            raise ValidationError({"snmp": problems}) from None
        self.snmp = dict(checked.plain)
        kept = self._reveal() if stored else {}
        secret = {name: value for name, value in {**kept, **checked.secrets}.items() if value}
        changed = bool(checked.secrets) or sorted(secret) != self.snmp_secrets_set
        if changed:
            self.snmp_secrets_encrypted = secrets.encrypt_text(json.dumps(secret) if secret else "")
            self.snmp_secrets_set = sorted(secret)
        return SecretsPut(changed, all_given=bool(secret) and not set(secret) - set(checked.secrets))

    @property
    def snmp_secrets_place(self) -> str:
        """Where the secrets would be sent to, as `snmp_secrets_entrusted_to` says it; empty: there are none."""
        if not self.snmp_secrets_set:
            return ""
        return place("snmp", self.device.host, address_in(SnmpDevice.schema, self.snmp))

    @property
    def snmp_secrets_held(self) -> bool:
        """True when secrets are stored that were given for another address, and are not sent to this one."""
        return self.snmp_secrets_place not in ("", self.snmp_secrets_entrusted_to)

    def snmp_device(self) -> SnmpDevice:
        """The device as its SNMP agent shows it. Raises NotConnected and devices.secrets.SecretUnreadable."""
        if self.snmp_secrets_held:
            raise NotConnected(SNMP_SECRETS_HELD)
        return SnmpDevice(Target(self.device.host, self.snmp, self._reveal()))

    def _reveal(self) -> dict[str, str]:
        stored = secrets.decrypt_text(self.snmp_secrets_encrypted)
        found: dict[str, str] = json.loads(stored) if stored else {}
        return found
