"""The CMS and SCEP structures, declared once (RFC 5652, RFC 8894), and what they are written with.

Messages are read into the declared structures. They are written part by part with `sequence_of` and its like: to
encode an object for each part, and decode it again to stand in the next one, took as long as a signature.

`cryptography.hazmat.asn1` is marked unstable: it is imported here and nowhere else, and requirements.txt
fixes the version. Its rules, met the hard way: an optional `TLV` is refused; a SET OF whose order the
sender may have ignored is declared as a list behind an IMPLICIT tag, or kept as TLV and split later.
"""

# No `from __future__ import annotations`: the declarations are read at run time.

from functools import lru_cache
from typing import Annotated, TypeVar

from cryptography import x509
from cryptography.hazmat.asn1 import (
    TLV,
    Explicit,
    Implicit,
    Null,
    PrintableString,
    decode_der,
    encode_der,
    sequence,
)

from scep import ber

__all__ = ["TLV", "Null"]  # what other modules take from the library through this one

T = TypeVar("T")
OID = x509.ObjectIdentifier

DATA = OID("1.2.840.113549.1.7.1")
SIGNED_DATA = OID("1.2.840.113549.1.7.2")
ENVELOPED_DATA = OID("1.2.840.113549.1.7.3")
CONTENT_TYPE = OID("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = OID("1.2.840.113549.1.9.4")
CHALLENGE_PASSWORD = OID("1.2.840.113549.1.9.7")
EXTENSION_REQUEST = OID("1.2.840.113549.1.9.14")
SUBJECT_ALT_NAME = OID("2.5.29.17")

# RFC 8894 section 3.2.1
MESSAGE_TYPE = OID("2.16.840.1.113733.1.9.2")
PKI_STATUS = OID("2.16.840.1.113733.1.9.3")
FAIL_INFO = OID("2.16.840.1.113733.1.9.4")
SENDER_NONCE = OID("2.16.840.1.113733.1.9.5")
RECIPIENT_NONCE = OID("2.16.840.1.113733.1.9.6")
TRANSACTION_ID = OID("2.16.840.1.113733.1.9.7")
FAIL_INFO_TEXT = OID("1.3.6.1.5.5.7.24.1")
FAIL_INFO_TEXT_SEEN = OID("1.3.6.1.5.5.7.24")  # quirk 13: the arc itself, without the last number
HRESULT = OID("1.3.6.1.4.1.311.21.33")  # Microsoft NDES

RSA_ENCRYPTION = OID("1.2.840.113549.1.1.1")
EC_PUBLIC_KEY = OID("1.2.840.10045.2.1")
PBKDF2 = OID("1.2.840.113549.1.5.12")
PWRI_KEK = OID("1.2.840.113549.1.9.16.3.9")


@sequence
class AlgorithmIdentifier:
    algorithm: OID
    parameters: Null | OID | bytes | None = None


@sequence
class IssuerAndSerial:
    """How CMS names a certificate, and what GetCert and GetCRL ask for (RFC 8894 sections 3.3.4 and 3.3.5)."""

    issuer: TLV  # the bytes of the certificate, so that no re-encoding can change them
    serial: int


@sequence
class ContentInfo:
    content_type: OID
    content: Annotated[TLV, Explicit(0)]


@sequence
class EncapsulatedContent:
    content_type: OID
    content: Annotated[bytes | None, Explicit(0)] = None


@sequence
class Attribute:
    type: OID
    values: TLV  # SET OF ANY, which some servers do not sort


@sequence
class SignerInfo:
    version: int
    sid: IssuerAndSerial | Annotated[bytes, Implicit(0)]
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: Annotated[list[Attribute] | None, Implicit(0)] = None
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Annotated[list[TLV] | None, Implicit(1)] = None


@sequence
class SignedData:
    version: int
    digest_algorithms: TLV
    content: EncapsulatedContent
    certificates: Annotated[list[TLV] | None, Implicit(0)] = None
    crls: Annotated[list[TLV] | None, Implicit(1)] = None
    signer_infos: TLV


@sequence
class KeyTransRecipient:
    version: int
    rid: IssuerAndSerial | Annotated[bytes, Implicit(0)]
    key_encryption_algorithm: AlgorithmIdentifier
    encrypted_key: bytes


@sequence
class Pbkdf2Parameters:
    """RFC 8018 appendix A.2, with the salt given; an absent `prf` is HMAC with SHA-1."""

    salt: bytes
    iterations: int
    key_length: int | None = None
    prf: AlgorithmIdentifier | None = None


@sequence
class KeyDerivation:
    algorithm: OID
    parameters: Pbkdf2Parameters


@sequence
class KeyWrap:
    """id-alg-PWRI-KEK: its parameter is the cipher that wraps (RFC 3211 section 2.3)."""

    algorithm: OID
    parameters: AlgorithmIdentifier


@sequence
class PasswordRecipient:
    """PasswordRecipientInfo (RFC 5652 section 6.2.4); as a RecipientInfo its tag is [3]."""

    version: int
    key_derivation: Annotated[KeyDerivation | None, Implicit(0)] = None
    key_encryption: KeyWrap
    encrypted_key: bytes


@sequence
class EncryptedContent:
    content_type: OID
    algorithm: AlgorithmIdentifier
    content: Annotated[bytes | None, Implicit(0)] = None


@sequence
class EnvelopedData:
    version: int
    recipients: TLV
    content: EncryptedContent
    unprotected_attributes: Annotated[list[TLV] | None, Implicit(1)] = None


@sequence
class IssuerAndSubject:
    """What a CertPoll asks about (RFC 8894 section 3.3.3)."""

    issuer: TLV
    subject: TLV


def decode(structure: type[T], der: bytes) -> T:
    """Decode exactly one `structure`. Raises ValueError."""
    return decode_der(structure, der)


def encode(value: object) -> bytes:
    """DER of a declared structure or of a single value (OID, bytes, str, PrintableString...)."""
    return encode_der(value)


def tlv(value: object) -> TLV:
    """A declared structure, or bytes that already are DER, as the raw value that TLV fields take."""
    return decode_der(TLV, value if isinstance(value, bytes) else encode_der(value))


def inside(structure: type[T], der: bytes) -> list[T]:
    """The members of a SET or SEQUENCE, in the order in which they came. Raises ValueError."""
    return [decode_der(structure, member) for member in ber.children(der)]


@lru_cache(maxsize=256)
def identifier(oid: OID) -> bytes:
    """DER of an OBJECT IDENTIFIER."""
    return encode_der(oid)


@lru_cache(maxsize=256)
def algorithm_with_null(oid: OID) -> bytes:
    """DER of an AlgorithmIdentifier whose parameters are NULL."""
    return encode_der(AlgorithmIdentifier(algorithm=oid, parameters=Null()))


def octet_string(octets: bytes) -> bytes:
    """DER of an OCTET STRING."""
    return ber.wrap(0x04, octets)


def attribute(oid: OID, value: object) -> bytes:
    """DER of an attribute with one value; bytes become an OCTET STRING."""
    return attribute_of(oid, octet_string(value) if isinstance(value, bytes) else encode_der(value))


def attribute_of(oid: OID, value: bytes) -> bytes:
    """DER of an attribute with the one value that `value` is the DER of."""
    return sequence_of(identifier(oid), ber.wrap(0x31, value))


def sequence_of(*parts: bytes) -> bytes:
    """DER of a SEQUENCE of the encoded `parts`."""
    return ber.wrap(0x30, b"".join(parts))


def content_info(content_type: OID, content: bytes) -> bytes:
    """DER of a ContentInfo around the encoded `content` (RFC 5652 section 3)."""
    return sequence_of(identifier(content_type), ber.wrap(0xA0, content))


def set_of(members: list[bytes]) -> bytes:
    """DER of a SET OF the encoded `members`: sorted (X.690 section 11.6)."""
    return ber.wrap(0x31, b"".join(sorted(members)))


def text(der: bytes) -> str | None:
    """The characters of a DER string value of any kind in use (quirk 16), or None for another type.

    PrintableString by RFC 8894; UTF8String, IA5String, TeletexString, VisibleString and BMPString are met.
    """
    encoding = _ENCODINGS.get(der[:1])
    return encoding and ber.contents(der).decode(encoding, errors="replace")


_ENCODINGS = {
    b"\x13": "latin-1",
    b"\x0c": "utf-8",
    b"\x16": "latin-1",
    b"\x14": "latin-1",
    b"\x1a": "latin-1",
    b"\x1e": "utf-16-be",
}


def printable(characters: str) -> PrintableString:
    """A PrintableString. Raises ValueError where a character is not allowed in one (X.680 section 41.4)."""
    if not is_printable(characters):
        raise ValueError(f"{characters!r} has characters that a PrintableString cannot hold")
    return PrintableString(characters)


_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


def is_printable(characters: str) -> bool:
    """True when an ASN.1 PrintableString can hold the characters."""
    return _PRINTABLE.issuperset(characters)


def issuer_of(certificate_der: bytes) -> bytes:
    """The issuer name of a DER certificate as it stands there (RFC 5280 section 4.1)."""
    return _name_of(certificate_der, 2)


def subject_of(certificate_der: bytes) -> bytes:
    """The subject name of a DER certificate as it stands there."""
    return _name_of(certificate_der, 4)


def requested_subject_of(csr_der: bytes) -> bytes:
    """The subject name of a DER certification request as it stands there (RFC 2986 section 4.1)."""
    return list(ber.children(next(ber.children(csr_der))))[1]


def _name_of(certificate_der: bytes, position: int) -> bytes:
    fields = list(ber.children(next(ber.children(certificate_der))))
    # version is [0] EXPLICIT and absent from X.509 version 1
    return fields[position + (1 if fields[0][:1] == b"\xa0" else 0)]
