"""Devices, the groups they stand in, and the SCEP servers they ask."""

from __future__ import annotations

import json
import zoneinfo
from datetime import tzinfo
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices import secrets
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Connector, Target
from devices.delivery.connectors.settings import SettingsInvalid, check
from devices.delivery.errors import NotConnected
from devices.models.choices import StatusChoices
from devices.models.validators import validate_host, validate_ipsec_destinations, validate_scep_url


def validate_time_zone(value: str) -> None:
    """Raise ValidationError unless `value` names a time zone of the IANA database."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(
            _("“%(value)s” is not a time zone; write one like “Europe/Berlin” or “America/Sao_Paulo”."),
            params={"value": value},
        ) from None


class DeviceGroup(models.Model):
    """Devices that share a time zone and a maintenance window."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    time_zone = models.CharField(
        _("Time zone"), max_length=64, default="UTC", validators=[validate_time_zone]
    )
    maintenance_start = models.TimeField(_("Maintenance window from"), null=True, blank=True)
    maintenance_end = models.TimeField(_("Maintenance window to"), null=True, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("Device group")
        verbose_name_plural = _("Device groups")

    def __str__(self) -> str:
        return self.name


class ScepServer(models.Model):
    """A SCEP server (R2) with what the administrator permits and what the server last said of itself."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    url = models.CharField(
        _("SCEP Server URL"),
        max_length=500,
        validators=[validate_scep_url],
        help_text=_(
            "For example http://ca.example.com/scep or https://ca.example.com/certsrv/mscep/mscep.dll"
        ),
    )
    port = models.PositiveIntegerField(
        _("Port Number"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("1 to 65535. Leave empty to use the port in the URL, or 80 for http and 443 for https."),
    )
    timeout = models.PositiveSmallIntegerField(
        _("Communication Timeout"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(300)],
        help_text=_("Seconds, 1 to 300: without an answer within it the connection is given up."),
    )
    ca_identifier = models.CharField(
        _("CA identifier"),
        max_length=200,
        blank=True,
        help_text=_("Sent with GetCACert; most servers want it empty."),
    )
    ca_fingerprint = models.CharField(
        _("Pinned CA fingerprint"),
        max_length=200,
        blank=True,
        validators=[
            RegexValidator(
                r"^(?:[0-9A-Fa-f]{2}[:\s]?){32}$",
                _("Write the SHA-256 fingerprint as 64 hexadecimal digits, colons allowed."),
            )
        ],
        help_text=_("SHA-256. A CA certificate with another fingerprint is refused."),
    )
    allow_sha1 = models.BooleanField(
        _("Sign with SHA-1 where the server offers nothing better"), default=False
    )
    allow_3des = models.BooleanField(
        _("Encrypt with 3DES where the server offers nothing better"), default=False
    )
    allow_des_replies = models.BooleanField(
        _("Accept replies encrypted with single DES"),
        default=False,
        help_text=_("Some servers, micromdm's among them, answer in DES although they advertise AES."),
    )
    max_requests_per_minute = models.PositiveIntegerField(
        _("Most requests per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Leave empty for no limit."),
    )
    max_requests_at_once = models.PositiveIntegerField(
        _("Most requests at once"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Leave empty for no limit."),
    )
    profile = models.JSONField(null=True, blank=True, editable=False)
    """What GetCACaps and GetCACert said (scep.exchange.ServerProfile.to_json), or null: ask anew."""
    profile_fetched_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("SCEP server")
        verbose_name_plural = _("SCEP servers")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(port__isnull=True) | models.Q(port__range=(1, 65535)),
                name="scep_server_port",
            ),
            models.CheckConstraint(condition=models.Q(timeout__range=(1, 300)), name="scep_server_timeout"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a port that is given twice and differently."""
        if self.port is not None and self.url:
            in_url = urlsplit(self.url).port
            if in_url is not None and in_url != self.port:
                raise ValidationError(
                    {
                        "port": _(
                            "The URL names port %(in_url)s and this field %(port)s: give the port once."
                        )
                        % {"in_url": in_url, "port": self.port}
                    }
                )

    @property
    def endpoint(self) -> str:
        """The URL to talk to, with the port in it."""
        parts = urlsplit(self.url)
        if self.port is None or parts.port is not None:
            return self.url
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return urlunsplit(parts._replace(netloc=f"{host}:{self.port}"))


class AllowanceUse(models.Model):
    """One request that a worker took up for a server with a limit per minute; kept for that minute."""

    server = models.ForeignKey(ScepServer, on_delete=models.CASCADE, related_name="allowance_uses")
    at = models.DateTimeField()

    class Meta:
        verbose_name = _("Use of a server's allowance")
        verbose_name_plural = _("Uses of a server's allowance")
        indexes: ClassVar = [models.Index(fields=["server", "at"], name="allowance_use")]

    def __str__(self) -> str:
        return f"server {self.server_id} at {self.at:%H:%M:%S}"


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
    connector_secrets_encrypted = models.BinaryField(null=True, editable=False)
    """The secret ones, as one JSON object, encrypted."""
    connector_secrets_set = models.JSONField(default=list, blank=True, editable=False)
    """The names of the secret settings that are stored: so much of them is shown."""
    created_at = models.DateTimeField(auto_now_add=True)

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
        permissions: ClassVar = [("restart_device", "Can restart device")]
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
            models.Index(fields=["next_request_at"], name="device_next_request"),
            models.Index(fields=["expires_at"], name="device_expires"),
            models.Index(fields=["status_at"], name="device_status_at"),
        ]

    EXPIRES_UNRENEWED: ClassVar = (
        models.Q(expires_at__isnull=False)
        & (models.Q(next_request_at__isnull=True) | models.Q(next_request_at__gte=models.F("expires_at")))
        & ~models.Q(status=StatusChoices.PROCESSING)
    )
    """Devices whose certificate will expire before anything is requested: `expires_unrenewed` in SQL."""

    def __str__(self) -> str:
        return self.name

    def put_connector_settings(self, values: Any, *, keep_secrets: bool) -> bool:
        """Check `values` by the connector's schema and take them over, secret ones encrypted.

        With `keep_secrets` those that are left out stay; an empty one goes. True when secrets were given or dropped.
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
            return False
        # what is replaced as a whole need not be readable any more
        kept = self._reveal_connector_secrets() if set(stored) - set(checked.secrets) else {}
        secret = {name: value for name, value in {**kept, **checked.secrets}.items() if value}
        self.connector_secrets_encrypted = secrets.encrypt_text(json.dumps(secret) if secret else "")
        self.connector_secrets_set = sorted(secret)
        return True

    def connect(self) -> Connector:
        """The device's connector, ready to talk. Raises NotConnected and devices.secrets.SecretUnreadable."""
        connector = registry.known().get(self.connector)
        if connector is None:
            raise NotConnected("The device has no connector. Choose one in the device's data.")
        try:
            check(connector.schema, self.connector_settings, stored_secrets=self.connector_secrets_set)
        except SettingsInvalid as error:
            raise NotConnected(
                f"The settings of the device's connector do not fit it: {error}. Correct them in the device's data."
            ) from None
        return connector(Target(self.host, self.connector_settings, self._reveal_connector_secrets()))

    def _reveal_connector_secrets(self) -> dict[str, str]:
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
