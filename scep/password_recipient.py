"""A content key wrapped under a password: PasswordRecipientInfo (RFC 5652 section 6.2.4, RFC 3211).

RFC 8894 section 3.1 has it where the recipient's key cannot decrypt (EC); the password is the challengePassword.
Decided where the RFCs leave a choice: the password is its UTF-8 octets; the key-encryption key comes from PBKDF2
with HMAC-SHA-256, a salt of 16 octets and 100,000 iterations, is as long as the content's key, and wraps with the
content's own cipher.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from scep import asn1, ber
from scep.algorithms import ContentCipher
from scep.asn1 import OID

__all__ = ["TAG", "unwrap", "wrap"]

TAG = 0xA3
"""[3], as which a PasswordRecipientInfo stands among the RecipientInfos."""

_ITERATIONS = 100_000
_MOST_ITERATIONS = 1_000_000
"""A third of a second of work; more, asked for by a stranger, would be an attack (RFC 8018 section 7)."""
_LONGEST_SALT = 1024
_SALT_LENGTH = 16
_CHECK_LENGTH = 3

_HMAC_SHA256 = OID("1.2.840.113549.2.9")
_PRFS: dict[OID, hashes.HashAlgorithm] = {
    OID("1.2.840.113549.2.7"): hashes.SHA1(),  # noqa: S303 - RFC 8018's default, and as HMAC not broken
    _HMAC_SHA256: hashes.SHA256(),
    OID("1.2.840.113549.2.10"): hashes.SHA384(),
    OID("1.2.840.113549.2.11"): hashes.SHA512(),
}


def wrap(content_key: bytes, *, password: str, cipher: ContentCipher) -> bytes:
    """DER of a RecipientInfo that holds `content_key`, wrapped with `cipher` under `password`."""
    salt, iv = os.urandom(_SALT_LENGTH), os.urandom(cipher.block_size)
    parameters = asn1.Pbkdf2Parameters(
        salt=salt,
        iterations=_ITERATIONS,
        key_length=cipher.key_size,
        prf=asn1.AlgorithmIdentifier(algorithm=_HMAC_SHA256, parameters=asn1.Null()),
    )
    recipient = asn1.PasswordRecipient(
        version=0,
        key_derivation=asn1.KeyDerivation(algorithm=asn1.PBKDF2, parameters=parameters),
        key_encryption=asn1.KeyWrap(
            algorithm=asn1.PWRI_KEK,
            parameters=asn1.AlgorithmIdentifier(algorithm=cipher.oid, parameters=iv),
        ),
        encrypted_key=_wrapped(content_key, _key_encryption_key(password, parameters, cipher), iv, cipher),
    )
    return bytes((TAG,)) + asn1.encode(recipient)[1:]


def unwrap(recipient_info: bytes, *, password: str, allowed: Collection[ContentCipher]) -> bytes:
    """The content key in a RecipientInfo with the tag [3].

    Raises ValueError for all that fails; a wrong password fails the wrap's check value.
    """
    recipient = ber.read(b"\x30" + recipient_info[1:], lambda der: asn1.decode(asn1.PasswordRecipient, der))
    derivation, key_wrap = recipient.key_derivation, recipient.key_encryption
    if derivation is None or derivation.algorithm != asn1.PBKDF2 or key_wrap.algorithm != asn1.PWRI_KEK:
        raise ValueError("the key under a password is not wrapped with PBKDF2 and PWRI-KEK")
    cipher, iv = ContentCipher.from_oid(key_wrap.parameters.algorithm), key_wrap.parameters.parameters
    if cipher is None or cipher not in allowed or not isinstance(iv, bytes):
        raise ValueError("the key under a password is wrapped with a cipher that is not allowed")
    key = _key_encryption_key(password, derivation.parameters, cipher)
    return _unwrapped(recipient.encrypted_key, key, iv, cipher)


def _key_encryption_key(password: str, parameters: asn1.Pbkdf2Parameters, cipher: ContentCipher) -> bytes:
    prf = hashes.SHA1() if parameters.prf is None else _PRFS.get(parameters.prf.algorithm)  # noqa: S303
    if prf is None:
        raise ValueError("PBKDF2 with an unknown pseudorandom function")
    if not 1 <= parameters.iterations <= _MOST_ITERATIONS or len(parameters.salt) > _LONGEST_SALT:
        raise ValueError(f"PBKDF2 with more than {_MOST_ITERATIONS} iterations, or none")
    if parameters.key_length not in (None, cipher.key_size):
        raise ValueError("PBKDF2 for a key of another length than the cipher's")
    return PBKDF2HMAC(prf, cipher.key_size, parameters.salt, parameters.iterations).derive(password.encode())


def _wrapped(content_key: bytes, key: bytes, iv: bytes, cipher: ContentCipher) -> bytes:
    """RFC 3211 section 2.3.1: length, check value, key and random padding, encrypted twice in one CBC chain."""
    check = bytes(octet ^ 0xFF for octet in content_key[:_CHECK_LENGTH])
    formatted = bytes((len(content_key),)) + check + content_key
    length = max(2 * cipher.block_size, -(-len(formatted) // cipher.block_size) * cipher.block_size)
    formatted += os.urandom(length - len(formatted))
    # one encryptor for both: the second pass takes the last block of the first as its initialization vector
    encryptor = Cipher(cipher.block_cipher(key), modes.CBC(iv)).encryptor()
    once = encryptor.update(formatted)
    return encryptor.update(once) + encryptor.finalize()


def _unwrapped(wrapped: bytes, key: bytes, iv: bytes, cipher: ContentCipher) -> bytes:
    """RFC 3211 section 2.3.2."""
    size = cipher.block_size
    if len(wrapped) < 2 * size or len(wrapped) % size or len(iv) != size:
        raise ValueError("a wrapped key of an impossible length")
    # the outer pass began with the last block of the inner one, which its own last two blocks give away
    inner_last = _decrypted(wrapped[-size:], key, wrapped[-2 * size : -size], cipher)
    once = _decrypted(wrapped[:-size], key, inner_last, cipher) + inner_last
    formatted = _decrypted(once, key, iv, cipher)
    length, check = formatted[0], formatted[1 : 1 + _CHECK_LENGTH]
    content_key = formatted[1 + _CHECK_LENGTH : 1 + _CHECK_LENGTH + length]
    expected = bytes(octet ^ 0xFF for octet in content_key[:_CHECK_LENGTH])
    if len(content_key) != length or length < _CHECK_LENGTH or not hmac.compare_digest(check, expected):
        raise ValueError("the check value of a wrapped key is wrong")
    return content_key


def _decrypted(data: bytes, key: bytes, iv: bytes, cipher: ContentCipher) -> bytes:
    decryptor = Cipher(cipher.block_cipher(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
