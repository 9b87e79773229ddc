"""One enrollment without I/O: the next HTTP request out, its reply in, at last Issued, Pending or Failed.

    exchange = Exchange(transaction, Step.REQUEST, now=now, policy=policy)
    next = exchange.start()
    while isinstance(next, HttpRequest):
        next = exchange.receive(...)      # or exchange.lost(ConnectionFailed(...))

`scep.client` does that over HTTP.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep import cms, messages, trust
from scep.algorithms import ContentCipher
from scep.capabilities import Capabilities
from scep.csr import Transaction
from scep.errors import ConnectionFailed, HttpStatusError, NotScep, RequestRefused, ScepError
from scep.messages import MessageType, PkiStatus

CONTENT_TYPE = "application/x-pki-message"


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """What the administrator decided about a server."""

    ca_identifier: str = ""
    """Sent as `message` with GetCACert, empty or not (quirk 26)."""
    ca_fingerprint: str = ""
    """SHA-256 of the CA certificate in hexadecimal, colons and spaces allowed; empty: any (quirk 28)."""
    allow_sha1: bool = False
    allow_3des: bool = False
    allow_des_replies: bool = False


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What a server said of itself, for reuse: GetCACaps, and GetCACert in the server's order."""

    capabilities: Capabilities
    ca_certificates: tuple[x509.Certificate, ...]

    def to_json(self) -> dict[str, list[str]]:
        """As JSON holds it."""
        encoded = [certificate.public_bytes(Encoding.DER) for certificate in self.ca_certificates]
        return {
            "capabilities": sorted(self.capabilities.keywords),
            "ca_certificates": [base64.b64encode(der).decode() for der in encoded],
        }

    @classmethod
    def from_json(cls, stored: object) -> ServerProfile:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        if not isinstance(stored, Mapping):
            raise ValueError("a stored profile is an object")
        try:
            certificates = tuple(
                x509.load_der_x509_certificate(base64.b64decode(text)) for text in stored["ca_certificates"]
            )
            return cls(Capabilities.of(stored["capabilities"]), certificates)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a stored profile: {error}") from error


class Step(StrEnum):
    """What is known of the request when the exchange starts."""

    REQUEST = "request"
    """The server has not seen it: PKCSReq."""
    POLL = "poll"
    """The server answered PENDING: CertPoll."""
    INQUIRE = "inquire"
    """The server may have seen it: CertPoll, and the very same PKCSReq where that finds nothing."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to send. `message_type` is the RFC's name of the pkiMessage, None for GetCACaps and GetCACert."""

    operation: str
    method: str
    params: dict[str, str]
    body: bytes | None = None
    content_type: str | None = None
    message_type: str | None = None


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back. The content type is not believed (quirk 3)."""

    status: int
    body: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """The certificate for the transaction's key, checked, and the others that came along."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    profile: ServerProfile | None


