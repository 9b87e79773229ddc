"""CMS as SCEP uses it: sign, verify, envelop, open (RFC 5652; RFC 8894 section 3).

Verification raises; it never returns False. Opening an envelope tells nobody why it failed: a wrong key,
wrong RSA padding and wrong CBC padding are the same error (RFC 3218), and callers verify the signature first.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as LibraryUnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, ber
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.asn1 import OID
from scep.errors import MessageCheckFailed, NotScep, UnsupportedAlgorithm

__all__ = [
    "Signed",
    "certificates_in",
    "degenerate",
    "envelop",
    "open_envelope",
    "parse_signed",
    "sign",
]


@dataclass(frozen=True, slots=True)
class Signed:
    """A SignedData with one signer, read but not verified: call `verify` before believing any of it.

    `attributes` maps each signed attribute's type to the DER of its one value; `content` is b"" when
    absent; `certificates` are those that came along and could be read.
    """

    content: bytes = field(repr=False)
    attributes: Mapping[OID, bytes]
    certificates: tuple[x509.Certificate, ...]
    _signer: asn1.SignerInfo
    _content_type: OID

    def verify(self, signers: Iterable[x509.Certificate]) -> x509.Certificate:
        """Return the one of `signers` that signed this.

        Digests of SHA-1 are accepted in verification (quirk 6), rsaEncryption and shaXWithRSA as well
        (quirk 10). Raises MessageCheckFailed and UnsupportedAlgorithm.
        """
        digest, signature_hash = self._algorithms()
        self._check_attributes(digest)
        named = [certificate for certificate in signers if self._names(certificate)]
        if not named:
            raise MessageCheckFailed(
                f"The message should be signed by a certificate that GetCACert returned, "
                f"but {self._signer_text()} signed it. If the CA's certificates changed, fetch them again."
            )
        attributes = [asn1.encode(attribute) for attribute in self._signer.signed_attributes or ()]
        # RFC 5652 section 5.4 signs the sorted SET; some peers sign it in the order in which they send it
        candidates = (asn1.set_of(attributes), ber.wrap(0x31, b"".join(attributes)))
        for certificate in named:
            key = rsa_public_key(certificate)
            for signed_bytes in candidates:
                try:
                    key.verify(self._signer.signature, signed_bytes, padding.PKCS1v15(), signature_hash)
                except InvalidSignature:
                    continue
                return certificate
        raise MessageCheckFailed(
            f"The signature of the message does not fit the certificate of {self._signer_text()}: "
            "the message was altered on its way, or the server signs wrongly."
        )

    def _algorithms(self) -> tuple[SignatureAlgorithm, hashes.HashAlgorithm]:
        digest_oid = self._signer.digest_algorithm.algorithm
        signature_oid = self._signer.signature_algorithm.algorithm
        digest = SignatureAlgorithm.from_oid(digest_oid)
        signature = (
            digest if signature_oid == asn1.RSA_ENCRYPTION else SignatureAlgorithm.from_oid(signature_oid)
        )
        if digest is None or signature is None:
            raise UnsupportedAlgorithm(
                "The message should be signed with RSA and SHA-1, SHA-256, SHA-384 or SHA-512; it uses digest "
                f"{digest_oid.dotted_string} and signature {signature_oid.dotted_string}. "
                "Configure the server's signature."
            )
        return digest, signature.hash

    def _check_attributes(self, digest: SignatureAlgorithm) -> None:
        content_type = self.attributes.get(asn1.CONTENT_TYPE)
        if content_type is not None and content_type != asn1.encode(self._content_type):
            raise MessageCheckFailed("The signed contentType is not the type of the content.")
        if self.attributes.get(asn1.MESSAGE_DIGEST) != asn1.encode(_digest(self.content, digest)):
            raise MessageCheckFailed(
                "The content of the message does not have the digest that was signed: it was altered on its way."
            )

    def _names(self, certificate: x509.Certificate) -> bool:
        """Whether the SignerInfo's identifier means this certificate."""
        sid = self._signer.sid
        if isinstance(sid, bytes):
            return sid == subject_key_identifier(certificate)
        if sid.serial != certificate.serial_number:
            return False
        issuer = asn1.encode(sid.issuer)
        if issuer == asn1.issuer_of(certificate.public_bytes(Encoding.DER)):
            return True
        try:  # some peers write the same name with other string types
            return x509.load_der_x509_certificate_name(issuer) == certificate.issuer  # type: ignore[attr-defined,no-any-return]
        except (AttributeError, ValueError):
            return False

    def _signer_text(self) -> str:
        sid = self._signer.sid
        if isinstance(sid, bytes):
            return f"the holder of the key identifier {sid.hex()}"
        return f"the holder of serial number {sid.serial:x}"


