"""A small CA for the responder: its keys, its certificate, what it issues. Not for production."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scep import cms
from scep.certificates import key_usage

_CA_LIFETIME = timedelta(days=3650)
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA with its key; `ra_certificate` and `ra_key` speak SCEP for it, and are its own unless it has an RA.

    `validity_days` is the lifetime of what it issues, drawn between the two, both included.
    """

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    ra_certificate: x509.Certificate
    ra_key: rsa.RSAPrivateKey = field(repr=False)
    validity_days: tuple[int, int] = (365, 365)

    @classmethod
    def create(
        cls, name: str, *, now: datetime, with_ra: bool = False, validity_days: tuple[int, int] = (365, 365)
    ) -> Authority:
        """A new CA named `name`, with a registration authority of its own when asked for."""
        key = _new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), now, _CA_LIFETIME)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        if not with_ra:
            return cls(certificate, key, certificate, key, validity_days)
        ra_key = _new_key()
        ra_subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} RA")])
        ra_certificate = (
            _builder(ra_subject, subject, ra_key.public_key(), now, _CA_LIFETIME)
            .add_extension(key_usage(ca=False), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key, ra_certificate, ra_key, validity_days)

    @classmethod
    def kept_in(
        cls, directory: Path, name: str, *, now: datetime, validity_days: tuple[int, int] = (365, 365)
    ) -> Authority:
        """The CA in `directory` (ca.pem, ca.key with mode 0600); made there the first time."""
        certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
        if not certificate_path.exists():
            made = cls.create(name, now=now, validity_days=validity_days)
            pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pem)
            certificate_path.write_bytes(made.certificate.public_bytes(Encoding.PEM))
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{key_path} is not an RSA key")
        return cls(certificate, key, certificate, key, validity_days)

    @property
    def media_type(self) -> str:
        """Of the GetCACert answer (RFC 8894 section 4.2.1)."""
        alone = self.ra_certificate == self.certificate
        return "application/x-x509-ca-cert" if alone else "application/x-x509-ca-ra-cert"

    def ca_certificates(self) -> bytes:
        """The body of the GetCACert answer: one certificate, or the RA set."""
        if self.ra_certificate == self.certificate:
            return self.certificate.public_bytes(Encoding.DER)
        return cms.degenerate([self.ra_certificate, self.certificate])

    def issue(self, csr: x509.CertificateSigningRequest, *, now: datetime) -> x509.Certificate:
        """A certificate for the subject, the key and the subjectAltName of `csr`; the serial number is random.

        Raises ValueError, or an error of `cryptography.x509`, where one of them is malformed.
        """
        public_key = csr.public_key()
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise ValueError("only RSA keys are certified")
        lifetime = timedelta(days=random.randint(*self.validity_days))
        left = self.certificate.not_valid_after_utc - now
        builder = (
            _builder(csr.subject, self.certificate.subject, public_key, now, min(lifetime, left))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for extension in _requested(csr):
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _requested(csr: x509.CertificateSigningRequest) -> Sequence[x509.SubjectAlternativeName]:
    try:
        return [csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except x509.ExtensionNotFound:
        return []


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: rsa.RSAPublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