@dataclass(frozen=True, slots=True)
class Pending:
    """The server wants to be polled."""

    profile: ServerProfile | None


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended in an error; `profile` is what was learned of the server before."""

    error: ScepError
    profile: ServerProfile | None


Outcome = Issued | Pending | Failed

_REPLY_CIPHERS = frozenset({ContentCipher.AES_128, ContentCipher.AES_192, ContentCipher.AES_256})


class Exchange:
    """Carries one transaction one step further. Used once; knows no clock: `now` is aware and given."""

    def __init__(
        self,
        transaction: Transaction,
        step: Step,
        *,
        now: datetime,
        policy: ServerPolicy,
        profile: ServerProfile | None = None,
    ) -> None:
        self._transaction = transaction
        self._step = step
        self._now = now
        self._policy = policy
        self._profile = profile
        self._capabilities = Capabilities()
        self._receive: Callable[[HttpReply], HttpRequest | Outcome] = self._unasked
        self._sender_nonce = b""

    def start(self) -> HttpRequest | Outcome:
        """The first request; Failed when the server's profile permits none."""
        return self._guarded(self._first)

    def receive(self, reply: HttpReply) -> HttpRequest | Outcome:
        """The next request after this reply, or what all came to. Never raises a ScepError."""
        return self._guarded(lambda: self._receive(reply))

    def lost(self, error: ConnectionFailed) -> Outcome:
        """No reply came."""
        return Failed(error, self._profile)

    def _guarded(self, move: Callable[[], HttpRequest | Outcome]) -> HttpRequest | Outcome:
        try:
            return move()
        except ScepError as error:
            return Failed(error, self._profile)

    def _unasked(self, _reply: HttpReply) -> HttpRequest | Outcome:
        raise AssertionError("receive comes after start")

    def _first(self) -> HttpRequest | Outcome:
        if self._profile is not None:
            return self._operation()
        self._receive = self._received_capabilities
        return self._get("GetCACaps")

    def _received_capabilities(self, reply: HttpReply) -> HttpRequest | Outcome:
        # a server that knows no GetCACaps answers with an error or a page: legacy defaults (quirk 4)
        self._capabilities = Capabilities.read(reply.body) if reply.status == 200 else Capabilities()
        self._receive = self._received_ca_certificates
        return self._get("GetCACert")

    def _received_ca_certificates(self, reply: HttpReply) -> HttpRequest | Outcome:
        certificates = cms.certificates_in(_body_of(reply))
        if not certificates:
            raise NotScep("GetCACert should return the CA's certificates; its answer holds none.")
        if self._policy.ca_fingerprint:
            certificates = trust.pinned(certificates, self._policy.ca_fingerprint)
        self._profile = ServerProfile(self._capabilities, certificates)
        return self._operation()

    def _get(self, operation: str) -> HttpRequest:
        params = {"operation": operation, "message": self._policy.ca_identifier}
        return HttpRequest(operation=operation, method="GET", params=params)

    def _known(self) -> ServerProfile:
        if self._profile is None:
            raise AssertionError("GetCACert comes before any PKIOperation")
        return self._profile

    def _operation(self) -> HttpRequest:
        if self._step is Step.REQUEST:
            return self._message(MessageType.PKCS_REQ)
        return self._message(MessageType.CERT_POLL)

    def _message(self, message_type: MessageType) -> HttpRequest:
        profile = self._known()
        content = self._transaction.csr
        if message_type is MessageType.CERT_POLL:
            issuer = trust.issuing_ca(profile.ca_certificates)
            content = messages.issuer_and_subject(issuer, self._transaction.signer)
        self._sender_nonce = os.urandom(messages.NONCE_LENGTH)
        body = messages.build_request(
            message_type,
            content,
            transaction=self._transaction,
            recipient=trust.encryption_certificate(profile.ca_certificates),
            sender_nonce=self._sender_nonce,
            cipher=profile.capabilities.cipher(allow_3des=self._policy.allow_3des),
            digest=profile.capabilities.digest(allow_sha1=self._policy.allow_sha1),
        )
        self._receive = self._received_message
        params = {"operation": "PKIOperation"}
        if not profile.capabilities.post:
            # standard base64; whoever sends it percent-encodes + / and = (quirk 24)
            params["message"] = base64.b64encode(body).decode()
            return HttpRequest("PKIOperation", "GET", params, message_type=message_type.label)
        return HttpRequest("PKIOperation", "POST", params, body, CONTENT_TYPE, message_type.label)

    def _received_message(self, reply: HttpReply) -> HttpRequest | Outcome:
        try:
            return self._outcome(_body_of(reply))
        except (RequestRefused, HttpStatusError, NotScep):
            if self._step is not Step.INQUIRE:
                raise
        # The server knows nothing of the transaction, or does not know CertPoll: so the very same request again.
        self._step = Step.REQUEST
        return self._message(MessageType.PKCS_REQ)

    def _outcome(self, body: bytes) -> Outcome:
        profile = self._known()
        allowed = set(_REPLY_CIPHERS)
        if self._policy.allow_3des:
            allowed.add(ContentCipher.TRIPLE_DES)
        if self._policy.allow_des_replies:
            allowed.add(ContentCipher.DES)
        reply = messages.read_reply(
            body,
            transaction=self._transaction,
            signers=profile.ca_certificates,
            sender_nonce=self._sender_nonce,
            allowed=allowed,
        )
        if reply.status is PkiStatus.PENDING:
            return Pending(profile)
        certificate = trust.own_certificate(
            reply.certificates,
            public_key=self._transaction.key.public_key(),
            ca_certificates=profile.ca_certificates,
            now=self._now,
        )
        chain = tuple(other for other in reply.certificates if other != certificate)
        return Issued(certificate, chain, profile)


def _body_of(reply: HttpReply) -> bytes:
    """The body of a 200 that has one. Raises HttpStatusError and NotScep (quirk 25)."""
    if reply.status != 200:
        raise HttpStatusError(reply.status)
    if not reply.body:
        raise NotScep(
            "The SCEP server answered with HTTP status 200 and an empty body where a SCEP message was expected. "
            "Check its log."
        )
    return reply.body
