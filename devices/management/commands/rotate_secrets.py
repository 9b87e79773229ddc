"""`manage.py rotate_secrets`: every stored secret under the first key of the ring."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from devices import secrets
from devices.models import (
    Deployment,
    Device,
    DeviceGroup,
    DeviceSearch,
    ImportPart,
    ImportRow,
    IssuanceRequest,
    Job,
    KeyAndCertificate,
    RestartSettings,
    ScepSettings,
    SettingsTemplate,
    Webhook,
)
from devices.secrets import SecretUnreadable

ENCRYPTED_COLUMNS: tuple[tuple[type[models.Model], tuple[str, ...]], ...] = (
    (Device, ("connector_secrets_encrypted",)),
    (DeviceGroup, ("connector_secrets_encrypted",)),
    (RestartSettings, ("snmp_secrets_encrypted",)),
    (DeviceSearch, ("snmp_secrets_encrypted",)),
    (ScepSettings, ("challenge_password_encrypted",)),
    (
        IssuanceRequest,
        ("challenge_password_encrypted", "private_key_encrypted", "csr_encrypted", "signer_key_encrypted"),
    ),
    (KeyAndCertificate, ("private_key_encrypted",)),
    (Deployment, ("former_private_key_encrypted",)),
    (SettingsTemplate, ("challenge_password_encrypted",)),
    (Job, ("secrets_encrypted",)),
    (Webhook, ("secret_encrypted",)),
    (ImportPart, ("content_encrypted",)),
    (ImportRow, ("secrets_encrypted",)),
)
"""Every column that holds a secret; a test compares this list with the models."""

_BATCH = 500


class Command(BaseCommand):
    """Safe while the product runs, and safe to repeat: each batch is a transaction of its own."""

    help = (
        "Encrypt every stored secret under the first key of FLEETSEAL_ENCRYPTION_KEYS. "
        "Afterwards the other keys can be dropped."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate model by model, with the numbers printed. Raises CommandError for an unreadable secret."""
        for model, columns in ENCRYPTED_COLUMNS:
            rotated = sum(self._rotate(model, column) for column in columns)
            self.stdout.write(f"{model._meta.verbose_name_plural}: {rotated} secrets rotated")

    def _rotate(self, model: type[models.Model], column: str) -> int:
        rotated, last = 0, 0
        rows = model._default_manager.filter(**{f"{column}__isnull": False}).order_by("pk")
        while True:
            with transaction.atomic():
                batch = list(rows.filter(pk__gt=last).select_for_update().only(column)[:_BATCH])
                for row in batch:
                    try:
                        setattr(row, column, secrets.rotate(getattr(row, column)))
                    except SecretUnreadable as error:
                        raise CommandError(f"{model._meta.verbose_name} {row.pk}: {error}") from error
                model._default_manager.bulk_update(batch, [column])
            if not batch:
                return rotated
            rotated, last = rotated + len(batch), batch[-1].pk
