"""Fetching a key with its certificate as PKCS #12: once, by an administrator, under a password that is shown "
"once."""

from __future__ import annotations

import re
import secrets as chance
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, secrets
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Material
from devices.errors import Conflict
from devices.models import KeyAndCertificate
from devices.rules.keys import KeyUse

_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without what looks alike: somebody types it at a device's panel."""
PASSWORD_LENGTH = 16
"""93 bits."""


def draw_password() -> str:
    """A new one, that nobody has seen."""
    return "".join(chance.choice(_ALPHABET) for _position in range(PASSWORD_LENGTH))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is handed out once, and not kept."""

    file_name: str
    pkcs12: bytes = field(repr=False)
    password: str = field(repr=False)


def is_by_hand(connector: str) -> bool:
    """True for the connectors with which a person installs."""
    return getattr(registry.known().get(connector), "by_hand", False)


def obstacle(key: KeyAndCertificate) -> Conflict | None:
    """Why the key cannot be fetched, or None."""
    if not is_by_hand(key.device.connector):
        return Conflict(
            "connector_is_not_download",
            _(
                "The private key leaves this server only for devices whose connector is the download by hand. "
                "Choose it "
                "in the device's data."
            ),
        )
    if key.fetched_at is not None:
        return Conflict(
            "already_fetched",
            _("The key was fetched already, and is handed out once. Request a new certificate."),
        )
    return None


@transaction.atomic
def fetch(
    actor: Actor,
    key: KeyAndCertificate,
    *,
    clock: Callable[[], datetime] = timezone.now,
    draw: Callable[[], str] = draw_password,
) -> Fetched:
    """The key, its certificate and the chain as PKCS #12. Audited.

    Raises PermissionDenied; Conflict when the connector is another one, or the key was fetched already;
    devices.secrets.SecretUnreadable.
    """
    access.require(actor, Permission.DOWNLOAD_KEY)
    # held, so that two who ask at the same moment do not both get it
    locked = KeyAndCertificate.objects.select_for_update(of=("self",)).select_related("device").get(pk=key.pk)
    if problem := obstacle(locked):
        raise problem
    now, password = clock(), draw()
    material = Material(
        name=locked.name,
        key_use=KeyUse(locked.key_use),
        ipsec_destination=locked.ipsec_destination,
        private_key=secrets.decrypt(locked.private_key_encrypted),
        certificate=x509.load_pem_x509_certificate(locked.certificate.encode()),
        chain=tuple(x509.load_pem_x509_certificates(locked.chain.encode())) if locked.chain else (),
    )
    legacy = bool(locked.device.connector_settings.get("legacy_pkcs12", False))
    content = material.pkcs12(password, legacy=legacy)
    KeyAndCertificate.objects.filter(pk=locked.pk).update(fetched_at=now)
    audit.record(
        actor,
        "key.fetch",
        locked.device,
        {"key": locked.name, "certificate": locked.fingerprint_sha256},
        at=now,
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{locked.device.name}-{locked.name}").strip("-.") or "key"
    return Fetched(f"{name}.p12", content, password)
