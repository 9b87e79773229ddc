"""What is wrong with the certificate that a device serves (F5). Pure: works on the certificate itself."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

SHORTEST_RSA, SHORTEST_EC = 2048, 224
"""Bits of a key that is not weak (NIST SP 800-131A)."""


class Drift(StrEnum):
    """The first thing that is wrong, in this order. The values are stored."""

    OTHER_CERTIFICATE = "other_certificate"
    """Not the one that was delivered: changed by hand, by a reset, or by somebody in between."""
    EXPIRED = "expired"
    """Its time is over, or has not begun."""
    WEAK_KEY = "weak_key"
    """A key shorter than SHORTEST_RSA or SHORTEST_EC, or a signature with SHA-1 or MD5."""
    WRONG_NAME = "wrong_name"
    """Neither its subjectAltName nor its common name is the device's address."""


def drift_of(
    certificate: x509.Certificate, *, expected_sha256: str, host: str, now: datetime
) -> Drift | None:
    """What is wrong with a served `certificate`, None for nothing.

    `expected_sha256` is the delivered one's fingerprint in lower-case hexadecimal; `host` an IP address or an FQDN.
    """
    if certificate.fingerprint(hashes.SHA256()).hex() != expected_sha256:
        return Drift.OTHER_CERTIFICATE
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return Drift.EXPIRED
    if _is_weak(certificate):
        return Drift.WEAK_KEY
    if not names_host(certificate, host):
        return Drift.WRONG_NAME
    return None


def _is_weak(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA:
        return True
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < SHORTEST_EC:
        return True
    return isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)


def names_host(certificate: x509.Certificate, host: str) -> bool:
    """True when the certificate is for `host`: by its subjectAltName (RFC 6125), a wildcard counted for one label;
    without one by its common name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return any(str(each.value).lower() == host.lower() for each in common)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(_matches(name, host) for name in names.get_values_for_type(x509.DNSName))
    return address in names.get_values_for_type(x509.IPAddress)


def _matches(pattern: str, host: str) -> bool:
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return "." in host and host.split(".", 1)[1] == pattern[2:]
    return pattern == host
