"""A small CA for the responder: its keys, its certificates, what it issues and revokes. Not for production."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scep import cms, keys
from scep.algorithms import SignatureAlgorithm
from scep.certificates import key_usage
from scep.keys import KeyType, PrivateKey, PublicKey

_CA_LIFETIME = timedelta(days=3650)
_CRL_LIFETIME = timedelta(days=7)
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA with its key; `ra_certificate` and `ra_key` speak SCEP for it, and are its own unless it has an RA.

    `decrypting_certificate` and `decrypting_key` open requests where another certificate than that one does.
    `validity_days` is the lifetime of what it issues, drawn between the two, both included.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    ra_certificate: x509.Certificate
    ra_key: PrivateKey = field(repr=False)
    validity_days: tuple[int, int] = (365, 365)
    decrypting_certificate: x509.Certificate | None = None
    decrypting_key: PrivateKey | None = field(default=None, repr=False)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        now: datetime,
        with_ra: bool = False,
        validity_days: tuple[int, int] = (365, 365),
        key_type: KeyType = KeyType.RSA,
    ) -> Authority:
        """A new CA named `name`, with a registration authority of its own when asked for."""
        key = keys.generate(key_type)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), now, _CA_LIFETIME)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(ca=True, decrypts=isinstance(key, RSAPrivateKey)), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = cls(certificate, key, certificate, key, validity_days)
        if not with_ra:
            return made
        ra_certificate, ra_key = made._registration("RA", key_usage(), now)
        return replace(made, ra_certificate=ra_certificate, ra_key=ra_key)

    def with_ra_pair(self, *, now: datetime) -> Authority:
        """The same CA, speaking through two new RA certificates: one signs, the other decrypts (quirk 1)."""
        signing, signing_key = self._registration("RA signing", key_usage(decrypts=False), now)
        decrypting, decrypting_key = self._registration("RA encryption", key_usage(signs=False), now)
        return replace(
            self,
            ra_certificate=signing,
            ra_key=signing_key,
            decrypting_certificate=decrypting,
            decrypting_key=decrypting_key,
        )

    def _registration(
        self, role: str, usage: x509.KeyUsage, now: datetime
    ) -> tuple[x509.Certificate, RSAPrivateKey]:
        key, issuer = keys.generate_rsa(), self.certificate.subject
        (name,) = issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name.value!s} {role}")])
        certificate = (
            _builder(subject, issuer, key.public_key(), now, _CA_LIFETIME)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        return certificate, key

    @classmethod
    def kept_in(
        cls, directory: Path, name: str, *, now: datetime, validity_days: tuple[int, int] = (365, 365)
    ) -> Authority:
        """The CA in `directory` (ca.pem, ca.key with mode 0600); made there the first time. Raises ValueError."""
        certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
        if not certificate_path.exists():
            made = cls.create(name, now=now, validity_days=validity_days)
            pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pem)
            certificate_path.write_bytes(made.certificate.public_bytes(Encoding.PEM))
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, PrivateKey):
            raise ValueError(f"{key_path} is neither an RSA nor an EC key")
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{key_path} is not the key of {certificate_path}")
        return cls(certificate, key, certificate, key, validity_days)

    @property
    def recipient(self) -> tuple[x509.Certificate, PrivateKey]:
        """The certificate that requests are enveloped for, and its key."""
        if self.decrypting_certificate is None or self.decrypting_key is None:
            return self.ra_certificate, self.ra_key
        return self.decrypting_certificate, self.decrypting_key

    @property
    def media_type(self) -> str:
        """Of the GetCACert answer (RFC 8894 section 4.2.1)."""
        alone = self.ra_certificate == self.certificate
        return "application/x-x509-ca-cert" if alone else "application/x-x509-ca-ra-cert"

    def ca_certificates(self) -> bytes:
        """The body of the GetCACert answer: one certificate, or the RA set."""
        if self.ra_certificate == self.certificate:
            return self.certificate.public_bytes(Encoding.DER)
        return cms.degenerate(self._certificates())

    def _certificates(self) -> list[x509.Certificate]:
        others = (self.ra_certificate, self.decrypting_certificate, self.certificate)
        return list(dict.fromkeys(each for each in others if each is not None))

    def announcement_of(self, successor: Authority) -> bytes:
        """The body of the GetNextCACert answer: the successor's certificates, signed by this CA itself.

        RFC 8894 section 4.7.1.
        """
        return cms.sign(
            cms.degenerate(successor._certificates()),
            certificate=self.certificate,
            key=self.key,
            attributes=[],
            algorithm=SignatureAlgorithm.SHA256,
        )

    def crl(self, revoked: Mapping[int, datetime], *, now: datetime) -> x509.CertificateRevocationList:
        """A CRL of the serial numbers in `revoked`, each with the time of its revocation; good for a week."""
        builder = (
            x509.CertificateRevocationListBuilder(self.certificate.subject)
            .last_update(now)
            .next_update(now + _CRL_LIFETIME)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for serial_number, at in sorted(revoked.items()):
            entry = x509.RevokedCertificateBuilder(serial_number).revocation_date(at).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, csr: x509.CertificateSigningRequest, *, now: datetime) -> x509.Certificate:
        """A certificate for the subject, the key and the subjectAltName of `csr`; the serial number is random.

        Raises ValueError, or an error of `cryptography.x509`, where one of them is malformed.
        """
        public_key = csr.public_key()
        if not isinstance(public_key, PublicKey):
            raise ValueError("only RSA and EC keys are certified")
        lifetime = timedelta(days=random.randint(*self.validity_days))
        left = self.certificate.not_valid_after_utc - now
        builder = (
            _builder(csr.subject, self.certificate.subject, public_key, now, min(lifetime, left))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(decrypts=isinstance(public_key, RSAPublicKey)), critical=True)
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


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
