"""Keys with real certificates, as the end of a request registers them."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.db import transaction

from devices import deployments, keystore, restarts, secrets
from devices.models import Device, IssuanceRequest, KeyAndCertificate, summary
from devices.models.choices import KeyUseChoices
from scep import keys


@cache
def authority() -> rsa.RSAPrivateKey:
    """The key of the CA of these tests."""
    return keys.generate_rsa()


def certificate(
    subject: str,
    key: rsa.RSAPrivateKey,
    *,
    issuer: str = "Office CA",
    days: int = 365,
    not_before: datetime | None = None,
    signature: hashes.HashAlgorithm | None = None,
) -> x509.Certificate:
    """One for `subject`, an address or a name, valid from yesterday on for `days`."""
    begin = not_before or datetime.now(UTC) - timedelta(days=1)
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(subject))
    except ValueError:
        name = x509.DNSName(subject) if " " not in subject else x509.RFC822Name("ca@example.com")
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(authority(), signature or hashes.SHA256())  # type: ignore[arg-type]
    )


def pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    """As it is stored."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@transaction.atomic
def issue(
    device: Device,
    *,
    now: datetime | None = None,
    days: int = 365,
    name: str = "TLS",
    key_use: str = KeyUseChoices.TLS,
    delete_old_key: bool = True,
    restart_wanted: bool = False,
    key: rsa.RSAPrivateKey | None = None,
) -> KeyAndCertificate:
    """What devices/enrollment/ending.py does when a certificate came, for `key` or a new one."""
    key, now = key or keys.generate_rsa(), now or datetime.now(UTC)
    request = IssuanceRequest(
        device=device,
        key_name=name,
        key_use=key_use,
        delete_old_key=delete_old_key,
        private_key_encrypted=secrets.encrypt(pkcs8(key)),
    )
    made = certificate(device.host, key, days=days, not_before=now - timedelta(days=1))
    restarts.lock(device.pk)
    kept = deployments.kept_by(keystore.in_use(device, key_use, ""))
    registered = keystore.register(request, made, [], now=now)
    deployments.after_certificate(
        registered.key, registered.former, restart_wanted=restart_wanted, inherited=kept, now=now
    )
    summary.refresh([device.pk])
    return registered.key
