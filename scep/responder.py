"""The same messages from the CA's side: the demo's CA, and a double for faults that a real one will not show.

It heeds transaction IDs (RFC 8894 section 3.2.1.1): a PKCSReq that comes again gets the same certificate, never
a second one. No I/O beyond its store; `scep.server` listens.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID

from scep import asn1, messages
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.errors import FailInfo, ScepError
from scep.messages import MessageType, PkiStatus, Request
from scep.store import Entry, Logged, MemoryStore, Store

CAPABILITIES = b"AES\nPOSTPKIOperation\nSCEPStandard\nSHA-256\nSHA-512\n"
MESSAGE_TYPE = "application/x-pki-message"

# micromdm's scepclient sends DES whatever the server offers
_CIPHERS = frozenset(ContentCipher)


@dataclass(frozen=True, slots=True)
class Behavior:
    """How the responder (mis)behaves towards pkiMessages; by default it does not."""

    pending: int = 0
    """Answer PENDING so many times per transaction before the certificate is issued."""
    fail_info: int | None = None
    """Refuse with this failInfo (0 to 4), after the PENDING answers if there are any, what is not issued yet."""
    delay: float = 0
    """Seconds before each answer to a message."""
    drop: bool = False
    """Close the connection without having looked at the message."""
    drop_replies: int = 0
    """Handle the first so many messages of each transaction, and close the connection without an answer."""
    html: bool = False
    """Answer everything with a web page."""
    empty: bool = False
    """Answer messages with HTTP 200 and nothing."""
    http_status: int | None = None
    """Answer messages with this HTTP status."""
    reply_for_somebody_else: bool = False
    """Sign an answer to another transaction."""
    sealed_for_somebody_else: bool = False
    """Envelop what was issued for another key than the requester's."""


