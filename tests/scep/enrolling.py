"""What the tests of the CA's side share: transactions, messages of any kind, and whole enrollments."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scep import asn1, cms, envelope, messages
from scep.algorithms import ContentCipher
from scep.client import ScepClient
from scep.conversation import Conversation, Failed, HttpRequest
from scep.csr import CertificateParameters, KeyType, SignatureAlgorithm
from scep.errors import RequestRefused, ScepError
from scep.exchange import Exchange, Issued, Outcome, ServerPolicy, ServerProfile, Step
from scep.messages import MessageType, Reply
from scep.responder import Responder, Response
from scep.transaction import RenewalForm, Requester, Transaction, new_renewal, new_transaction

Result = TypeVar("Result")
CHALLENGE = "opensesame-8894"
NOW = datetime.now(UTC)
PATIENCE = 60.0
"""Seconds until a server that should answer is given up: reached in failure only, whatever the load."""


def transaction(
    common_name: str = "mfp.example.com",
    challenge: str = CHALLENGE,
    algorithm: SignatureAlgorithm = SignatureAlgorithm.SHA256,
) -> Transaction:
    """A new one, with a new key of 2048 bits."""
    return new_transaction(CertificateParameters(common_name, "Example", 2048, algorithm, challenge), now=NOW)


def renamed(made: Transaction, transaction_id: str) -> Transaction:
    """The same key and CSR under another transaction ID."""
    return replace(made, transaction_id=transaction_id)


def run(
    url: str,
    made: Transaction,
    step: Step = Step.REQUEST,
    *,
    sent: list[str] | None = None,
    policy: ServerPolicy | None = None,
    profile: ServerProfile | None = None,
    timeout: float = PATIENCE,
) -> Outcome:
    """One exchange with the server at `url`; `sent` collects the types of the messages that went out."""

    def note(request: HttpRequest) -> None:
        if sent is not None:
            sent.append(str(request.message_type))

    exchange = Exchange(made, step, now=datetime.now(UTC), policy=policy or ServerPolicy(), profile=profile)
    return ScepClient(url, timeout=timeout).run(exchange, before_send=note)


def send(
    responder: Responder,
    made: Transaction,
    message_type: MessageType = MessageType.PKCS_REQ,
    *,
    content: bytes | None = None,
    cipher: ContentCipher = ContentCipher.AES_128,
    sender_nonce: bytes = b"",
) -> Response:
    """Hand the responder one message, without HTTP; `content` is what belongs there unless given."""
    if content is None:
        content = made.csr
        if message_type is MessageType.CERT_POLL:
            subject = asn1.requested_subject_of(made.csr)
            content = messages.issuer_and_subject(responder.authority.certificate, subject)
    body = messages.build_request(
        message_type,
        content,
        requester=made.requester,
        recipient=responder.authority.recipient[0],
        sender_nonce=sender_nonce or os.urandom(messages.NONCE_LENGTH),
        cipher=cipher,
        digest=SignatureAlgorithm.SHA256,
    )
    return responder.handle("POST", {"operation": "PKIOperation"}, body)


def ask(
    responder: Responder,
    made: Transaction,
    message_type: MessageType = MessageType.PKCS_REQ,
    *,
    content: bytes | None = None,
    cipher: ContentCipher = ContentCipher.AES_128,
    allowed: Collection[ContentCipher] = frozenset(ContentCipher),
) -> Reply:
    """The verified reply to one message. Raises RequestRefused for a FAILURE."""
    sender_nonce = os.urandom(messages.NONCE_LENGTH)
    response = send(responder, made, message_type, content=content, cipher=cipher, sender_nonce=sender_nonce)
    assert (response.status, response.content_type) == (200, "application/x-pki-message"), response
    return messages.read_reply(
        response.body,
        requester=made.requester,
        signers=[responder.authority.ra_certificate],
        sender_nonce=sender_nonce,
        allowed=allowed,
    )


def certificate_of(reply: Reply, made: Transaction) -> x509.Certificate:
    """The requester's own certificate; the CA's comes along, in any order."""
    (own,) = [each for each in reply.certificates if each.public_key() == made.key.public_key()]
    return own


def refusal(
    responder: Responder,
    made: Transaction,
    message_type: MessageType = MessageType.PKCS_REQ,
    *,
    content: bytes | None = None,
) -> tuple[int, str]:
    """failInfo and failInfoText of the FAILURE that this message ends in."""
    try:
        reply = ask(responder, made, message_type, content=content)
    except RequestRefused as error:
        return int(error.fail_info), error.server_words
    raise AssertionError(f"a FAILURE was expected, {reply.status.name} came")


def signed_with_text_id(made: Transaction, transaction_id: str, responder: Responder) -> bytes:
    """A PKCSReq whose transactionID is a UTF8String, as no client should send it."""
    content = envelope.envelop(
        made.csr, recipient=responder.authority.ra_certificate, cipher=ContentCipher.AES_128
    )
    text = asn1.attribute(asn1.TRANSACTION_ID, transaction_id)
    return signed_request(content, made.requester, os.urandom(messages.NONCE_LENGTH), text)


def signed_request(
    content: bytes, requester: Requester, nonce: bytes, transaction_id: bytes | None = None
) -> bytes:
    """A PKCSReq around an envelope, whatever that is."""
    usual = asn1.attribute(asn1.TRANSACTION_ID, asn1.printable(requester.transaction_id))
    return cms.sign(
        content,
        certificate=requester.certificate,
        key=requester.key,
        attributes=[
            asn1.attribute(asn1.MESSAGE_TYPE, asn1.printable("19")),
            transaction_id or usual,
            asn1.attribute(asn1.SENDER_NONCE, nonce),
        ],
        algorithm=SignatureAlgorithm.SHA256,
    )


def with_encrypted_key(envelope_der: bytes, encrypted_key: bytes) -> bytes:
    """An EnvelopedData with another encrypted content key for its one recipient."""
    content_info = asn1.decode(asn1.ContentInfo, envelope_der)
    enveloped = asn1.decode(asn1.EnvelopedData, asn1.encode(content_info.content))
    (recipient,) = asn1.inside(asn1.KeyTransRecipient, asn1.encode(enveloped.recipients))
    changed = asn1.KeyTransRecipient(
        version=recipient.version,
        rid=recipient.rid,
        key_encryption_algorithm=recipient.key_encryption_algorithm,
        encrypted_key=encrypted_key,
    )
    recipients = asn1.tlv(asn1.set_of([asn1.encode(changed)]))
    altered = asn1.EnvelopedData(version=0, recipients=recipients, content=enveloped.content)
    return asn1.encode(asn1.ContentInfo(content_type=asn1.ENVELOPED_DATA, content=asn1.tlv(altered)))


def with_wrong_padding(envelope_der: bytes) -> bytes:
    """An envelope whose content ends in no padding, never a sound one by chance; of two blocks of 16 octets or more.

    In CBC (NIST SP 800-38A) a bit of one block is the same bit of the plain text after it: the padding's length gets
    64 more than any block has.
    """
    return envelope_der[:-17] + bytes([envelope_der[-17] ^ 0x40]) + envelope_der[-16:]


def wrongly_padded(certificate: x509.Certificate) -> bytes:
    """What an RSA key decrypts to no PKCS #1 v1.5 padding."""
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    numbers = key.public_numbers()
    return pow(3, numbers.e, numbers.n).to_bytes(key.key_size // 8, "big")


def enrolled(url: str, made: Transaction, **options: object) -> x509.Certificate:
    """The certificate that the server at `url` issues at once."""
    outcome = run(url, made, **options)  # type: ignore[arg-type]
    assert isinstance(outcome, Issued), outcome
    return outcome.certificate


def renewal(
    old_certificate: x509.Certificate,
    old: Transaction,
    form: RenewalForm,
    *,
    common_name: str = "mfp.example.com",
    challenge: str | None = None,
    key_type: KeyType = KeyType.RSA,
) -> Transaction:
    """A new key for the subject of `old`, of which `old_certificate` came; with a challenge where it needs one."""
    if challenge is None:
        needed = form is RenewalForm.PKCS_REQ_WITH_CHALLENGE or key_type is not KeyType.RSA
        challenge = CHALLENGE if needed else ""
    parameters = CertificateParameters(
        common_name, "Example", 2048, SignatureAlgorithm.SHA256, challenge, key_type
    )
    return new_renewal(parameters, form=form, old_certificate=old_certificate, old_key=old.key, now=NOW)


def carry(
    url: str,
    conversation: Conversation[Result],
    *,
    timeout: float = PATIENCE,
) -> Result | Failed:
    """Any operation with the server at `url`."""
    return ScepClient(url, timeout=timeout).run(conversation)


def error_of(outcome: object) -> ScepError:
    """The error that it ended in."""
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def failed(url: str, conversation: Conversation[Result]) -> ScepError:
    """The error that an operation with the server at `url` ends in."""
    outcome = carry(url, conversation)
    return error_of(outcome)
