"""CMS SignedData as SCEP uses it: sign, verify, carry certificates (RFC 5652; RFC 8894 section 3).

Verification raises; it never returns False.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, ber, keys
from scep.algorithms import SignatureAlgorithm
from scep.asn1 import OID
from scep.certificates import (
    UNREADABLE,
    issuer_and_serial,
    load_certificate,
    load_crl,
    public_key_of,
    subject_key_identifier,
)
from scep.errors import MessageCheckFailed, NotScep, UnsupportedAlgorithm, first_line
from scep.keys import PrivateKey

__all__ = [
    "MOST_CERTIFICATES",
    "Signed",
    "certificates_in",
    "contents_of",
    "degenerate",
    "parse_signed",
    "sign",
]

MOST_CERTIFICATES = 20
"""In one message: a chain with two RAs has not ten."""

_VERSION_1 = asn1.encode(1)
_OCTET_STRING_IN_PIECES = 0x24


@dataclass(frozen=True, slots=True)
class Signed:
    """A SignedData with one signer, read but not verified: call `verify` before believing any of it.

    `attributes` maps each signed attribute's type to the DER of its one value; `content` is b"" when absent.
    """

    content: bytes = field(repr=False)
    attributes: Mapping[OID, bytes]
    _signer: asn1.SignerInfo
    _content_type: OID
    _certificates: list[asn1.TLV] | None

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Those that came along and can be read. Raises NotScep for more than MOST_CERTIFICATES."""
        return _certificates(self._certificates)

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
        for certificate in named:
            key = public_key_of(certificate)
            for signed_bytes in self._signed_bytes():
                try:
                    keys.verify(key, self._signer.signature, signed_bytes, signature_hash)
                except InvalidSignature:
                    continue
                return certificate
        raise MessageCheckFailed(
            f"The signature of the message does not fit the certificate of {self._signer_text()}: "
            "the message was altered on its way, or the server signs wrongly."
        )

    def _signed_bytes(self) -> tuple[bytes, ...]:
        """What may have been signed (RFC 5652 section 5.4)."""
        if self._signer.signed_attributes is None:
            return (self.content,)
        attributes = [asn1.encode(attribute) for attribute in self._signer.signed_attributes]
        # the sorted SET is signed; some peers sign it in the order in which they send it
        return asn1.set_of(attributes), ber.wrap(0x31, b"".join(attributes))

    def _algorithms(self) -> tuple[SignatureAlgorithm, hashes.HashAlgorithm]:
        digest_oid = self._signer.digest_algorithm.algorithm
        signature_oid = self._signer.signature_algorithm.algorithm
        digest = SignatureAlgorithm.from_oid(digest_oid)
        of_the_key = signature_oid in (asn1.RSA_ENCRYPTION, asn1.EC_PUBLIC_KEY)
        signature = digest if of_the_key else SignatureAlgorithm.from_oid(signature_oid)
        if digest is None or signature is None:
            raise UnsupportedAlgorithm(
                "The message should be signed with RSA or ECDSA and SHA-1, SHA-256, SHA-384 or SHA-512; it uses "
                f"digest {digest_oid.dotted_string} and signature {signature_oid.dotted_string}. "
                "Configure the server's signature."
            )
        return digest, signature.hash

    def _check_attributes(self, digest: SignatureAlgorithm) -> None:
        if self._signer.signed_attributes is None:
            return  # only an answer to GetNextCACert can do without: no pkiMessage is complete then
        content_type = self.attributes.get(asn1.CONTENT_TYPE)
        if content_type is not None and content_type != asn1.identifier(self._content_type):
            raise MessageCheckFailed("The signed contentType is not the type of the content.")
        if self.attributes.get(asn1.MESSAGE_DIGEST) != asn1.octet_string(_digest(self.content, digest)):
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
        if asn1.encode(sid) == issuer_and_serial(certificate):
            return True
        try:  # some peers write the same name with other string types
            return asn1.decode(x509.Name, asn1.encode(sid.issuer)) == certificate.issuer
        except UNREADABLE:
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
    key: PrivateKey,
    attributes: Sequence[bytes],
    algorithm: SignatureAlgorithm,
    certificates: Sequence[x509.Certificate] | None = None,
) -> bytes:
    """DER of a ContentInfo with a SignedData over `content` (None: no eContent).

    `attributes` (DER of each) are signed beside contentType and messageDigest. `certificates` are carried in place of
    `certificate` alone when given.
    """
    to_be_signed = asn1.set_of(
        [
            asn1.attribute_of(asn1.CONTENT_TYPE, asn1.identifier(asn1.DATA)),
            asn1.attribute(asn1.MESSAGE_DIGEST, _digest(content or b"", algorithm)),
            *attributes,
        ]
    )
    digest_algorithm = asn1.algorithm_with_null(algorithm.digest_oid)
    signer = asn1.sequence_of(
        _VERSION_1,
        issuer_and_serial(certificate),
        digest_algorithm,
        b"\xa0" + to_be_signed[1:],  # the same SET, as [0] IMPLICIT
        _signature_identifier(key, algorithm),
        asn1.octet_string(keys.sign(key, to_be_signed, algorithm)),
    )
    certificates = (certificate,) if certificates is None else certificates
    return _signed_data(content, certificates, digests=[digest_algorithm], signers=[signer])


