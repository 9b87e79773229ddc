"""pkiMessages as values: what a client sends and a CA answers, built and read (RFC 8894 section 3).

Both directions stand side by side, so that the responder and the client cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, cms, envelope
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.asn1 import OID
from scep.csr import Transaction
from scep.errors import FailInfo, MessageCheckFailed, NotScep, RequestRefused

NONCE_LENGTH = 16
"""Octets (RFC 8894 section 3.2.1.5)."""


class MessageType(IntEnum):
    """messageType (RFC 8894 section 3.2.1.2)."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    PKCS_REQ = 19
    CERT_POLL = 20

    @property
    def label(self) -> str:
        """The RFC's name of it."""
        return _LABELS[self]


_LABELS = {
    MessageType.CERT_REP: "CertRep",
    MessageType.RENEWAL_REQ: "RenewalReq",
    MessageType.PKCS_REQ: "PKCSReq",
    MessageType.CERT_POLL: "CertPoll",
}


class PkiStatus(IntEnum):
    """pkiStatus (RFC 8894 section 3.2.1.3)."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


@dataclass(frozen=True, slots=True)
class Request:
    """A verified request as the CA sees it.

    `content` is DER: a CSR in a PKCSReq, an IssuerAndSubject in a CertPoll. `signer` is the self-signed
    certificate that came along, and for which the reply is enveloped.
    """

    message_type: MessageType
    transaction_id: str
    sender_nonce: bytes
    signer: x509.Certificate
    content: bytes = field(repr=False)
    cipher: ContentCipher
    """The cipher that the client used, and so understands."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A verified CertRep that is not a FAILURE; SUCCESS has certificates, in the server's order."""

    status: PkiStatus
    certificates: tuple[x509.Certificate, ...] = ()


def issuer_and_subject(issuer: x509.Certificate, signer: x509.Certificate) -> bytes:
    """DER for a CertPoll: the CA's own subject (quirk 17) and the subject that was asked for."""
    return asn1.encode(
        asn1.IssuerAndSubject(
            issuer=asn1.tlv(asn1.subject_of(issuer.public_bytes(Encoding.DER))),
            subject=asn1.tlv(asn1.subject_of(signer.public_bytes(Encoding.DER))),
        )
    )


def build_request(
    message_type: MessageType,
    content: bytes,
    *,
    transaction: Transaction,
    recipient: x509.Certificate,
    sender_nonce: bytes,
    cipher: ContentCipher,
    digest: SignatureAlgorithm,
) -> bytes:
    """DER of a request: `content` enveloped for `recipient`, signed with the transaction's own key.

    Raises UnsupportedAlgorithm when the recipient's key is not RSA.
    """
    return cms.sign(
        envelope.envelop(content, recipient=recipient, cipher=cipher),
        certificate=transaction.signer,
        key=transaction.key,
        attributes=[
            _number(asn1.MESSAGE_TYPE, message_type),
            _string(asn1.TRANSACTION_ID, transaction.transaction_id),
            asn1.attribute(asn1.SENDER_NONCE, sender_nonce),
        ],
        algorithm=digest,
    )


def read_request(
    data: bytes, *, certificate: x509.Certificate, key: RSAPrivateKey, allowed: Collection[ContentCipher]
) -> Request:
    """A request to the CA whose encryption `certificate` and `key` these are, verified and opened.

    Raises NotScep, MessageCheckFailed and UnsupportedAlgorithm.
    """
    signed = cms.parse_signed(data)
    signer = signed.verify(signed.certificates)
    number = _read_number(signed, asn1.MESSAGE_TYPE)
    if number not in (MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.CERT_POLL):
        raise NotScep(f"PKCSReq, RenewalReq or CertPoll was expected; the messageType is {number}.")
    transaction_id = _read_text(signed, asn1.TRANSACTION_ID)
    if not transaction_id:
        raise NotScep("The message has no transactionID.")
    content, cipher = envelope.open_envelope(
        signed.content, certificate=certificate, key=key, allowed=allowed
    )
    return Request(
        message_type=MessageType(number),
        transaction_id=transaction_id,
        sender_nonce=_read_octets(signed, asn1.SENDER_NONCE) or b"",
        signer=signer,
        content=content,
        cipher=cipher,
    )


