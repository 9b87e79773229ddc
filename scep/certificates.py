"""What certificates say and need for SCEP: their key, their identifiers, their usage.

cryptography reads most of a certificate on demand, and raises then. From outside comes only what `load_certificate`
and its like have read: all that this program asks of it can be answered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm as LibraryUnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1
from scep.errors import UnsupportedAlgorithm, first_line
from scep.keys import PublicKey

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

UNREADABLE = (
    ValueError,
    TypeError,  # a name's attribute of a type that it cannot have
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for certificates, CRLs and requests, whole or in part, that it cannot read."""


def load_certificate(der: bytes) -> x509.Certificate:
    """A DER certificate whose version, names and times can be read. Raises ValueError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    return certificate


def load_crl(der: bytes) -> x509.CertificateRevocationList:
    """A DER CRL whose version and issuer can be read. Raises ValueError."""
    try:
        crl = x509.load_der_x509_crl(der)
        _ = crl.issuer, crl.last_update_utc, crl.next_update_utc
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    return crl


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key, RSA or EC. Raises UnsupportedAlgorithm when it has another kind, or none readable."""
    try:
        key = certificate.public_key()
    except (ValueError, LibraryUnsupportedAlgorithm) as error:
        raise UnsupportedAlgorithm(
            f"The public key of a certificate cannot be read: {first_line(error)}."
        ) from error
    if not isinstance(key, PublicKey):
        raise UnsupportedAlgorithm(
            f"SCEP needs an RSA or an EC key in certificates; this one has {type(key).__name__}. "
            "Give the server an RSA certificate for SCEP."
        )
    return key


def subject_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The extension's value, or None when absent or unreadable."""
    extension = _extension(certificate, x509.SubjectKeyIdentifier)
    return None if extension is None else extension.digest


@lru_cache(maxsize=32)
def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """DER of how CMS names a certificate; the issuer's bytes as they stand there."""
    issuer = asn1.issuer_of(certificate.public_bytes(Encoding.DER))
    return asn1.sequence_of(issuer, asn1.encode(certificate.serial_number))


def key_usage_of(certificate: x509.Certificate) -> x509.KeyUsage | None:
    """The extension, or None when absent or unreadable."""
    return _extension(certificate, x509.KeyUsage)


def is_ca(certificate: x509.Certificate) -> bool:
    """True when basicConstraints says so."""
    extension = _extension(certificate, x509.BasicConstraints)
    return extension is not None and extension.ca


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The extension, or None when absent, or where any extension of the certificate is unreadable."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return None


def key_usage(*, ca: bool = False, signs: bool = True, decrypts: bool = True) -> x509.KeyUsage:
    """For a key that signs and decrypts SCEP messages; with `ca`, certificates and CRLs too."""
    return x509.KeyUsage(
        digital_signature=signs,
        key_encipherment=decrypts,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