@dataclass(frozen=True, slots=True)
class Response:
    """What to send back after `delay` seconds; with `drop`, close the connection instead."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    delay: float = 0
    drop: bool = False


class Responder:
    """A CA that answers SCEP. Safe to use from several threads; `behavior` may be replaced at any time."""

    def __init__(
        self,
        authority: Authority,
        *,
        store: Store | None = None,
        challenge: str | None = None,
        behavior: Behavior | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.authority = authority
        self.store: Store = store or MemoryStore()
        self.behavior = behavior or Behavior()
        self._challenge = challenge
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    @property
    def messages(self) -> list[Logged]:
        """Every pkiMessage since the store was opened, oldest first."""
        return self.store.messages()

    def handle(self, method: str, query: Mapping[str, str], body: bytes) -> Response:
        """The answer to one HTTP request; for a GET of PKIOperation `body` is the decoded message."""
        behavior = self.behavior
        if behavior.html:
            page = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
            return Response(body=page, content_type="text/html", delay=behavior.delay)
        match query.get("operation"):
            case "GetCACaps":
                return Response(body=CAPABILITIES)
            case "GetCACert":
                return Response(body=self.authority.ca_certificates(), content_type=self.authority.media_type)
            case "PKIOperation":
                return replace(self._operation(body, behavior), delay=behavior.delay)
        return Response(400, b"GetCACaps, GetCACert or PKIOperation was expected as operation\n")

    def _operation(self, body: bytes, behavior: Behavior) -> Response:
        if behavior.drop:
            return Response(drop=True)
        if behavior.empty:
            return Response(content_type=MESSAGE_TYPE)
        if behavior.http_status is not None:
            return Response(behavior.http_status, b"as told\n")
        authority = self.authority
        try:
            request = messages.read_request(
                body, certificate=authority.ra_certificate, key=authority.ra_key, allowed=_CIPHERS
            )
        except ScepError as error:
            return Response(400, f"{error}\n".encode())
        if not asn1.is_printable(request.transaction_id):
            # a reply has to repeat it, and could not (RFC 8894 section 3.2.1.1)
            return Response(400, b"transactionID should be a PrintableString\n")
        with self._lock:
            reply, dropped = self._answer(request, behavior)
        return Response(drop=True) if dropped else Response(body=reply, content_type=MESSAGE_TYPE)

    def _answer(self, request: Request, behavior: Behavior) -> tuple[bytes, bool]:
        """The reply, and whether it gets lost on its way."""
        entry = self.store.find(request.transaction_id)
        try:
            entry, outcome = self._decide(entry, request, behavior)
            reply = self._reply_about(entry, request, behavior)
        except _RefusedError as refusal:
            outcome = f"failure {refusal.fail_info:d}"
            reply = self._reply(
                request, PkiStatus.FAILURE, fail_info=refusal.fail_info, fail_text=refusal.text
            )
        name = _common_name(_asked_for(entry, request))
        key = _fingerprint(request.signer)
        self.store.log(
            Logged(self._clock(), request.message_type.label, request.transaction_id, key, name, outcome)
        )
        self._seen[request.transaction_id] += 1
        return reply, self._seen[request.transaction_id] <= behavior.drop_replies

    def _decide(self, entry: Entry | None, request: Request, behavior: Behavior) -> tuple[Entry, str]:
        """What is known of the transaction now, and what that is called in the log. Raises _RefusedError."""
        if request.message_type is MessageType.RENEWAL_REQ:
            raise _RefusedError(FailInfo.BAD_REQUEST, "GetCACaps does not offer Renewal: send a PKCSReq")
        if entry is not None and entry.public_key_sha256 != _fingerprint(request.signer):
            raise _RefusedError(FailInfo.BAD_REQUEST, "this transactionID belongs to another key")
        if request.message_type is MessageType.CERT_POLL:
            if entry is None:
                raise _RefusedError(FailInfo.BAD_CERT_ID, "no such transaction")
        elif entry is None:
            entry = Entry(
                transaction_id=request.transaction_id,
                public_key_sha256=_fingerprint(request.signer),
                csr=self._checked(request),
                pending_left=behavior.pending,
            )
        if entry.certificate is not None:
            return entry, "again"
        if entry.pending_left > 0:
            entry = replace(entry, pending_left=entry.pending_left - 1)
            self.store.save(entry)
            return entry, "pending"
        if behavior.fail_info is not None:
            raise _RefusedError(FailInfo(behavior.fail_info), "as told")
        certificate = self._issue(entry)
        entry = replace(entry, certificate=certificate.public_bytes(Encoding.DER))
        self.store.save(entry)
        return entry, "issued"

    def _issue(self, entry: Entry) -> x509.Certificate:
        """The certificate that was asked for. Raises _RefusedError where the CSR's wishes make no sense."""
        try:
            return self.authority.issue(x509.load_der_x509_csr(entry.csr), now=self._clock())
        except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise _RefusedError(
                FailInfo.BAD_REQUEST, f"the CSR cannot be made a certificate: {error}"
            ) from error

    def _checked(self, request: Request) -> bytes:
        """The CSR of a PKCSReq, once it may be granted. Raises _RefusedError."""
        try:
            csr = x509.load_der_x509_csr(request.content)
            key = _verified_key(csr)
            challenge = _challenge_password(csr)
        except ValueError as error:
            raise _RefusedError(FailInfo.BAD_MESSAGE_CHECK, f"the CSR cannot be read: {error}") from error
        except UnsupportedAlgorithm as error:
            raise _RefusedError(FailInfo.BAD_ALG, f"the CSR cannot be verified: {error}") from error
        if key != request.signer.public_key():
            raise _RefusedError(
                FailInfo.BAD_MESSAGE_CHECK, "the message is not signed with the key in the CSR"
            )
        if self._challenge is not None and not hmac.compare_digest(challenge, self._challenge.encode()):
            raise _RefusedError(FailInfo.BAD_REQUEST, "the challenge password is wrong")
        return request.content

    def _reply_about(self, entry: Entry, request: Request, behavior: Behavior) -> bytes:
        if behavior.reply_for_somebody_else:
            request = replace(request, transaction_id=hashlib.sha256(b"somebody else").hexdigest())
        if entry.certificate is None:
            return self._reply(request, PkiStatus.PENDING)
        issued = (x509.load_der_x509_certificate(entry.certificate), self.authority.certificate)
        # the CA's own certificate is at hand, and nobody but the CA can open what is sealed for it
        recipient = self.authority.certificate if behavior.sealed_for_somebody_else else request.signer
        return self._reply(request, PkiStatus.SUCCESS, issued=issued, recipient=recipient)

    def _reply(
        self,
        request: Request,
        status: PkiStatus,
        *,
        issued: tuple[x509.Certificate, ...] = (),
        recipient: x509.Certificate | None = None,
        fail_info: FailInfo | None = None,
        fail_text: str = "",
    ) -> bytes:
        return messages.build_reply(
            request,
            status,
            certificate=self.authority.ra_certificate,
            key=self.authority.ra_key,
            sender_nonce=os.urandom(messages.NONCE_LENGTH),
            issued=issued,
            envelope_for=recipient,
            fail_info=fail_info,
            fail_text=fail_text,
        )


class _RefusedError(Exception):
    def __init__(self, fail_info: FailInfo, text: str) -> None:
        super().__init__(text)
        self.fail_info = fail_info
        self.text = text


def _verified_key(csr: x509.CertificateSigningRequest) -> RSAPublicKey:
    """The key that signed `csr`, which is the key in it. Raises ValueError and UnsupportedAlgorithm.

    By hand, because `is_signature_valid` is False for every SHA-1, which R4 still offers.
    """
    key, digest = csr.public_key(), csr.signature_hash_algorithm
    scheme = csr.signature_algorithm_parameters
    if not isinstance(key, RSAPublicKey) or isinstance(scheme, ec.ECDSA) or digest is None or scheme is None:
        raise ValueError("it is not signed with RSA")
    try:
        key.verify(csr.signature, csr.tbs_certrequest_bytes, scheme, digest)
    except InvalidSignature as error:
        raise ValueError("its signature is wrong") from error
    return key


def _challenge_password(csr: x509.CertificateSigningRequest) -> bytes:
    try:
        return csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value
    except x509.AttributeNotFound:
        return b""


def _fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def _asked_for(entry: Entry | None, request: Request) -> x509.Name:
    """The CSR's subject; the message's signer where there is no CSR that can be read."""
    try:
        return x509.load_der_x509_csr(entry.csr if entry else request.content).subject
    except ValueError:
        return request.signer.subject


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""
