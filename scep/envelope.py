"""CMS EnvelopedData as SCEP uses it: envelop and open (RFC 5652 section 6; RFC 8894 section 3.1).

Opening an envelope tells nobody why it failed: a wrong key, wrong RSA padding and wrong CBC padding are the
same error (RFC 3218), and callers verify the signature first.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from cryptography import x509
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from scep import asn1, ber, password_recipient
from scep.algorithms import ContentCipher
from scep.asn1 import OID
from scep.certificates import issuer_and_serial, public_key_of, subject_key_identifier
from scep.errors import MessageCheckFailed, UnsupportedAlgorithm, first_line
from scep.keys import PrivateKey

__all__ = ["envelop", "open_envelope"]

_VERSION_0 = asn1.encode(0)


def envelop(
    content: bytes, *, recipient: x509.Certificate, cipher: ContentCipher, password: str = ""
) -> bytes:
    """DER of a ContentInfo with an EnvelopedData for `recipient`: for its RSA key, else under `password`.

    Raises UnsupportedAlgorithm when that key is not RSA and there is no password, and for an RSA key whose size
    permits no encryption.
    """
    content_key, iv = os.urandom(cipher.key_size), os.urandom(cipher.block_size)
    padder = block_padding.PKCS7(cipher.block_size * 8).padder()
    encryptor = Cipher(cipher.block_cipher(content_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    version, recipient_info = _recipient_info(content_key, recipient, cipher, password)
    algorithm = asn1.sequence_of(asn1.identifier(cipher.oid), asn1.octet_string(iv))
    encrypted = asn1.sequence_of(asn1.identifier(asn1.DATA), algorithm, ber.wrap(0x80, ciphertext))
    enveloped = asn1.sequence_of(asn1.encode(version), asn1.set_of([recipient_info]), encrypted)
    return asn1.content_info(asn1.ENVELOPED_DATA, enveloped)


def _recipient_info(
    content_key: bytes, recipient: x509.Certificate, cipher: ContentCipher, password: str
) -> tuple[int, bytes]:
    """The version of the EnvelopedData (RFC 5652 section 6.1), and its one RecipientInfo."""
    key = public_key_of(recipient)
    if not isinstance(key, RSAPublicKey):
        if not password:
            raise UnsupportedAlgorithm(
                "An EC key cannot decrypt: the message should be encrypted under the challenge password instead "
                "(RFC 8894 section 3.1), and there is none. Give a challenge password, or use RSA."
            )
        return 3, password_recipient.wrap(content_key, password=password, cipher=cipher)
    try:
        encrypted_key = key.encrypt(content_key, padding.PKCS1v15())
    except ValueError as error:
        raise UnsupportedAlgorithm(
            f"An RSA key of 1024 to 16384 bits was expected in the certificate to encrypt for; it has {key.key_size} "
            f"bits and cannot encrypt ({first_line(error)}). Look at the certificates that GetCACert returns."
        ) from error
    algorithm = asn1.algorithm_with_null(asn1.RSA_ENCRYPTION)
    named = issuer_and_serial(recipient)
    return 0, asn1.sequence_of(_VERSION_0, named, algorithm, asn1.octet_string(encrypted_key))


def open_envelope(
    data: bytes,
    *,
    certificate: x509.Certificate,
    key: PrivateKey,
    allowed: Collection[ContentCipher],
    passwords: Collection[str] = (),
) -> tuple[bytes, ContentCipher]:
    """What an EnvelopedData for `certificate` and its `key`, or under one of `passwords`, holds, and its cipher.

    Raises UnsupportedAlgorithm for a cipher outside `allowed`, MessageCheckFailed for all that fails.
    """
    try:
        enveloped = ber.read(data, _enveloped_data_in)
        recipient = _own_recipient(enveloped.recipients, certificate, key)
    except ValueError as error:
        raise MessageCheckFailed(
            f"The message should hold an envelope for us, but it cannot be read: {first_line(error)}."
        ) from error
    cipher = _permitted_cipher(enveloped.content.algorithm.algorithm, allowed)
    if isinstance(recipient, bytes):
        content_keys = _keys_under_password(recipient, passwords, allowed, cipher)
    else:
        content_keys = _content_keys(recipient, key, cipher)
    # which step failed must not show: where there is no key a random one is tried, and fails also when the noise
    # that it makes ends in a sound padding
    substitute = [os.urandom(cipher.key_size)]
    for content_key in content_keys or substitute:
        try:
            content = _decrypt(enveloped.content, content_key, cipher)
        except ValueError:
            continue
        if content_keys:
            return content, cipher
    raise not_for_us()


def not_for_us() -> MessageCheckFailed:
    """The error of an envelope that our key does not open."""
    return MessageCheckFailed(
        "The envelope cannot be decrypted with our key: it is for somebody else, or was altered on its way."
    )


def is_noise(content: bytes) -> bool:
    """True for what a wrong key makes of a content, as once in some 200 times it ends in a sound padding.

    That is neither BER nor text, whatever the sender may have meant to put there.
    """
    try:
        ber.to_der(content)
    except ber.BerError:
        return not content.isascii()
    return False


def _enveloped_data_in(der: bytes) -> asn1.EnvelopedData:
    content_info = asn1.decode(asn1.ContentInfo, der)
    if content_info.content_type != asn1.ENVELOPED_DATA:
        raise ValueError("not an EnvelopedData")
    return asn1.decode(asn1.EnvelopedData, asn1.encode(content_info.content))


def _own_recipient(
    recipients: asn1.TLV, certificate: x509.Certificate, key: PrivateKey
) -> asn1.KeyTransRecipient | bytes:
    """The recipient that names `certificate`, or the only one there is; raw where it is under a password."""
    return ber.read(asn1.encode(recipients), lambda der: _own_recipient_in(der, certificate, key))


def _own_recipient_in(
    der: bytes, certificate: x509.Certificate, key: PrivateKey
) -> asn1.KeyTransRecipient | bytes:
    members = list(ber.children(der))
    under_password = [each for each in members if each[:1] == bytes((password_recipient.TAG,))]
    if under_password and not isinstance(key, RSAPrivateKey):
        return under_password[0]
    found = [asn1.decode(asn1.KeyTransRecipient, each) for each in members if each[:1] == b"\x30"]
    for recipient in found:
        rid = recipient.rid
        if isinstance(rid, bytes):
            if rid == subject_key_identifier(certificate):
                return recipient
        elif rid.serial == certificate.serial_number:
            return recipient
    if under_password:
        return under_password[0]
    if len(found) != 1:
        raise ValueError(f"none of the {len(members)} recipients is ours")
    return found[0]


def _permitted_cipher(oid: OID, allowed: Collection[ContentCipher]) -> ContentCipher:
    cipher = ContentCipher.from_oid(oid)
    if cipher is None:
        raise UnsupportedAlgorithm(
            f"The reply should be encrypted with AES; it uses the unknown cipher {oid.dotted_string}. "
            "Configure the server's encryption."
        )
    if cipher not in allowed:
        setting = {ContentCipher.DES: "allow DES replies", ContentCipher.TRIPLE_DES: "allow 3DES"}.get(cipher)
        remedy = (
            f'Switch on "{setting}" for this SCEP server' if setting else "Configure the server's encryption"
        )
        raise UnsupportedAlgorithm(
            f"The reply should be encrypted with AES; it is encrypted with {cipher}, which is not allowed. "
            f"{remedy} if you accept that."
        )
    return cipher


def _content_keys(recipient: asn1.KeyTransRecipient, key: PrivateKey, cipher: ContentCipher) -> list[bytes]:
    """The one content key, or none. RSA's implicit rejection, in newer OpenSSL, makes up one for a wrong key."""
    algorithm = recipient.key_encryption_algorithm.algorithm
    if algorithm != asn1.RSA_ENCRYPTION:
        raise UnsupportedAlgorithm(
            "The envelope's key should be encrypted with RSA PKCS #1 v1.5; it is encrypted with "
            f"{algorithm.dotted_string}. Configure the server's encryption."
        )
    if not isinstance(key, RSAPrivateKey):
        return []
    try:
        content_key = key.decrypt(recipient.encrypted_key, padding.PKCS1v15())
    except ValueError:
        return []
    return [content_key] if len(content_key) == cipher.key_size else []


def _keys_under_password(
    recipient_info: bytes,
    passwords: Collection[str],
    allowed: Collection[ContentCipher],
    cipher: ContentCipher,
) -> list[bytes]:
    """The content key for each password that fits."""
    found = []
    for password in passwords:
        try:
            found.append(password_recipient.unwrap(recipient_info, password=password, allowed=allowed))
        except ValueError:
            continue
    return [key for key in found if len(key) == cipher.key_size]


def _decrypt(content: asn1.EncryptedContent, content_key: bytes, cipher: ContentCipher) -> bytes:
    iv = content.algorithm.parameters
    if not isinstance(iv, bytes) or content.content is None:
        raise ValueError("no initialization vector or no content")
    decryptor = Cipher(cipher.block_cipher(content_key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(content.content) + decryptor.finalize()
    unpadder = block_padding.PKCS7(cipher.block_size * 8).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
