"""Key pairs: RSA, and EC on P-256 and P-384. Made, stored, and used to sign and verify."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from scep import asn1
from scep.algorithms import SignatureAlgorithm

__all__ = ["KeyType", "PrivateKey", "PublicKey"]

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey
PublicKey = RSAPublicKey | EllipticCurvePublicKey


class KeyType(StrEnum):
    """The kind of a device's key; an EC key cannot decrypt, which SCEP was made with in mind."""

    RSA = "RSA"
    P256 = "P-256"
    P384 = "P-384"


_CURVES: dict[KeyType, type[ec.EllipticCurve]] = {KeyType.P256: ec.SECP256R1, KeyType.P384: ec.SECP384R1}


def generate(key_type: KeyType = KeyType.RSA, key_length: int = 2048) -> PrivateKey:
    """A new key; `key_length` in bits counts for RSA only. Raises ValueError for a length below 1024."""
    if key_type is KeyType.RSA:
        return generate_rsa(key_length)
    return ec.generate_private_key(_CURVES[key_type]())


def generate_rsa(key_length: int = 2048) -> RSAPrivateKey:
    """A new RSA key of `key_length` bits with the public exponent 65537."""
    return rsa.generate_private_key(public_exponent=65537, key_size=key_length)


def load(der: bytes) -> PrivateKey:
    """The key in unencrypted PKCS #8 that this program stored. Raises ValueError for anything else.

    It is not validated again: this program made it and keeps it under authenticated encryption. Validation of an RSA
    key of 2048 bits takes 31 ms, more than all the rest of an enrollment.
    """
    key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, PrivateKey):
        raise ValueError(f"the stored private key is a {type(key).__name__}, neither RSA nor EC")
    return key


def private_der(key: PrivateKey) -> bytes:
    """Unencrypted PKCS #8."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_der(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(public_der(key)).hexdigest()


def sign(key: PrivateKey, data: bytes, algorithm: SignatureAlgorithm) -> bytes:
    """A signature: PKCS #1 v1.5 with RSA, ECDSA with EC."""
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), algorithm.hash)
    return key.sign(data, ec.ECDSA(algorithm.hash))


def verify(key: PublicKey, signature: bytes, data: bytes, digest: hashes.HashAlgorithm) -> None:
    """Check a signature. Raises cryptography's InvalidSignature."""
    if isinstance(key, RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), digest)
    else:
        key.verify(signature, data, ec.ECDSA(digest))


def signature_identifier(key: PrivateKey, algorithm: SignatureAlgorithm) -> bytes:
    """DER of how X.509 names what `sign` does; ECDSA's has no parameters (RFC 5758 section 3.2)."""
    if isinstance(key, RSAPrivateKey):
        return asn1.algorithm_with_null(algorithm.rsa_oid)
    return asn1.sequence_of(asn1.identifier(algorithm.ecdsa_oid))