def sign(
    content: bytes | None,
    *,
    certificate: x509.Certificate,
    key: RSAPrivateKey,
    attributes: Sequence[asn1.Attribute],
    algorithm: SignatureAlgorithm,
    certificates: Sequence[x509.Certificate] = (),
) -> bytes:
    """DER of a ContentInfo with a SignedData over `content` (None: no eContent).

    `attributes` are signed beside contentType and messageDigest. `certificates` are carried in place of
    `certificate` alone when given.
    """
    signed_attributes = [
        asn1.attribute(asn1.CONTENT_TYPE, asn1.DATA),
        asn1.attribute(asn1.MESSAGE_DIGEST, _digest(content or b"", algorithm)),
        *attributes,
    ]
    signed_attributes.sort(key=asn1.encode)
    to_be_signed = asn1.set_of([asn1.encode(attribute) for attribute in signed_attributes])
    digest_algorithm = asn1.AlgorithmIdentifier(algorithm=algorithm.digest_oid, parameters=asn1.Null())
    signer = asn1.SignerInfo(
        version=1,
        sid=_issuer_and_serial(certificate),
        digest_algorithm=digest_algorithm,
        signed_attributes=signed_attributes,
        # the identifier that every server so far understands (quirk 10)
        signature_algorithm=asn1.AlgorithmIdentifier(algorithm=asn1.RSA_ENCRYPTION, parameters=asn1.Null()),
        signature=key.sign(to_be_signed, padding.PKCS1v15(), algorithm.hash),
    )
    return _signed_data(
        content,
        certificates or (certificate,),
        digests=[asn1.encode(digest_algorithm)],
        signers=[asn1.encode(signer)],
    )


def degenerate(certificates: Sequence[x509.Certificate]) -> bytes:
    """A certs-only SignedData (RFC 8894 section 3.4) with the certificates in this order."""
    return _signed_data(None, certificates, digests=[], signers=[])


def parse_signed(data: bytes) -> Signed:
    """Read a SignedData with exactly one signer, in BER or DER. Raises NotScep."""
    signed_data = _read_signed_data(data)
    try:
        signers = asn1.inside(asn1.SignerInfo, signed_data.signer_infos)
        if len(signers) != 1:
            raise NotScep(f"A SCEP message has one signer; this one has {len(signers)}.")
        attributes: dict[OID, bytes] = {}
        for attribute in signers[0].signed_attributes or ():
            values = list(ber.children(asn1.encode(attribute.values)))
            if attribute.type in attributes or len(values) != 1:
                raise NotScep(
                    f"The signed attribute {attribute.type.dotted_string} should have one value and does not."
                )
            attributes[attribute.type] = values[0]
    except ValueError as error:
        raise NotScep(f"The message's signer information cannot be read: {_first_line(error)}.") from error
    return Signed(
        content=signed_data.content.content or b"",
        attributes=attributes,
        certificates=_certificates(signed_data.certificates),
        _signer=signers[0],
        _content_type=signed_data.content.content_type,
    )