def degenerate(
    certificates: Sequence[x509.Certificate], crls: Sequence[x509.CertificateRevocationList] = ()
) -> bytes:
    """A SignedData without a signer (RFC 8894 section 3.4) with the certificates in this order, and CRLs."""
    return _signed_data(None, certificates, crls=crls, digests=[], signers=[])


def parse_signed(data: bytes) -> Signed:
    """Read a SignedData with exactly one signer, in BER or DER. Raises NotScep."""
    signed_data = _read_signed_data(data)
    try:
        # signed is the DER of the attributes, however they were sent (RFC 5652 section 5.4)
        signer, attributes = ber.read(asn1.encode(signed_data.signer_infos), _signer_in)
    except ValueError as error:
        raise NotScep(f"The message's signer information cannot be read: {first_line(error)}.") from error
    return Signed(
        content=signed_data.content.content or b"",
        attributes=attributes,
        _signer=signer,
        _content_type=signed_data.content.content_type,
        _certificates=signed_data.certificates,
    )


def _signer_in(der: bytes) -> tuple[asn1.SignerInfo, dict[OID, bytes]]:
    """The one member of signerInfos, and the value of each of its signed attributes."""
    signers = asn1.inside(asn1.SignerInfo, der)
    if len(signers) != 1:
        raise NotScep(f"A SCEP message has one signer; this one has {len(signers)}.")
    attributes: dict[OID, bytes] = {}
    for attribute in signers[0].signed_attributes or ():
        values = list(ber.children(asn1.encode(attribute.values)))
        if attribute.type in attributes or len(values) != 1:
            raise NotScep(
                f"The signed attribute {attribute.type.dotted_string} should have one value and does not."
            )
        if values[0][0] == _OCTET_STRING_IN_PIECES:
            raise ValueError("an attribute's value is not DER")
        attributes[attribute.type] = values[0]
    return signers[0], attributes


