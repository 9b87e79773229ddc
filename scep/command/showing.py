"""Certificates and CRLs as lines for people and members for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from scep import trust
from scep.certificates import is_ca
from scep.command.outcome import Json


def sha256(certificate: x509.Certificate) -> str:
    """The fingerprint in lower-case hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def certificate_lines(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """For people."""
    return [
        ("subject", certificate.subject.rfc4514_string()),
        ("issuer", certificate.issuer.rfc4514_string()),
        ("serial number", f"{certificate.serial_number:x}"),
        ("valid from", moment(certificate.not_valid_before_utc)),
        ("valid to", moment(certificate.not_valid_after_utc)),
        ("SHA-256", sha256(certificate)),
    ]


def certificate_json(certificate: x509.Certificate) -> dict[str, Json]:
    """For programs; times in ISO 8601, UTC."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial_number": f"{certificate.serial_number:x}",
        "not_valid_before": certificate.not_valid_before_utc.isoformat(),
        "not_valid_after": certificate.not_valid_after_utc.isoformat(),
        "sha256": sha256(certificate),
    }


def moment(at: datetime) -> str:
    """A time for people."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def role(certificate: x509.Certificate, among: Sequence[x509.Certificate]) -> str:
    """What a certificate of GetCACert is there for."""
    if certificate == trust.issuing_ca(among):
        return "issuing CA"
    return "CA" if is_ca(certificate) else "registration authority"


def issuers_of(certificate: x509.Certificate, among: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The CAs above `certificate` that are `among` these, the lowest first; a root, self-signed, is left out."""
    found: list[x509.Certificate] = []
    below = certificate
    while True:
        above = next(
            (each for each in among if each != below and each not in found and _issued(each, below)), None
        )
        if above is None or above.issuer == above.subject:
            return found
        found.append(above)
        below = above


def ca_certificates(among: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The CAs of GetCACert's answer, the issuing one first; a registration authority is none."""
    issuing = trust.issuing_ca(among)
    return [issuing, *(each for each in among if is_ca(each) and each != issuing)]


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
