"""Devices, the groups they stand in, and the SCEP servers they ask."""

from __future__ import annotations

import json
import zoneinfo
from collections.abc import Mapping, Sequence
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
from devices.delivery.connectors.settings import Setting, SettingsInvalid, check
from devices.delivery.errors import NotConnected
from devices.models.choices import DriftChoices, StatusChoices
from devices.models.fields import BytesField
from devices.models.group import DeviceGroup
from devices.models.group import validate_time_zone as validate_time_zone  # a migration has it from here
from devices.models.validators import validate_host, validate_ipsec_destinations, validate_tls_ports
from devices.rules.secret_places import SecretsPut, place
from devices.texts import Sentence

_NO_CONNECTOR = gettext_noop("The device has no connector. Choose one in the device's data.")
_DOES_NOT_FIT = Sentence(
    gettext_noop(
        "The settings of the device's connector do not fit it: %(problems)s. Correct them in the device's data."
    )
)

GROUP_SECRETS_HELD = gettext_noop(
    "The password of the device's group is not sent to this address, because nobody who may decide that has done so. "
    "Have an administrator save the device's data, or enter a password of its own."
)
SECRETS_HELD = gettext_noop(
    "The stored password was given for another address, so it is not sent to this one. Enter it again in the "
    "device's data, or have an administrator save them."
)


def default_tls_ports() -> list[int]:
    """HTTPS and IPPS (RFC 8011: 631, with TLS from the first byte)."""
    return [443, 631]


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
        schema = connector.schema if connector else ()
        stored = self.connector_secrets_set if keep_secrets else []
        try:
            at_hand = self.names_at_hand(schema, values, keep_secrets=keep_secrets)
            checked = check(schema, values, stored_secrets=at_hand)
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
        return SecretsPut(changed=True, all_given=bool(secret) and not set(secret) - set(checked.secrets))

    def names_at_hand(
        self, schema: Sequence[Setting], values: Any, *, keep_secrets: bool = True
    ) -> list[str]:
        """The settings that `values` may leave out: the secrets that are stored, or else what its group has."""
        if not isinstance(values, Mapping):
            return []
        if kept := [name for name in self.connector_secrets_set if keep_secrets and values.get(name) != ""]:
            return kept
        if self.group is None or any(values.get(setting.name) for setting in schema if setting.is_secret):
            return []
        plain = self.group.connector_settings.get(self.connector, {})
        return [*plain, *self.group.connector_secrets_set.get(self.connector, [])]

    @property
    def secrets_from_group(self) -> list[str]:
        """The names of the secrets that it has from its group: all or nothing, where it has none of its own."""
        if self.connector_secrets_set or self.group is None:
            return []
        found: list[str] = self.group.connector_secrets_set.get(self.connector, [])
        return found

    @property
    def secrets_place(self) -> str:
        """Where the secrets would be sent to, as `secrets_entrusted_to` says it; empty: there are none."""
        return self.place_to_entrust if self.connector_secrets_set or self.secrets_from_group else ""

    @property
    def place_to_entrust(self) -> str:
        """The same, also while neither it nor its group has secrets yet; empty: none can come from anywhere."""
        group = None if self.connector_secrets_set else self.group_id
        if not self.connector_secrets_set and group is None:
            return ""
        address = registry.address_in(self.connector, self.connector_settings)
        return place(self.connector, self.host, address, group=group)

    @property
    def secrets_held(self) -> bool:
        """True when secrets are stored, its own or its group's, that nobody gave or entrusted for this address: they
        are not sent to it."""
        return self.secrets_place not in ("", self.secrets_entrusted_to)

    @property
    def why_held(self) -> str:
        """What to say of it, and do; empty when they are not held. For gettext."""
        if not self.secrets_held:
            return ""
        return GROUP_SECRETS_HELD if self.secrets_from_group else SECRETS_HELD

    def connect(self, *, with_secrets: bool = True) -> Connector:
        """The device's connector, ready to talk; without its secrets where nothing secret is sent.

        Raises NotConnected and devices.secrets.SecretUnreadable.
        """
        connector = registry.known().get(self.connector)
        if connector is None:
            raise NotConnected(_NO_CONNECTOR)
        from_group = self.group if self.secrets_from_group else None
        settings = self.connector_settings
        if from_group is not None:
            settings = {**settings, **from_group.connector_settings.get(self.connector, {})}
        try:
            at_hand = self.connector_secrets_set or self.secrets_from_group
            check(connector.schema, settings, stored_secrets=at_hand)
        except SettingsInvalid as error:
            raise NotConnected(_DOES_NOT_FIT(problems=error)) from None
        if with_secrets and self.secrets_held:
            raise NotConnected(self.why_held)
        return connector(
            Target(
                self.host,
                settings,
                self._secrets() if with_secrets else {},
                tls_ports=tuple(self.tls_ports),
                installed_fingerprints=frozenset(self.installed_fingerprints),
            )
        )

    def _secrets(self) -> dict[str, str]:
        """What its connector signs in with. Raises SecretUnreadable."""
        if self.secrets_from_group and self.group is not None:
            return self.group.reveal_connector_secrets().get(self.connector, {})
        return self.reveal_connector_secrets()

    def reveal_connector_secrets(self) -> dict[str, str]:
        """Its own secret settings in clear, for their one use. Raises devices.secrets.SecretUnreadable."""
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
