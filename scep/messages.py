"""pkiMessages as values: what a client sends and a CA answers, built and read (RFC 8894 section 3).

Both directions stand side by side, so that the responder and the client cannot drift apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, ber, cms, envelope
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.asn1 import OID
from scep.errors import FailInfo, MessageCheckFailed, NotScep, RequestRefused
from scep.keys import PrivateKey
from scep.transaction import Requester

NONCE_LENGTH = 16
"""Octets (RFC 8894 section 3.2.1.5)."""


class MessageType(IntEnum):
    """messageType (RFC 8894 section 3.2.1.2)."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22

    @property
    def label(self) -> str:
        """The RFC's name of it."""
        return _LABELS[self]


_LABELS = {
    MessageType.CERT_REP: "CertRep",
    MessageType.RENEWAL_REQ: "RenewalReq",
    MessageType.PKCS_REQ: "PKCSReq",
    MessageType.CERT_POLL: "CertPoll",
    MessageType.GET_CERT: "GetCert",
    MessageType.GET_CRL: "GetCRL",
}


class PkiStatus(IntEnum):
    """pkiStatus (RFC 8894 section 3.2.1.3)."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


@dataclass(frozen=True, slots=True)
class Request:
    """A verified request as the CA sees it.

    `content` is DER: a CSR in a PKCSReq or RenewalReq, an IssuerAndSubject in a CertPoll, an
    IssuerAndSerialNumber in a GetCert or GetCRL; it is empty where the envelope could not be opened. `signer` is
    the certificate that came along, and for which the reply is enveloped.
    """

    message_type: MessageType
    transaction_id: str
    sender_nonce: bytes
    signer: x509.Certificate
    content: bytes = field(repr=False)
    cipher: ContentCipher | None
    """The cipher that the client used, and so understands."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A verified CertRep that is not a FAILURE; SUCCESS has certificates or CRLs, in the server's order."""

    status: PkiStatus
    certificates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()


class SenderNonce(StrEnum):
    """What servers put into senderNonce of a CertRep (quirk 15)."""

    NEW = "new"
    MISSING = "missing"
    ECHOED = "echoed"
    """The client's own nonce."""


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """How a CertRep is written where servers differ; the defaults are RFC 8894's."""

    digest: SignatureAlgorithm = SignatureAlgorithm.SHA256
    cipher: ContentCipher | None = None
    """None: the request's, and AES-128 where that was DES, which is read but not sent (quirk 8)."""
    sender_nonce: SenderNonce = SenderNonce.NEW
    no_content: bytes | None = None
    """The content where there is nothing to say (quirk 12); None: absent."""
    fail_text_type: OID = asn1.FAIL_INFO_TEXT
    hresult: int | None = None
    """With a FAILURE; signed, of 32 bits."""
    with_signer: bool = True
    """Carry the certificate that the reply is signed with."""
    indefinite: bool = False
    """BER with indefinite lengths and strings in pieces."""


PLAIN = ReplyForm()


def issuer_and_subject(issuer: x509.Certificate, subject: bytes) -> bytes:
    """DER for a CertPoll: the CA's own subject (quirk 17) and the DER of the subject that was asked for."""
    return asn1.sequence_of(asn1.subject_of(issuer.public_bytes(Encoding.DER)), subject)


def issuer_and_serial(issuer: bytes, serial_number: int) -> bytes:
    """DER for a GetCert or a GetCRL; `issuer` is the DER of a name."""
    return asn1.sequence_of(issuer, asn1.encode(serial_number))


def build_request(
    message_type: MessageType,
    content: bytes,
    *,
    requester: Requester,
    recipient: x509.Certificate,
    sender_nonce: bytes,
    cipher: ContentCipher,
    digest: SignatureAlgorithm,
) -> bytes:
    """DER of a request: `content` enveloped for `recipient`, signed by `requester`.

    Raises UnsupportedAlgorithm when the recipient's key cannot decrypt and there is no challenge password.
    """
    return cms.sign(
        envelope.envelop(content, recipient=recipient, cipher=cipher, password=requester.challenge_password),
        certificate=requester.certificate,
        key=requester.key,
        attributes=[
            _number(asn1.MESSAGE_TYPE, message_type),
            _string(asn1.TRANSACTION_ID, requester.transaction_id),
            asn1.attribute(asn1.SENDER_NONCE, sender_nonce),
        ],
        algorithm=digest,
    )


def read_request(
    data: bytes,
    *,
    certificate: x509.Certificate,
    key: PrivateKey,
    allowed: Collection[ContentCipher],
    passwords: Collection[str] = (),
) -> Request:
    """A request to the CA whose encryption `certificate` and `key` these are, verified and opened.

    A message that can be verified but not decrypted comes back with an empty content: anybody can sign one, and must
    not learn more from the answer than that the content made no sense (RFC 3218). Raises NotScep,
    MessageCheckFailed and UnsupportedAlgorithm.
    """
    signed = cms.parse_signed(data)
    signer = signed.verify(signed.certificates)
    number = _read_number(signed, asn1.MESSAGE_TYPE)
    if number is None or number not in _REQUESTS:
        raise NotScep(
            f"A request (messageType 17, 19, 20, 21 or 22) was expected; the messageType is {number}."
        )
    transaction_id = _read_text(signed, asn1.TRANSACTION_ID)
    if not transaction_id:
        raise NotScep("The message has no transactionID.")
    content, cipher = b"", None
    with contextlib.suppress(MessageCheckFailed):
        content, cipher = envelope.open_envelope(
            signed.content, certificate=certificate, key=key, allowed=allowed, passwords=passwords
        )
    return Request(
        message_type=MessageType(number),
        transaction_id=transaction_id,
        sender_nonce=_read_octets(signed, asn1.SENDER_NONCE) or b"",
        signer=signer,
        content=content,
        cipher=cipher,
    )


