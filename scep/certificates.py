"""What certificates say and need for SCEP: their key, their identifiers, their usage."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm as LibraryUnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1
from scep.errors import UnsupportedAlgorithm, first_line
from scep.keys import PublicKey


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
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (ValueError, x509.ExtensionNotFound):
        return None


def issuer_and_serial(certificate: x509.Certificate) -> asn1.IssuerAndSerial:
    """How CMS names a certificate; the issuer's bytes as they stand there."""
    issuer = asn1.issuer_of(certificate.public_bytes(Encoding.DER))
    return asn1.IssuerAndSerial(issuer=asn1.tlv(issuer), serial=certificate.serial_number)


def key_usage_of(certificate: x509.Certificate) -> x509.KeyUsage | None:
    """The extension, or None when absent or unreadable."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        return None


def is_ca(certificate: x509.Certificate) -> bool:
    """True when basicConstraints says so."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        return False


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
