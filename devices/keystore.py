"""The key store of a device: registering what was issued (R6, R14) and counting what it holds (R11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from devices import secrets
from devices.models import Device, IssuanceRequest, KeyAndCertificate, ScepServer
from devices.rules import keys as rules
from devices.rules.keys import HeldKey, KeyUse
from scep import keys
from scep.keys import PrivateKey


def _held(device: Device) -> list[HeldKey]:
    return [
        HeldKey(name=name, key_use=KeyUse(use), ipsec_destination=destination, is_default=is_default)
        for name, use, destination, is_default in KeyAndCertificate.objects.filter(device=device).values_list(
            "name", "key_use", "ipsec_destination", "is_default"
        )
    ]


def _overwritten(request: IssuanceRequest, held: Sequence[HeldKey]) -> tuple[HeldKey, ...]:
    return rules.overwritten(
        held,
        name=request.key_name,
        key_use=KeyUse(request.key_use),
        ipsec_destination=request.ipsec_destination,
        delete_old_key=request.delete_old_key,
    )


def names_overwritten_by(request: IssuanceRequest) -> set[str]:
    """The keys that R14 overwrites when `request` brings its certificate, as the key store stands now."""
    return {key.name for key in _overwritten(request, _held(request.device))}


def has_room_for(request: IssuanceRequest) -> bool:
    """True when the device can hold the key that `request` is about to make (R11, first case)."""
    held = _held(request.device)
    return rules.fits(len(held), len(_overwritten(request, held)), request.device.key_limit)


@dataclass(frozen=True, slots=True)
class Former:
    """The key that its device used before another took its function over: enough to bring it back."""

    row: dict[str, Any]
    """Its columns by name, but the private key."""
    private_key_encrypted: bytes = field(repr=False)
    is_overwritten: bool
    """R14: it is gone from the key store."""


_COLUMNS = tuple(
    each.attname
    for each in KeyAndCertificate._meta.concrete_fields
    if each.name not in ("id", "device", "private_key_encrypted")
)


def snapshot(key: KeyAndCertificate, *, is_overwritten: bool) -> Former:
    """`key` as it is now."""
    row = {name: getattr(key, name) for name in _COLUMNS}
    return Former(row, bytes(key.private_key_encrypted), is_overwritten)


def in_use(device: Device, key_use: str, ipsec_destination: str) -> KeyAndCertificate | None:
    """The key that the function uses, or None; no key is in use for [None]."""
    if key_use == KeyUse.NONE:
        return None
    return KeyAndCertificate.objects.filter(
        device=device, key_use=key_use, ipsec_destination=ipsec_destination
    ).first()


def give_function(key: KeyAndCertificate, key_use: str, ipsec_destination: str) -> Former | None:
    """Assign the function to `key`; what it used before, or None when that was `key` already or nothing."""
    former = in_use(key.device, key_use, ipsec_destination)
    if key_use == KeyUse.NONE or (former is not None and former.pk == key.pk):
        return None
    taken = snapshot(former, is_overwritten=False) if former else None
    if former is not None:
        former.key_use, former.ipsec_destination = KeyUse.NONE.value, ""
        former.save(update_fields=["key_use", "ipsec_destination"])
    key.key_use, key.ipsec_destination = key_use, ipsec_destination
    key.save(update_fields=["key_use", "ipsec_destination"])
    return taken


def bring_back(
    key: KeyAndCertificate, row: Mapping[str, Any], private_key_encrypted: bytes
) -> KeyAndCertificate:
    """The former key takes its function back from `key`, which stays in the store, assigned to nothing.

    One that R14 overwrote is stored again, under another name where `key` has taken its own.
    """
    device = key.device
    key.key_use, key.ipsec_destination = KeyUse.NONE.value, ""
    key.save(update_fields=["key_use", "ipsec_destination"])
    stored = KeyAndCertificate.objects.filter(
        device=device, fingerprint_sha256=row["fingerprint_sha256"]
    ).first()
    if stored is not None:
        stored.key_use, stored.ipsec_destination = row["key_use"], row["ipsec_destination"]
        stored.save(update_fields=["key_use", "ipsec_destination"])
        return stored
    names = set(KeyAndCertificate.objects.filter(device=device).values_list("name", flat=True))
    values = {name: row[name] for name in _COLUMNS if name in row}
    server = values.get("server_id")
    if server is None or not ScepServer.objects.filter(pk=server).exists():
        values["server_id"] = None
    return KeyAndCertificate.objects.create(
        # what was overwritten was not the default key then, and another may be now
        **values | {"name": rules.free_name(row["name"], names), "is_default": False},
        device=device,
        private_key_encrypted=private_key_encrypted,
    )


@dataclass(frozen=True, slots=True)
class Registered:
    """A key that was registered, and the one whose function it has taken over."""

    key: KeyAndCertificate
    former: Former | None


def register(
    request: IssuanceRequest,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> Registered:
    """Store the issued certificate with the request's key, inside the transaction that ends the request.

    Overwrites what R14 says, gives the function named in [Key Use Location] to the new key (R6), and never
    fails over a name: one that is taken gets a number.
    """
    device = request.device
    held = _held(device)
    gone = {key.name for key in _overwritten(request, held)}
    used = in_use(device, request.key_use, request.ipsec_destination)
    former = snapshot(used, is_overwritten=used.name in gone) if used else None
    KeyAndCertificate.objects.filter(device=device, name__in=gone).delete()
    if request.key_use != KeyUse.NONE:
        # a function has one key: the former one stays in the store, assigned to nothing
        KeyAndCertificate.objects.filter(
            device=device, key_use=request.key_use, ipsec_destination=request.ipsec_destination
        ).update(key_use=KeyUse.NONE, ipsec_destination="")
    public_key = certificate.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey) or request.private_key_encrypted is None:
        raise TypeError("a request under way holds an RSA private key, and its certificate the public half")
    key = KeyAndCertificate.objects.create(
        device=device,
        server=request.server,
        name=rules.free_name(request.key_name, {key.name for key in held} - gone),
        key_use=request.key_use,
        ipsec_destination=request.ipsec_destination,
        key_length=public_key.key_size,
        private_key_encrypted=request.private_key_encrypted,
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        chain="".join(link.public_bytes(Encoding.PEM).decode() for link in chain),
        subject=certificate.subject.rfc4514_string()[:500],
        issuer=certificate.issuer.rfc4514_string()[:500],
        serial_number=f"{certificate.serial_number:X}",
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=now,
    )
    return Registered(key, former)


def current_key(request: IssuanceRequest) -> KeyAndCertificate | None:
    """The key that `request` is to follow: that of its use, or for the use [None] the one of its name."""
    found = KeyAndCertificate.objects.filter(
        device=request.device_id, key_use=request.key_use, ipsec_destination=request.ipsec_destination
    )
    if request.key_use == KeyUse.NONE:
        found = found.filter(name=request.key_name)
    return found.first()


def private_key(key: KeyAndCertificate) -> PrivateKey:
    """The key in clear, for as long as it is used. Raises SecretUnreadable."""
    return keys.load(secrets.decrypt(key.private_key_encrypted))


FUNCTION_FIELDS = ("tls_enabled", "ieee_802_1x_enabled", "ipsec_enabled")
"""Which functions a device has switched on; `function_is_off` looks at them."""


def function_is_off(device: Device, key_use: str) -> bool:
    """True when the key is assigned to a function that the device has switched off (R6)."""
    return not {
        KeyUse.NONE: True,
        KeyUse.TLS: device.tls_enabled,
        KeyUse.IEEE_802_1X: device.ieee_802_1x_enabled,
        KeyUse.IPSEC: device.ipsec_enabled,
    }[KeyUse(key_use)]
