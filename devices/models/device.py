"""Devices, the groups they stand in, and the SCEP servers they ask."""

from __future__ import annotations

import json
import zoneinfo
from datetime import tzinfo
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from devices import secrets
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Connector, Target
from devices.delivery.connectors.settings import SettingsInvalid, check
from devices.delivery.errors import NotConnected
from devices.models.choices import DriftChoices, StatusChoices
from devices.models.fields import BytesField
from devices.models.validators import validate_host, validate_ipsec_destinations, validate_tls_ports
from devices.rules.maintenance import URGENT_DAYS, Maintenance
from devices.rules.secret_places import SecretsPut, place
from devices.texts import Sentence

_NO_CONNECTOR = gettext_noop("The device has no connector. Choose one in the device's data.")
_DOES_NOT_FIT = Sentence(
    gettext_noop(
        "The settings of the device's connector do not fit it: %(problems)s. Correct them in the device's data."
    )
)


def validate_time_zone(value: str) -> None:
    """Raise ValidationError unless `value` names a time zone of the IANA database."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(
            _("“%(value)s” is not a time zone; write one like “Europe/Berlin” or “America/Sao_Paulo”."),
            params={"value": value},
        ) from None


SECRETS_HELD = gettext_noop(
    "The stored password was given for another address, so it is not sent to this one. Enter it again in the "
    "device's data, or have an administrator save them."
)


def default_tls_ports() -> list[int]:
    """HTTPS and IPPS (RFC 8011: 631, with TLS from the first byte)."""
    return [443, 631]


class DeviceGroup(models.Model):
    """Devices that share a time zone and a maintenance window."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    time_zone = models.CharField(
        _("Time zone"), max_length=64, default="UTC", validators=[validate_time_zone]
    )
    maintenance_start = models.TimeField(_("Maintenance window from"), null=True, blank=True)
    maintenance_end = models.TimeField(_("Maintenance window to"), null=True, blank=True)
    urgent_days = models.PositiveSmallIntegerField(
        _("Days before expiry without a window"),
        default=URGENT_DAYS,
        validators=[MaxValueValidator(3650)],
        help_text=_(
            "New certificates are delivered within the window. From this many days before the certificate in use "
            "expires, they are delivered at once."
        ),
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("Device group")
        verbose_name_plural = _("Device groups")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse half a window."""
        if (self.maintenance_start is None) != (self.maintenance_end is None):
            raise ValidationError(_("A maintenance window has a beginning and an end; enter both, or none."))

    @property
    def maintenance(self) -> Maintenance | None:
        """Its window, None where it has none."""
        if self.maintenance_start is None or self.maintenance_end is None:
            return None
        return Maintenance(self.maintenance_start, self.maintenance_end, zoneinfo.ZoneInfo(self.time_zone))


class Device(models.Model):
    """One MFP.

    The last block of columns is derived from the device's requests and keys. It exists so that lists of
    100,000 devices filter and sort by an index; `devices.models.summary.refresh` alone writes it.
    """

    name = models.CharField(_("Device name"), max_length=100, unique=True)
    host = models.CharField(
        _("IP address or FQDN"), max_length=253, validators=[validate_host], db_index=True
    )
    serial_number = models.CharField(_("Serial number"), max_length=100, blank=True)
    vendor = models.CharField(_("Vendor"), max_length=100, blank=True)
    model = models.CharField(_("Model"), max_length=100, blank=True)
    firmware = models.CharField(_("Firmware"), max_length=100, blank=True)
    location = models.CharField(_("Location"), max_length=200, blank=True)
    group = models.ForeignKey(
        DeviceGroup,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="devices",
        verbose_name=_("Device group"),
    )
    key_limit = models.PositiveSmallIntegerField(
        _("Key and certificate limit"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_("How many keys and certificates the device can hold, 1 to 1000."),
    )
    tls_enabled = models.BooleanField(_("TLS is on"), default=True)
    ieee_802_1x_enabled = models.BooleanField(_("IEEE 802.1X is on"), default=False)
    ipsec_enabled = models.BooleanField(_("IPSec is on"), default=False)
    ipsec_destinations = models.JSONField(
        _("IPSec destinations"), default=list, blank=True, validators=[validate_ipsec_destinations]
    )
    connector = models.CharField(
        _("Connector"),
        max_length=registry.NAME_LENGTH,
        choices=registry.choices,
        default=registry.NO_CONNECTOR,
        help_text=_("How this server talks to the device itself, to restart it for example."),
    )
    connector_settings = models.JSONField(_("Settings of the connector"), default=dict, blank=True)
    """Those that may be seen, as the connector's schema has checked them."""
    connector_secrets_encrypted = BytesField(null=True, editable=False)
    """The secret ones, as one JSON object, encrypted."""
    connector_secrets_set = models.JSONField(default=list, blank=True, editable=False)
    """The names of the secret settings that are stored: so much of them is shown."""
    secrets_entrusted_to = models.TextField(blank=True, default="", editable=False)
    """The place (devices/rules/secret_places.py) that the stored secrets were given or entrusted for; they are sent
    to no other."""
    tls_ports = models.JSONField(
        _("TLS ports"),
        default=default_tls_ports,
        validators=[validate_tls_ports],
        help_text=_("Where the certificate that the device serves is looked at: HTTPS and IPPS as a rule."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    installed_fingerprints = models.JSONField(default=list, blank=True, editable=False)
    """SHA-256 fingerprints of the last certificates that were sent to the device, the newest last: it is recognized
    by them. Written before they are sent."""
    probe_due_at = models.DateTimeField(null=True, editable=False)
    """When the sweep looks at the certificate that it serves; null: nothing of it was verified yet."""
    probed_at = models.DateTimeField(_("Last seen certificate"), null=True, editable=False)
    """When the sweep last saw one."""
    drift = models.CharField(
        _("Drift"), max_length=20, choices=DriftChoices.choices, blank=True, editable=False
    )
    """What was wrong with it; empty: nothing."""
    drift_explanation = models.TextField(blank=True, editable=False)

    status = models.CharField(
        _("Status"), max_length=20, choices=StatusChoices.choices, blank=True, editable=False
    )
    details = models.CharField(_("Details"), max_length=100, blank=True, editable=False)
    status_at = models.DateTimeField(_("Since"), null=True, editable=False)
    next_request_at = models.DateTimeField(_("Next Request Date/Time"), null=True, editable=False)
    expires_at = models.DateTimeField(_("Certificate expires"), null=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("Device")
        verbose_name_plural = _("Devices")
        permissions: ClassVar = [
            ("restart_device", "Can restart device"),
            ("deploy_device", "Can deliver keys to device"),
            ("entrust_secrets", "Can have stored secrets sent to another address"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["serial_number"],
                condition=~models.Q(serial_number=""),
                name="device_serial_number_unique",
                violation_error_message=_("Another device has this serial number."),
            ),
            models.CheckConstraint(condition=models.Q(key_limit__gte=1), name="device_key_limit"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "name"], name="device_status"),
            # with the id, lists find the next page in them however many devices share a value
            models.Index(fields=["next_request_at", "id"], name="device_next_request"),
            models.Index(fields=["expires_at", "id"], name="device_expires"),
            models.Index(fields=["status_at", "id"], name="device_status_at"),
            models.Index(
                fields=["probe_due_at"],
                condition=models.Q(probe_due_at__isnull=False),
                name="device_probe_due",
            ),
            models.Index(fields=["drift"], condition=~models.Q(drift=""), name="device_drift"),
        ]

    EXPIRES_UNRENEWED: ClassVar = (
        models.Q(expires_at__isnull=False)
        & (models.Q(next_request_at__isnull=True) | models.Q(next_request_at__gte=models.F("expires_at")))
        & ~models.Q(status=StatusChoices.PROCESSING)
    )
    """Devices whose certificate will expire before anything is requested: `expires_unrenewed` in SQL."""

    def __str__(self) -> str:
        return self.name

    def put_connector_settings(self, values: Any, *, keep_secrets: bool) -> SecretsPut:
        """Check `values` by the connector's schema and take them over, secret ones encrypted.

        With `keep_secrets` those that are left out stay; an empty one goes.
        Raises ValidationError at `connector_settings`.
        """
        connector = registry.known().get(self.connector)
        stored = self.connector_secrets_set if keep_secrets else []
        try:
            checked = check(connector.schema if connector else (), values, stored_secrets=stored)
        except SettingsInvalid as error:
            problems = [f"{name}: {problem}" if name else problem for name, problem in error.problems.items()]
            raise ValidationError({"connector_settings": problems}) from None
        self.connector_settings = dict(checked.plain)
        if not checked.secrets and (keep_secrets or not self.connector_secrets_set):
            return SecretsPut(changed=False, all_given=False)
        # what is replaced as a whole need not be readable any more
        kept = self.reveal_connector_secrets() if set(stored) - set(checked.secrets) else {}
        secret = {name: value for name, value in {**kept, **checked.secrets}.items() if value}
        self.connector_secrets_encrypted = secrets.encrypt_text(json.dumps(secret) if secret else "")
        self.connector_secrets_set = sorted(secret)
        return SecretsPut(changed=True, all_given=not set(secret) - set(checked.secrets))

    @property
    def secrets_place(self) -> str:
        """Where the secrets would be sent to, as `secrets_entrusted_to` says it; empty: there are none."""
        if not self.connector_secrets_set:
            return ""
        return place(self.connector, self.host, registry.address_in(self.connector, self.connector_settings))

    @property
    def secrets_held(self) -> bool:
        """True when secrets are stored that were given for another address, and are not sent to this one."""
        return self.secrets_place not in ("", self.secrets_entrusted_to)

    def connect(self, *, with_secrets: bool = True) -> Connector:
        """The device's connector, ready to talk; without its secrets where nothing secret is sent.

        Raises NotConnected and devices.secrets.SecretUnreadable.
        """
        connector = registry.known().get(self.connector)
        if connector is None:
            raise NotConnected(_NO_CONNECTOR)
        try:
            check(connector.schema, self.connector_settings, stored_secrets=self.connector_secrets_set)
        except SettingsInvalid as error:
            raise NotConnected(_DOES_NOT_FIT(problems=error)) from None
        if with_secrets and self.secrets_held:
            raise NotConnected(SECRETS_HELD)
        return connector(
            Target(
                self.host,
                self.connector_settings,
                self.reveal_connector_secrets() if with_secrets else {},
                tls_ports=tuple(self.tls_ports),
                installed_fingerprints=frozenset(self.installed_fingerprints),
            )
        )

    def reveal_connector_secrets(self) -> dict[str, str]:
        """The secret settings in clear, for their one use. Raises devices.secrets.SecretUnreadable."""
        stored = secrets.decrypt_text(self.connector_secrets_encrypted)
        found: dict[str, str] = json.loads(stored) if stored else {}
        return found

    @property
    def zone(self) -> tzinfo:
        """The time zone in which its times are entered and shown: its group's, else the site's."""
        return zoneinfo.ZoneInfo(self.group.time_zone) if self.group else timezone.get_default_timezone()

    @property
    def expires_unrenewed(self) -> bool:
        """True when the certificate expires before the next request, or nothing is scheduled at all."""
        if self.expires_at is None or self.status == StatusChoices.PROCESSING:
            return False
        return self.next_request_at is None or self.next_request_at >= self.expires_at
