"""The key store of a device: registering what was issued (R6, R14) and counting what it holds (R11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from devices import secrets
from devices.models import Device, IssuanceRequest, KeyAndCertificate
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


def has_room_for(request: IssuanceRequest) -> bool:
    """True when the device can hold the key that `request` is about to make (R11, first case)."""
    held = _held(request.device)
    return rules.fits(len(held), len(_overwritten(request, held)), request.device.key_limit)


def register(
    request: IssuanceRequest,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    *,
    now: datetime,
) -> KeyAndCertificate:
    """Store the issued certificate with the request's key, inside the transaction that ends the request.

    Overwrites what R14 says, gives the function named in [Key Use Location] to the new key (R6), and never
    fails over a name: one that is taken gets a number.
    """
    device = request.device
    held = _held(device)
    gone = {key.name for key in _overwritten(request, held)}
    KeyAndCertificate.objects.filter(device=device, name__in=gone).delete()
    if request.key_use != KeyUse.NONE:
        # a function has one key: the former one stays in the store, assigned to nothing
        KeyAndCertificate.objects.filter(
            device=device, key_use=request.key_use, ipsec_destination=request.ipsec_destination
        ).update(key_use=KeyUse.NONE, ipsec_destination="")
    public_key = certificate.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey) or request.private_key_encrypted is None:
        raise TypeError("a request under way holds an RSA private key, and its certificate the public half")
    return KeyAndCertificate.objects.create(
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
