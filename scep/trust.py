"""Which certificate does what, and which can be believed (RFC 8894 sections 2.1, 2.2 and 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from scep import keys
from scep.certificates import is_ca, key_usage_of
from scep.errors import MessageCheckFailed, WrongCertificate
from scep.keys import PublicKey

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
    believed = latest = [anchor]
    for _ in range(_LONGEST_CHAIN):
        latest = [
            certificate
            for certificate in certificates
            if certificate not in believed and any(_issued_by(certificate, each) for each in latest)
        ]
        believed = believed + latest
    return tuple(certificate for certificate in certificates if certificate in believed)


def encryption_certificate(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The one to encrypt for: keyEncipherment, an RA before the CA; else what there is (quirks 1, 2)."""
    if len(certificates) == 1:
        return certificates[0]
    issuing = issuing_ca(certificates)

    def rank(certificate: x509.Certificate) -> tuple[bool, bool, bool]:
        usage = key_usage_of(certificate)
        cannot = usage is not None and not usage.key_encipherment
        return (cannot, is_ca(certificate), certificate != issuing)

    return min(certificates, key=rank)


def issuing_ca(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The CA among GetCACert's certificates that issues, in whatever order they came (quirk 1).

    Where there is an RA, its issuer; else the CA at the lower end of the chain.
    """
    registration = {each.issuer for each in certificates if not is_ca(each) and each.issuer != each.subject}
    superior = {each.issuer for each in certificates if is_ca(each) and each.issuer != each.subject}

    def rank(certificate: x509.Certificate) -> tuple[bool, bool, bool]:
        subject = certificate.subject
        return (not is_ca(certificate), subject not in registration, subject in superior)

    return min(certificates, key=rank)


def own_certificate(
    certificates: Sequence[x509.Certificate],
    *,
    public_key: PublicKey,
    ca_certificates: Sequence[x509.Certificate],
    now: datetime,
    old_certificate: x509.Certificate | None = None,
) -> x509.Certificate:
    """The one for `public_key` (quirk 27), issued under `ca_certificates`, valid at `now` and not the old one.

    Raises WrongCertificate.
    """
    if old_certificate is not None:
        certificates = _without_old(certificates, old_certificate)
    certificate = next((each for each in certificates if _key_of(each) == public_key), None)
    if certificate is None:
        raise WrongCertificate(
            f"A certificate for our key was expected; the reply holds {len(certificates)} for other keys."
        )
    check_issued(certificate, ca_certificates, certificates)
    if not certificate.not_valid_before_utc - CLOCK_SKEW <= now < certificate.not_valid_after_utc:
        raise WrongCertificate(
            "The certificate should be valid now; it is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} "
            f"UTC. Compare the clocks of this server and the CA ({now:%Y-%m-%d %H:%M} here)."
        )
    return certificate


def check_issued(
    certificate: x509.Certificate,
    ca_certificates: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate] = (),
) -> None:
    """Raise WrongCertificate unless `certificate` was issued under `ca_certificates`."""
    if not _chains_to(certificate, ca_certificates, intermediates):
        raise WrongCertificate(
            "The certificate should be issued by the CA that GetCACert returned; its issuer is "
            f"{certificate.issuer.rfc4514_string()!r}, which that is not."
        )


def own_crl(
    crls: Sequence[x509.CertificateRevocationList], ca_certificates: Sequence[x509.Certificate]
) -> x509.CertificateRevocationList:
    """The CRL that one of `ca_certificates` signed, fresh or not. Raises WrongCertificate."""
    for crl in crls:
        for issuer in ca_certificates:
            if crl.issuer == issuer.subject and _signed_by(crl, issuer):
                return crl
    raise WrongCertificate(
        f"A CRL of the CA that GetCACert returned was expected; the reply holds {len(crls)}, and that CA signed none "
        "of them. Look into the server's log."
    )


def _without_old(certificates: Sequence[x509.Certificate], old: x509.Certificate) -> list[x509.Certificate]:
    """All but the old one, which some servers return in place of a new one (quirk 21). Raises WrongCertificate."""
    kept = [each for each in certificates if not _is_the_same(each, old)]
    if len(kept) < len(certificates) and all(is_ca(each) for each in kept):
        raise WrongCertificate(
            f"A new certificate was expected; the server returned the old one (serial number {old.serial_number:x}, "
            f"valid to {old.not_valid_after_utc:%Y-%m-%d %H:%M} UTC). Choose another form of renewal for this server."
        )
    return kept


def _is_the_same(certificate: x509.Certificate, old: x509.Certificate) -> bool:
    """By issuer and serial number, or by the old key: the new certificate is for a new one."""
    same = certificate.serial_number == old.serial_number and certificate.issuer == old.issuer
    return same or (_key_of(old) is not None and _key_of(certificate) == _key_of(old))


def _chains_to(
    certificate: x509.Certificate,
    anchors: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate],
) -> bool:
    """Level by level, so that no signature is checked twice however the intermediates name each other."""
    level = [certificate]
    seen = list(level)
    for _ in range(_LONGEST_CHAIN):
        if any(_issued_by(each, anchor) for each in level for anchor in anchors):
            return True
        left = [link for link in intermediates if link not in seen and is_ca(link)]
        level = [link for link in left if any(_issued_by(each, link) for each in level)]
        seen += level
    return False


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        if isinstance(certificate.signature_hash_algorithm, hashes.SHA1):
            return _issued_with_sha1(certificate, issuer)
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _issued_with_sha1(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """By hand, because the library refuses SHA-1 in certificates.

    Some CAs sign with the hash of the CSR, and R4 still offers SHA-1; as in replies, it is read and not
    written (quirk 6). Raises InvalidSignature.
    """
    key = issuer.public_key()
    if certificate.issuer != issuer.subject or not isinstance(key, PublicKey):
        return False
    keys.verify(key, certificate.signature, certificate.tbs_certificate_bytes, hashes.SHA1())  # noqa: S303
    return True


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _key_of(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