def certificates_in(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of one DER certificate or of a SignedData, told apart by their bytes (quirk 3).

    Members that cannot be read are left out. Raises NotScep where there is neither.
    """
    try:
        der = ber.to_der(data)
        fields = list(ber.children(der))
        if fields and fields[0][:1] == b"\x30":
            return (x509.load_der_x509_certificate(der),)
    except ValueError as error:
        raise NotScep(
            f"A certificate or a SignedData with certificates was expected, {_glimpse(data)} came "
            f"({_first_line(error)}). Check the SCEP server's URL and the CA identifier."
        ) from error
    return _certificates(_read_signed_data(data).certificates)


def envelop(content: bytes, *, recipient: x509.Certificate, cipher: ContentCipher) -> bytes:
    """DER of a ContentInfo with an EnvelopedData for the RSA key in `recipient`.

    Raises UnsupportedAlgorithm when that key is not RSA.
    """
    content_key, iv = os.urandom(cipher.key_size), os.urandom(cipher.block_size)
    padder = block_padding.PKCS7(cipher.block_size * 8).padder()
    encryptor = Cipher(cipher.block_cipher(content_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    recipient_info = asn1.KeyTransRecipient(
        version=0,
        rid=_issuer_and_serial(recipient),
        key_encryption_algorithm=asn1.AlgorithmIdentifier(
            algorithm=asn1.RSA_ENCRYPTION, parameters=asn1.Null()
        ),
        encrypted_key=rsa_public_key(recipient).encrypt(content_key, padding.PKCS1v15()),
    )
    enveloped = asn1.EnvelopedData(
        version=0,
        recipients=asn1.tlv(asn1.set_of([asn1.encode(recipient_info)])),
        content=asn1.EncryptedContent(
            content_type=asn1.DATA,
            algorithm=asn1.AlgorithmIdentifier(algorithm=cipher.oid, parameters=iv),
            content=ciphertext,
        ),
    )
    return asn1.encode(asn1.ContentInfo(content_type=asn1.ENVELOPED_DATA, content=asn1.tlv(enveloped)))


def open_envelope(
    data: bytes, *, certificate: x509.Certificate, key: RSAPrivateKey, allowed: Collection[ContentCipher]
) -> tuple[bytes, ContentCipher]:
    """What an EnvelopedData for `certificate` and its `key` holds, and the cipher that hid it.

    Raises UnsupportedAlgorithm for a cipher outside `allowed`, MessageCheckFailed for all that fails.
    """
    try:
        content_info = asn1.decode(asn1.ContentInfo, ber.to_der(data))
        if content_info.content_type != asn1.ENVELOPED_DATA:
            raise ValueError("not an EnvelopedData")
        enveloped = asn1.decode(asn1.EnvelopedData, asn1.encode(content_info.content))
        recipient = _own_recipient(enveloped.recipients, certificate)
    except ValueError as error:
        raise MessageCheckFailed(
            f"The message should hold an envelope for us, but it cannot be read: {_first_line(error)}."
        ) from error
    cipher = _permitted_cipher(enveloped.content.algorithm.algorithm, allowed)
    if recipient.key_encryption_algorithm.algorithm != asn1.RSA_ENCRYPTION:
        raise UnsupportedAlgorithm(
            "The envelope's key should be encrypted with RSA PKCS #1 v1.5; it is encrypted with "
            f"{recipient.key_encryption_algorithm.algorithm.dotted_string}. Configure the server's encryption."
        )
    try:
        return _decrypt(enveloped.content, _content_key(recipient.encrypted_key, key, cipher), cipher), cipher
    except ValueError:
        # without "from": which step failed must not show
        raise MessageCheckFailed(
            "The envelope cannot be decrypted with our key: it is for somebody else, or was altered on its way."
        ) from None


def rsa_public_key(certificate: x509.Certificate) -> RSAPublicKey:
    """The certificate's RSA key. Raises UnsupportedAlgorithm when it has another kind, or none readable."""
    try:
        key = certificate.public_key()
    except (ValueError, LibraryUnsupportedAlgorithm) as error:
        raise UnsupportedAlgorithm(
            f"The public key of a certificate of the CA cannot be read: {_first_line(error)}."
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise UnsupportedAlgorithm(
            f"SCEP needs an RSA key in the CA's certificates; this one has {type(key).__name__}. "
            "Give the server an RSA certificate for SCEP."
        )
    return key


def subject_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The extension's value, or None when absent or unreadable."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (ValueError, x509.ExtensionNotFound):
        return None


def _own_recipient(recipients: asn1.TLV, certificate: x509.Certificate) -> asn1.KeyTransRecipient:
    """The recipient that names `certificate`, or the only one there is."""
    found = asn1.inside(asn1.KeyTransRecipient, recipients)
    for recipient in found:
        rid = recipient.rid
        if isinstance(rid, bytes):
            if rid == subject_key_identifier(certificate):
                return recipient
        elif rid.serial == certificate.serial_number:
            return recipient
    if len(found) != 1:
        raise ValueError(f"none of the {len(found)} recipients is ours")
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


def _content_key(encrypted_key: bytes, key: RSAPrivateKey, cipher: ContentCipher) -> bytes:
    # A random key in place of a failure: the padding of the content fails then, as with any wrong key
    substitute = os.urandom(cipher.key_size)
    try:
        content_key = key.decrypt(encrypted_key, padding.PKCS1v15())
    except ValueError:
        return substitute
    return content_key if len(content_key) == cipher.key_size else substitute


def _decrypt(content: asn1.EncryptedContent, content_key: bytes, cipher: ContentCipher) -> bytes:
    iv = content.algorithm.parameters
    if not isinstance(iv, bytes) or content.content is None:
        raise ValueError("no initialization vector or no content")
    decryptor = Cipher(cipher.block_cipher(content_key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(content.content) + decryptor.finalize()
    unpadder = block_padding.PKCS7(cipher.block_size * 8).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def _digest(content: bytes, algorithm: SignatureAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm.hash)
    digest.update(content)
    return digest.finalize()


def _issuer_and_serial(certificate: x509.Certificate) -> asn1.IssuerAndSerial:
    issuer = asn1.issuer_of(certificate.public_bytes(Encoding.DER))
    return asn1.IssuerAndSerial(issuer=asn1.tlv(issuer), serial=certificate.serial_number)


def _signed_data(
    content: bytes | None,
    certificates: Sequence[x509.Certificate],
    *,
    digests: list[bytes],
    signers: list[bytes],
) -> bytes:
    # not sorted, as DER would have it: micromdm's client takes the first for its own, and nothing here is signed
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
    signed_data = asn1.SignedData(
        version=1,
        digest_algorithms=asn1.tlv(asn1.set_of(digests)),
        content=asn1.EncapsulatedContent(content_type=asn1.DATA, content=content),
        certificates=[asn1.tlv(der) for der in encoded],
        signer_infos=asn1.tlv(asn1.set_of(signers)),
    )
    return asn1.encode(asn1.ContentInfo(content_type=asn1.SIGNED_DATA, content=asn1.tlv(signed_data)))


def _read_signed_data(data: bytes) -> asn1.SignedData:
    try:
        content_info = asn1.decode(asn1.ContentInfo, ber.to_der(data))
        if content_info.content_type != asn1.SIGNED_DATA:
            raise ValueError(f"its content type is {content_info.content_type.dotted_string}")
        return asn1.decode(asn1.SignedData, asn1.encode(content_info.content))
    except ValueError as error:
        raise NotScep(
            f"A CMS SignedData was expected, {_glimpse(data)} came ({_first_line(error)}). "
            "Check the SCEP server's URL and its log."
        ) from error


def _certificates(members: list[asn1.TLV] | None) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates among the CertificateChoices; others and broken ones are of no use to us."""
    found = []
    for member in members or ():
        try:
            found.append(x509.load_der_x509_certificate(asn1.encode(member)))
        except ValueError:
            continue
    return tuple(found)


def _glimpse(data: bytes) -> str:
    """What `data` looks like, for people; never more than its kind and length."""
    start = data[:200].lstrip().lower()
    if not data:
        return "an empty body"
    if start.startswith(b"<"):
        return "an HTML or XML page"
    return f"something else of {len(data)} bytes"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
