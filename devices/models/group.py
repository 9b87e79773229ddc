"""Groups of devices, and what they share."""

from __future__ import annotations

import json
import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices import secrets
from devices.delivery.connectors import credentials, registry
from devices.delivery.connectors.credentials import CredentialsInvalid
from devices.models.fields import BytesField
from devices.rules.maintenance import URGENT_DAYS, Maintenance
from devices.rules.secret_places import SecretsPut


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
    """Devices that share a time zone, a maintenance window, and credentials for their connectors."""

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

    connector_settings = models.JSONField(_("Credentials of connectors"), default=dict, blank=True)
    """By connector, for devices without secrets of their own: what may be seen, mostly the user name. Each connector
    with secrets is there."""
    connector_secrets_encrypted = BytesField(null=True, editable=False)
    """The secret ones, by connector, as one JSON object, encrypted."""
    connector_secrets_set = models.JSONField(default=dict, blank=True, editable=False)
    """The names of the secret ones that are stored, by connector."""

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

    def put_connector_settings(self, values: Any) -> dict[str, SecretsPut]:
        """Check credentials by connector, and have them in place of those that are stored, secret ones encrypted.

        Of a connector that is named, secret ones that are left out stay; empty ones go, and so does all of a
        connector that is not named. Returns what became of the secrets of each connector that has or had some.
        Raises ValidationError at `connector_settings`.
        """
        stored = self.connector_secrets_set
        try:
            checked = credentials.check_all(values, stored=stored)
        except CredentialsInvalid as error:
            raise ValidationError({"connector_settings": error.sentences(error.problems)}) from None
        given = {name: one.secrets for name, one in checked.items()}
        # what is replaced as a whole need not be readable any more
        keeps = any(set(stored.get(name, ())) - set(secret) for name, secret in given.items())
        kept = self.reveal_connector_secrets() if keeps else {}
        secret = {
            name: {key: value for key, value in {**kept.get(name, {}), **new}.items() if value}
            for name, new in given.items()
        }
        puts = {
            name: SecretsPut(
                changed=bool(given.get(name)) or name not in given,
                all_given=bool(secret.get(name)) and not set(secret[name]) - set(given[name]),
            )
            for name in {*stored, *given}
        }
        self.connector_settings = {name: dict(one.plain) for name, one in checked.items()}
        if any(put.changed for put in puts.values()):
            self.connector_secrets_encrypted = secrets.encrypt_text(json.dumps(secret) if secret else "")
            self.connector_secrets_set = {name: sorted(values) for name, values in secret.items()}
        return puts

    def reveal_connector_secrets(self) -> dict[str, dict[str, str]]:
        """The secret ones in clear, by connector, for their one use. Raises devices.secrets.SecretUnreadable."""
        stored = secrets.decrypt_text(self.connector_secrets_encrypted)
        found: dict[str, dict[str, str]] = json.loads(stored) if stored else {}
        return found

    @property
    def credentials_labels(self) -> list[str]:
        """The connectors for which it has credentials, for people."""
        known = registry.known()
        return [
            str(known[name].label) if name in known else name for name in sorted(self.connector_secrets_set)
        ]
