"""What is installed on a device: one key with its certificate, in the forms that devices want."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from devices.rules.keys import KeyUse
from scep import keys


@dataclass(frozen=True, slots=True)
class Material:
    """One key with its certificate."""

    name: str
    """What the key is called on the device."""
    key_use: KeyUse
    ipsec_destination: str
    """The one that uses the key; empty unless `key_use` is IPSEC."""
    private_key: bytes = field(repr=False)
    """PKCS #8 DER, in clear for as long as the call takes."""
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    """CA certificates, the issuing one first, as the SCEP server sent them."""

    @property
    def fingerprint_sha256(self) -> str:
        """Of the certificate, in lower-case hexadecimal: what the device is to serve."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def private_key_pem(self) -> bytes:
        """The key as PEM, PKCS #8, not encrypted."""
        return keys.load(self.private_key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    def chain_pem(self) -> bytes:
        """The chain without the certificate; empty when there is none."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    def pkcs12(self, password: str, *, legacy: bool = False) -> bytes:
        """Key, certificate and chain as PKCS #12 (RFC 7292) under `password`.

        `legacy` takes 3DES and SHA-1 (pbeWithSHAAnd3-KeyTripleDES-CBC) for devices that read nothing newer.
        """
        encryption: KeySerializationEncryption = BestAvailableEncryption(password.encode())
        if legacy:
            encryption = (
                PrivateFormat.PKCS12.encryption_builder()
                .kdf_rounds(2048)
                .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
                .hmac_hash(hashes.SHA1())  # noqa: S303 - what the old devices know
                .build(password.encode())
            )
        return pkcs12.serialize_key_and_certificates(
            self.name.encode(), keys.load(self.private_key), self.certificate, self.chain, encryption
        )