def certificates_in(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of one DER certificate or of a SignedData, told apart by their bytes (quirk 3).

    Members that cannot be read are left out. Raises NotScep where there is neither.
    """
    try:
        if _stands_alone(data):
            return (ber.read(data, load_certificate),)
    except ValueError as error:
        raise NotScep(
            f"A certificate or a SignedData with certificates was expected, {_glimpse(data)} came "
            f"({first_line(error)}). Check the SCEP server's URL and the CA identifier."
        ) from error
    return _certificates(_read_signed_data(data).certificates)


def contents_of(
    data: bytes,
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.CertificateRevocationList, ...]]:
    """The certificates and CRLs that a CertRep brings: of a SignedData, or one of either that stands alone.

    Members that cannot be read are left out. Raises NotScep for anything else.
    """
    try:
        if not _stands_alone(data):
            signed_data = _read_signed_data(data)
            return _certificates(signed_data.certificates), _crls(signed_data.crls)
        try:
            return (ber.read(data, load_certificate),), ()
        except ValueError:
            return (), (ber.read(data, load_crl),)
    except ValueError as error:
        raise NotScep(
            f"Certificates or CRLs were expected in the envelope, something else came ({first_line(error)}). "
            "Look into the server's log."
        ) from error


def _stands_alone(data: bytes) -> bool:
    """True for what is no ContentInfo but may be a certificate or a CRL. Raises BerError."""
    return ber.read(data, lambda der: next(ber.children(der), b""))[:1] == b"\x30"


def _signature_identifier(key: PrivateKey, algorithm: SignatureAlgorithm) -> bytes:
    if isinstance(key, RSAPrivateKey):
        # the identifier that every server so far understands (quirk 10)
        return asn1.algorithm_with_null(asn1.RSA_ENCRYPTION)
    return keys.signature_identifier(key, algorithm)


def _digest(content: bytes, algorithm: SignatureAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm.hash)
    digest.update(content)
    return digest.finalize()


def _signed_data(
    content: bytes | None,
    certificates: Sequence[x509.Certificate],
    *,
    crls: Sequence[x509.CertificateRevocationList] = (),
    digests: list[bytes],
    signers: list[bytes],
) -> bytes:
    # not sorted, as DER would have it: micromdm's client takes the first for its own, and nothing here is signed
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
    encoded_crls = [crl.public_bytes(Encoding.DER) for crl in crls]
    octets = b"" if content is None else ber.wrap(0xA0, asn1.octet_string(content))
    signed_data = asn1.sequence_of(
        _VERSION_1,
        asn1.set_of(digests),
        asn1.sequence_of(asn1.identifier(asn1.DATA), octets),
        ber.wrap(0xA0, b"".join(encoded)) if encoded else b"",
        ber.wrap(0xA1, b"".join(encoded_crls)) if encoded_crls else b"",
        asn1.set_of(signers),
    )
    return asn1.content_info(asn1.SIGNED_DATA, signed_data)


def _read_signed_data(data: bytes) -> asn1.SignedData:
    try:
        return ber.read(data, _signed_data_in)
    except ValueError as error:
        raise NotScep(
            f"A CMS SignedData was expected, {_glimpse(data)} came ({first_line(error)}). "
            "Check the SCEP server's URL and its log."
        ) from error


def _signed_data_in(der: bytes) -> asn1.SignedData:
    content_info = asn1.decode(asn1.ContentInfo, der)
    if content_info.content_type != asn1.SIGNED_DATA:
        raise ValueError(f"its content type is {content_info.content_type.dotted_string}")
    return asn1.decode(asn1.SignedData, asn1.encode(content_info.content))


def _certificates(members: list[asn1.TLV] | None) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates among the CertificateChoices; others and broken ones are of no use to us.

    Raises NotScep for more than anybody has use for: how they hang together has to be found out pair by pair.
    """
    if members and len(members) > MOST_CERTIFICATES:
        raise NotScep(
            f"At most {MOST_CERTIFICATES} certificates were expected, {len(members)} came. Let the SCEP server send "
            "the CA, those above it and its RA only."
        )
    found = []
    for member in members or ():
        try:
            found.append(ber.read(asn1.encode(member), load_certificate))
        except ValueError:
            continue
    return tuple(found)


def _crls(members: list[asn1.TLV] | None) -> tuple[x509.CertificateRevocationList, ...]:
    """The X.509 CRLs among the first RevocationInfoChoices."""
    found = []
    for member in (members or ())[:MOST_CERTIFICATES]:
        try:
            found.append(ber.read(asn1.encode(member), load_crl))
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