_REQUESTS = frozenset(MessageType) - {MessageType.CERT_REP}


def build_reply(
    request: Request,
    status: PkiStatus,
    *,
    certificate: x509.Certificate,
    key: PrivateKey,
    sender_nonce: bytes,
    payload: bytes | None = None,
    password: str = "",
    fail_info: FailInfo | None = None,
    fail_text: str = "",
    envelope_for: x509.Certificate | None = None,
    form: ReplyForm = PLAIN,
) -> bytes:
    """A CertRep to `request`, signed by the CA's (or RA's) `certificate` and `key`; DER unless `form` wants BER.

    `payload` is the degenerate SignedData of a SUCCESS. It is enveloped for the requester's signer certificate, or
    `envelope_for`; under `password` where that one's key cannot decrypt. Raises UnsupportedAlgorithm without one.
    """
    content = form.no_content
    if payload is not None:
        known = request.cipher not in (None, ContentCipher.DES)
        content = envelope.envelop(
            ber.to_indefinite(payload) if form.indefinite else payload,
            recipient=envelope_for or request.signer,
            cipher=form.cipher or (request.cipher if request.cipher and known else ContentCipher.AES_128),
            password=password,
        )
        if form.indefinite:
            content = ber.to_indefinite(content)
    attributes = [
        _number(asn1.MESSAGE_TYPE, MessageType.CERT_REP),
        _number(asn1.PKI_STATUS, status),
        _string(asn1.TRANSACTION_ID, request.transaction_id),
        asn1.attribute(asn1.RECIPIENT_NONCE, request.sender_nonce),
    ]
    if form.sender_nonce is not SenderNonce.MISSING:
        echoed = form.sender_nonce is SenderNonce.ECHOED
        attributes.append(asn1.attribute(asn1.SENDER_NONCE, request.sender_nonce if echoed else sender_nonce))
    if fail_info is not None:
        attributes.append(_number(asn1.FAIL_INFO, fail_info))
    if fail_text:
        attributes.append(asn1.attribute(form.fail_text_type, fail_text))
    if status is PkiStatus.FAILURE and form.hresult is not None:
        attributes.append(_string(asn1.HRESULT, str(form.hresult)))
    reply = cms.sign(
        content,
        certificate=certificate,
        key=key,
        attributes=attributes,
        algorithm=form.digest,
        certificates=None if form.with_signer else (),
    )
    return ber.to_indefinite(reply) if form.indefinite else reply


def read_reply(
    data: bytes,
    *,
    requester: Requester,
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
    if (theirs := _read_text(signed, asn1.TRANSACTION_ID)) != requester.transaction_id:
        raise MessageCheckFailed(
            f"The reply is for another transaction: {requester.transaction_id} was expected, {theirs!r:.200} came."
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
            _read_hresult(signed),
        )
    # absent, empty or one NUL are all met where there is nothing to say (quirk 12)
    if status == PkiStatus.PENDING or (status == PkiStatus.SUCCESS and signed.content in (b"", b"\0")):
        return Reply(PkiStatus.PENDING)
    if status != PkiStatus.SUCCESS:
        raise NotScep(f"pkiStatus 0, 2 or 3 was expected, {status} came.")
    content, _cipher = envelope.open_envelope(
        signed.content,
        certificate=requester.certificate,
        key=requester.key,
        allowed=allowed,
        passwords=(requester.challenge_password,) if requester.challenge_password else (),
    )
    try:
        certificates, crls = cms.contents_of(content)
    except NotScep as error:
        if envelope.is_noise(content):
            raise envelope.not_for_us() from error
        raise
    return Reply(PkiStatus.SUCCESS, certificates, crls)


def _string(oid: OID, characters: str) -> bytes:
    return asn1.attribute(oid, asn1.printable(characters))


def _number(oid: OID, number: int) -> bytes:
    """SCEP writes its numbers as decimal PrintableStrings."""
    return _string(oid, str(int(number)))


def _read_text(signed: cms.Signed, oid: OID) -> str | None:
    der = signed.attributes.get(oid)
    return None if der is None else asn1.text(der)


def _read_number(signed: cms.Signed, oid: OID) -> int | None:
    text = _read_text(signed, oid)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def _read_hresult(signed: cms.Signed) -> str:
    """NDES writes it as a signed decimal number in a PrintableString; people look for it in hexadecimal."""
    text = _read_text(signed, asn1.HRESULT) or ""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 10:
        return f"0x{int(text) & 0xFFFFFFFF:08X}"
    return text


def _read_octets(signed: cms.Signed, oid: OID) -> bytes | None:
    der = signed.attributes.get(oid)
    try:
        return None if der is None else asn1.decode(bytes, der)
    except ValueError:
        return None