def build_reply(
    request: Request,
    status: PkiStatus,
    *,
    certificate: x509.Certificate,
    key: RSAPrivateKey,
    sender_nonce: bytes,
    digest: SignatureAlgorithm = SignatureAlgorithm.SHA256,
    issued: Sequence[x509.Certificate] = (),
    fail_info: FailInfo | None = None,
    fail_text: str = "",
    envelope_for: x509.Certificate | None = None,
) -> bytes:
    """DER of a CertRep to `request`, signed by the CA's (or RA's) `certificate` and `key`.

    `issued` holds the certificates of a SUCCESS, the requester's first. `envelope_for` is the requester's
    signer certificate unless given.
    """
    content = None
    if issued:
        recipient = envelope_for or request.signer
        # single DES is read but never sent (quirk 8)
        cipher = ContentCipher.AES_128 if request.cipher is ContentCipher.DES else request.cipher
        content = envelope.envelop(cms.degenerate(issued), recipient=recipient, cipher=cipher)
    attributes = [
        _number(asn1.MESSAGE_TYPE, MessageType.CERT_REP),
        _number(asn1.PKI_STATUS, status),
        _string(asn1.TRANSACTION_ID, request.transaction_id),
        asn1.attribute(asn1.SENDER_NONCE, sender_nonce),
        asn1.attribute(asn1.RECIPIENT_NONCE, request.sender_nonce),
    ]
    if fail_info is not None:
        attributes.append(_number(asn1.FAIL_INFO, fail_info))
    if fail_text:
        attributes.append(asn1.attribute(asn1.FAIL_INFO_TEXT, fail_text))
    return cms.sign(content, certificate=certificate, key=key, attributes=attributes, algorithm=digest)


def read_reply(
    data: bytes,
    *,
    transaction: Transaction,
    signers: Iterable[x509.Certificate],
    sender_nonce: bytes,
    allowed: Collection[ContentCipher],
) -> Reply:
    """The CertRep that answers our message with `sender_nonce`.

    The signature is verified before anything else is believed or decrypted. SUCCESS without a payload
    comes back as PENDING (quirk 14). Raises RequestRefused for a FAILURE, and NotScep,
    MessageCheckFailed and UnsupportedAlgorithm.
    """
    signed = cms.parse_signed(data)
    signed.verify(signers)
    number = _read_number(signed, asn1.MESSAGE_TYPE)
    if number != MessageType.CERT_REP:
        raise NotScep(f"A CertRep (messageType 3) was expected; the messageType is {number}.")
    if (theirs := _read_text(signed, asn1.TRANSACTION_ID)) != transaction.transaction_id:
        raise MessageCheckFailed(
            f"The reply is for another transaction: {transaction.transaction_id} was expected, {theirs} came."
        )
    if _read_octets(signed, asn1.RECIPIENT_NONCE) != sender_nonce:
        raise MessageCheckFailed(
            "The reply's recipientNonce is not our message's senderNonce: it answers another message, or an "
            "old reply was sent again."
        )
    status = _read_number(signed, asn1.PKI_STATUS)
    if status == PkiStatus.FAILURE:
        raise RequestRefused(
            _read_number(signed, asn1.FAIL_INFO),
            _read_text(signed, asn1.FAIL_INFO_TEXT) or _read_text(signed, asn1.FAIL_INFO_TEXT_SEEN) or "",
            _read_text(signed, asn1.HRESULT) or "",
        )
    # absent, empty or one NUL are all met where there is nothing to say (quirk 12)
    if status == PkiStatus.PENDING or (status == PkiStatus.SUCCESS and signed.content in (b"", b"\0")):
        return Reply(PkiStatus.PENDING)
    if status != PkiStatus.SUCCESS:
        raise NotScep(f"pkiStatus 0, 2 or 3 was expected, {status} came.")
    content, _cipher = envelope.open_envelope(
        signed.content, certificate=transaction.signer, key=transaction.key, allowed=allowed
    )
    return Reply(PkiStatus.SUCCESS, cms.certificates_in(content))


def _string(oid: OID, characters: str) -> asn1.Attribute:
    return asn1.attribute(oid, asn1.printable(characters))


def _number(oid: OID, number: int) -> asn1.Attribute:
    """SCEP writes its numbers as decimal PrintableStrings."""
    return _string(oid, str(int(number)))


def _read_text(signed: cms.Signed, oid: OID) -> str | None:
    der = signed.attributes.get(oid)
    return None if der is None else asn1.text(der)


def _read_number(signed: cms.Signed, oid: OID) -> int | None:
    text = _read_text(signed, oid)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def _read_octets(signed: cms.Signed, oid: OID) -> bytes | None:
    der = signed.attributes.get(oid)
    try:
        return None if der is None else asn1.decode(bytes, der)
    except ValueError:
        return None
