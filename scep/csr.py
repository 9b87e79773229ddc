"""The certification request of one enrollment, and the self-signed certificate that signs its messages.

PKCS #10 (RFC 2986) with PKCS #9 challengePassword (RFC 2985 section 5.4.1) and a subjectAltName
(RFC 5280 section 4.2.1.6).
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from scep import asn1, ber
from scep.algorithms import SignatureAlgorithm
from scep.certificates import key_usage

__all__ = ["CertificateParameters", "SignatureAlgorithm", "Transaction", "new_transaction"]

# The signer certificate only says "these messages are signed with the key in the CSR" (RFC 8894 section 2.3).
# Polls may need it for weeks, and clocks differ.
_SIGNER_BACKDATED = timedelta(days=1)
_SIGNER_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class CertificateParameters:
    """What the certificate is to say (R4).

    `common_name` is an IP address or an FQDN of 1 to 64 characters, `key_length` 1024 to 4096 bits;
    `organization` and `challenge_password` may be empty and are left out then.
    """

    common_name: str
    organization: str
    key_length: int
    signature_algorithm: SignatureAlgorithm
    challenge_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What has to be kept to send, poll for, and read the answer to one request.

    `transaction_id` is a PrintableString (RFC 8894 section 3.2.1.1), `csr` DER; `signer` is self-signed, with the
    subject and key of the CSR (quirk 22).
    """

    transaction_id: str
    key: rsa.RSAPrivateKey = field(repr=False)
    csr: bytes = field(repr=False)
    signer: x509.Certificate

    def private_key_der(self) -> bytes:
        """The key as unencrypted PKCS #8, for storage under the caller's encryption."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @classmethod
    def restore(cls, *, transaction_id: str, private_key: bytes, csr: bytes, signer: bytes) -> Transaction:
        """The transaction that was stored in these parts (DER each). Raises ValueError for anything else.

        The key is not validated again: this program made it and keeps it under authenticated encryption.
        Validation of a key of 2048 bits takes 31 ms, more than all the rest of an enrollment.
        """
        key = load_der_private_key(private_key, None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the stored private key is not an RSA key")
        return cls(transaction_id, key, csr, x509.load_der_x509_certificate(signer))


def new_transaction(parameters: CertificateParameters, *, now: datetime) -> Transaction:
    """Make a key, its CSR, its signer certificate and a transaction ID. `now` is aware.

    The transaction ID is the SHA-256 of the public key in hexadecimal (RFC 8894 section 3.2.1.1 recommends a
    hash of it), so that it names this key and no other.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=parameters.key_length)
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = _subject(parameters)
    return Transaction(
        transaction_id=hashlib.sha256(public_key).hexdigest(),
        key=key,
        csr=_csr(parameters, key, subject, public_key),
        signer=_signer(key, subject, parameters.signature_algorithm, now),
    )


def _subject(parameters: CertificateParameters) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, parameters.common_name)]
    if parameters.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, parameters.organization))
    return x509.Name(attributes)


def alternative_name(common_name: str) -> x509.SubjectAlternativeName:
    """iPAddress for an address, dNSName for a name (R5)."""
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(common_name))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(common_name.removesuffix("."))])


def _csr(
    parameters: CertificateParameters, key: rsa.RSAPrivateKey, subject: x509.Name, public_key: bytes
) -> bytes:
    extensions = asn1.Extensions(
        subject_alt_name=asn1.Extension(
            oid=asn1.SUBJECT_ALT_NAME, value=alternative_name(parameters.common_name).public_bytes()
        )
    )
    attributes = [asn1.attribute(asn1.EXTENSION_REQUEST, extensions)]
    if password := parameters.challenge_password:
        # PrintableString where the characters allow: some servers read nothing else (quirk 18)
        value = asn1.printable(password) if asn1.is_printable(password) else password
        attributes.append(asn1.attribute(asn1.CHALLENGE_PASSWORD, value))
    attributes.sort(key=asn1.encode)
    info = asn1.encode(
        asn1.CertificationRequestInfo(
            version=0, subject=subject, public_key=asn1.tlv(public_key), attributes=attributes
        )
    )
    algorithm = parameters.signature_algorithm
    identifier = asn1.AlgorithmIdentifier(algorithm=algorithm.rsa_oid, parameters=asn1.Null())
    signature = key.sign(info, padding.PKCS1v15(), algorithm.hash)
    # the very bytes that were signed, with the identifier and a BIT STRING without unused bits
    return ber.wrap(0x30, info + asn1.encode(identifier) + ber.wrap(0x03, b"\0" + signature))


def _signer(
    key: rsa.RSAPrivateKey, subject: x509.Name, algorithm: SignatureAlgorithm, now: datetime
) -> x509.Certificate:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SIGNER_BACKDATED)
        .not_valid_after(now + _SIGNER_LIFETIME)
        .add_extension(key_usage(ca=False), critical=True)
        # SHA-1 is what a CSR may say by permission; a certificate with it cannot be made, nor needs to be
        .sign(key, (SignatureAlgorithm.SHA256 if algorithm is SignatureAlgorithm.SHA1 else algorithm).hash)  # type: ignore[arg-type]
    )
