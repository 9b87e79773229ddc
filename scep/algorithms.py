"""The algorithms that may appear in a message, each with its object identifiers."""

from __future__ import annotations

from enum import StrEnum

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from scep.asn1 import OID

__all__ = ["ContentCipher", "SignatureAlgorithm"]


class SignatureAlgorithm(StrEnum):
    """The hash of a signature (RSA PKCS #1 v1.5 or ECDSA); the values are R4's labels. SHA-1 is legacy."""

    SHA256 = "SHA-256"
    SHA384 = "SHA-384"
    SHA512 = "SHA-512"
    SHA1 = "SHA-1"

    @property
    def hash(self) -> hashes.HashAlgorithm:
        return _HASHES[self]

    @property
    def digest_oid(self) -> OID:
        """As digestAlgorithm of a SignerInfo."""
        return _DIGEST_OIDS[self]

    @property
    def rsa_oid(self) -> OID:
        """As signature algorithm: shaXWithRSAEncryption."""
        return _RSA_OIDS[self]

    @property
    def ecdsa_oid(self) -> OID:
        """As signature algorithm: ecdsa-with-SHAx (RFC 5758)."""
        return _ECDSA_OIDS[self]

    @classmethod
    def from_oid(cls, oid: OID) -> SignatureAlgorithm | None:
        """The member whose digest or signature identifier `oid` is, or None."""
        return _BY_OID.get(oid)


class ContentCipher(StrEnum):
    """Ciphers of an EnvelopedData, all in CBC mode. DES and AES-192 are read, never sent (quirks 8, 9)."""

    AES_128 = "AES-128"
    AES_192 = "AES-192"
    AES_256 = "AES-256"
    TRIPLE_DES = "3DES"
    DES = "DES"

    @property
    def oid(self) -> OID:
        return _CIPHER_OIDS[self]

    @property
    def key_size(self) -> int:
        """Octets of a key."""
        return _KEY_SIZES[self]

    @property
    def block_size(self) -> int:
        """Octets of a block and of the initialization vector."""
        return 16 if self in _AES else 8

    def block_cipher(self, key: bytes) -> BlockCipherAlgorithm:
        """The cipher with its key. Raises ValueError for a key of the wrong length."""
        if len(key) != self.key_size:
            raise ValueError(f"{self} takes a key of {self.key_size} octets")
        if self in _AES:
            return AES(key)
        # single DES is 3DES with one key three times
        return TripleDES(key * 3 if self is ContentCipher.DES else key)

    @classmethod
    def from_oid(cls, oid: OID) -> ContentCipher | None:
        """The member with this identifier, or None."""
        return next((cipher for cipher in cls if cipher.oid == oid), None)


_HASHES: dict[SignatureAlgorithm, hashes.HashAlgorithm] = {
    SignatureAlgorithm.SHA256: hashes.SHA256(),
    SignatureAlgorithm.SHA384: hashes.SHA384(),
    SignatureAlgorithm.SHA512: hashes.SHA512(),
    SignatureAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - legacy of R4, used by permission only
}
_DIGEST_OIDS = {
    SignatureAlgorithm.SHA256: OID("2.16.840.1.101.3.4.2.1"),
    SignatureAlgorithm.SHA384: OID("2.16.840.1.101.3.4.2.2"),
    SignatureAlgorithm.SHA512: OID("2.16.840.1.101.3.4.2.3"),
    SignatureAlgorithm.SHA1: OID("1.3.14.3.2.26"),
}
_RSA_OIDS = {
    SignatureAlgorithm.SHA256: OID("1.2.840.113549.1.1.11"),
    SignatureAlgorithm.SHA384: OID("1.2.840.113549.1.1.12"),
    SignatureAlgorithm.SHA512: OID("1.2.840.113549.1.1.13"),
    SignatureAlgorithm.SHA1: OID("1.2.840.113549.1.1.5"),
}
_ECDSA_OIDS = {
    SignatureAlgorithm.SHA256: OID("1.2.840.10045.4.3.2"),
    SignatureAlgorithm.SHA384: OID("1.2.840.10045.4.3.3"),
    SignatureAlgorithm.SHA512: OID("1.2.840.10045.4.3.4"),
    SignatureAlgorithm.SHA1: OID("1.2.840.10045.4.1"),
}
_BY_OID = {
    oid: algorithm for table in (_DIGEST_OIDS, _RSA_OIDS, _ECDSA_OIDS) for algorithm, oid in table.items()
}

_AES = (ContentCipher.AES_128, ContentCipher.AES_192, ContentCipher.AES_256)
_KEY_SIZES = {
    ContentCipher.AES_128: 16,
    ContentCipher.AES_192: 24,
    ContentCipher.AES_256: 32,
    ContentCipher.TRIPLE_DES: 24,
    ContentCipher.DES: 8,
}
_CIPHER_OIDS = {
    ContentCipher.AES_128: OID("2.16.840.1.101.3.4.1.2"),
    ContentCipher.AES_192: OID("2.16.840.1.101.3.4.1.22"),
    ContentCipher.AES_256: OID("2.16.840.1.101.3.4.1.42"),
    ContentCipher.TRIPLE_DES: OID("1.2.840.113549.3.7"),
    ContentCipher.DES: OID("1.3.14.3.2.7"),
}
