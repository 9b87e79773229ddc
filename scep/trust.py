"""Which certificate does what, and which can be believed (RFC 8894 sections 2.1, 2.2 and 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scep.certificates import is_ca, key_usage_of
from scep.errors import MessageCheckFailed, WrongCertificate

CLOCK_SKEW = timedelta(hours=1)
"""By how much a CA's clock may run ahead of ours before its fresh certificate counts as not yet valid."""

_LONGEST_CHAIN = 5


def pinned(certificates: Sequence[x509.Certificate], fingerprint: str) -> tuple[x509.Certificate, ...]:
    """The CA certificate with this SHA-256 `fingerprint`, and what it issued; the rest is not believed.

    Raises MessageCheckFailed when none has it (quirk 28).
    """
    wanted = "".join(character for character in fingerprint.lower() if character in "0123456789abcdef")
    found = {certificate.fingerprint(hashes.SHA256()).hex(): certificate for certificate in certificates}
    anchor = found.get(wanted)
    if anchor is None:
        raise MessageCheckFailed(
            f"A CA certificate with the pinned SHA-256 fingerprint {wanted} was expected; GetCACert returned "
            f"{', '.join(found)}. If the CA was renewed, check its new fingerprint and pin that."
        )
    believed = [certificate for certificate in certificates if _issued_by(certificate, anchor)]
    return tuple(
        certificate for certificate in certificates if certificate == anchor or certificate in believed
    )


def encryption_certificate(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The one to encrypt for: keyEncipherment, an RA before the CA; else what there is (quirks 1, 2)."""

    def rank(certificate: x509.Certificate) -> tuple[bool, bool]:
        usage = key_usage_of(certificate)
        return (usage is not None and not usage.key_encipherment, is_ca(certificate))

    return min(certificates, key=rank)


def issuing_ca(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The CA among GetCACert's certificates, in whatever order they came (quirk 1)."""
    issuers = {
        certificate.issuer for certificate in certificates if certificate.issuer != certificate.subject
    }

    def rank(certificate: x509.Certificate) -> tuple[bool, bool]:
        return (certificate.subject not in issuers, not is_ca(certificate))

    return min(certificates, key=rank)


def own_certificate(
    certificates: Sequence[x509.Certificate],
    *,
    public_key: RSAPublicKey,
    ca_certificates: Sequence[x509.Certificate],
    now: datetime,
) -> x509.Certificate:
    """The one for `public_key` (quirk 27), issued under `ca_certificates` and valid at `now`.

    Raises WrongCertificate.
    """
    wanted = public_key.public_numbers()
    certificate = next((each for each in certificates if _rsa_numbers(each) == wanted), None)
    if certificate is None:
        raise WrongCertificate(
            f"A certificate for our key was expected; the reply holds {len(certificates)} for other keys."
        )
    if not _chains_to(certificate, ca_certificates, certificates, _LONGEST_CHAIN):
        raise WrongCertificate(
            "The certificate should be issued by the CA that GetCACert returned; its issuer is "
            f"{certificate.issuer.rfc4514_string()!r}, which that is not."
        )
    if not certificate.not_valid_before_utc - CLOCK_SKEW <= now < certificate.not_valid_after_utc:
        raise WrongCertificate(
            "The certificate should be valid now; it is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} "
            f"UTC. Compare the clocks of this server and the CA ({now:%Y-%m-%d %H:%M} here)."
        )
    return certificate


def _chains_to(
    certificate: x509.Certificate,
    anchors: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate],
    length: int,
) -> bool:
    if any(_issued_by(certificate, anchor) for anchor in anchors):
        return True
    return length > 1 and any(
        is_ca(link)
        and link != certificate
        and _issued_by(certificate, link)
        and _chains_to(link, anchors, intermediates, length - 1)
        for link in intermediates
    )


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _rsa_numbers(certificate: x509.Certificate) -> object:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key.public_numbers() if isinstance(key, RSAPublicKey) else None
