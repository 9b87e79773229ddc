"""What all operations share: the server's profile first, then the operation, with no I/O.

    conversation = ...
    step = conversation.start()
    while isinstance(step, HttpRequest):
        step = conversation.receive(...)      # or conversation.lost(ConnectionFailed(...))

`scep.client` does that over HTTP. The last step is the operation's result or Failed; no ScepError is ever raised.
"""

from __future__ import annotations

import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from scep import cms, messages, trust
from scep.capabilities import Capabilities
from scep.errors import HttpStatusError, NotScep, ScepError
from scep.messages import MessageType, Reply
from scep.profile import ServerPolicy, ServerProfile
from scep.transaction import Requester

__all__ = ["Conversation", "Failed", "HttpReply", "HttpRequest"]

CONTENT_TYPE = "application/x-pki-message"

IIS_LONGEST_QUERY = 2048
"""Characters of a query string that IIS takes unless told otherwise (quirk 24)."""

_MOST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to send. `message_type` is the RFC's name of the pkiMessage, None for the other operations."""

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
class Failed:
    """It ended in an error; `profile` is what was learned of the server before."""

    error: ScepError
    profile: ServerProfile | None


Result = TypeVar("Result")


class Conversation(ABC, Generic[Result]):
    """Carries one operation to its `Result`. Used once; knows no clock."""

    def __init__(self, *, policy: ServerPolicy, profile: ServerProfile | None = None) -> None:
        self._policy = policy
        self._profile = profile
        self._capabilities = Capabilities()
        self._receive: Callable[[HttpReply], HttpRequest | Result] = self._unasked
        self._sender_nonce = b""
        self._query_length = 0

    def start(self) -> HttpRequest | Result | Failed:
        """The first request; Failed when the server's profile permits none."""
        return self._guarded(self._first)

    def receive(self, reply: HttpReply) -> HttpRequest | Result | Failed:
        """The next request after this reply, or what all came to."""
        return self._guarded(lambda: self._receive(reply))

    def lost(self, error: ScepError) -> Failed:
        """No reply came that could be handed in."""
        return Failed(error, self._profile)

    @abstractmethod
    def _operation(self, profile: ServerProfile) -> HttpRequest | Result:
        """What comes after the profile. Raises ScepError."""

    def _guarded(self, move: Callable[[], HttpRequest | Result]) -> HttpRequest | Result | Failed:
        try:
            return move()
        except ScepError as error:
            return Failed(error, self._profile)

    def _unasked(self, _reply: HttpReply) -> HttpRequest | Result:
        raise AssertionError("receive comes after start")

    def _first(self) -> HttpRequest | Result:
        if self._profile is not None:
            return self._operation(self._profile)
        return self._get("GetCACaps", self._received_capabilities)

    def _received_capabilities(self, reply: HttpReply) -> HttpRequest | Result:
        # a server that knows no GetCACaps answers with an error or a page: legacy defaults (quirk 4)
        self._capabilities = Capabilities.read(reply.body) if reply.status == 200 else Capabilities()
        return self._get("GetCACert", self._received_ca_certificates)

    def _received_ca_certificates(self, reply: HttpReply) -> HttpRequest | Result:
        certificates = cms.certificates_in(body_of(reply))
        if not certificates:
            raise NotScep("GetCACert should return the CA's certificates; its answer holds none.")
        if self._policy.ca_fingerprint:
            certificates = trust.pinned(certificates, self._policy.ca_fingerprint)
        self._profile = ServerProfile(self._capabilities, certificates)
        return self._operation(self._profile)

    def _get(self, operation: str, receive: Callable[[HttpReply], HttpRequest | Result]) -> HttpRequest:
        self._receive = receive
        params = {"operation": operation, "message": self._policy.ca_identifier}
        return HttpRequest(operation=operation, method="GET", params=params)

    def _known(self) -> ServerProfile:
        if self._profile is None:
            raise AssertionError("GetCACert comes before any PKIOperation")
        return self._profile

    def _message(
        self,
        message_type: MessageType,
        content: bytes,
        requester: Requester,
        receive: Callable[[HttpReply], HttpRequest | Result],
    ) -> HttpRequest:
        """A pkiMessage with a new nonce. Raises UnsupportedAlgorithm where the policy permits none."""
        profile, policy = self._known(), self._policy
        self._receive = receive
        self._sender_nonce = os.urandom(messages.NONCE_LENGTH)
        body = messages.build_request(
            message_type,
            content,
            requester=requester,
            recipient=trust.encryption_certificate(profile.ca_certificates),
            sender_nonce=self._sender_nonce,
            cipher=profile.capabilities.cipher(
                allow_3des=policy.allow_3des, prefer_aes_256=policy.prefer_aes_256
            ),
            digest=profile.capabilities.digest(allow_sha1=policy.allow_sha1),
        )
        params = {"operation": "PKIOperation"}
        if profile.capabilities.post:
            return HttpRequest("PKIOperation", "POST", params, body, CONTENT_TYPE, message_type.label)
        # standard base64; whoever sends it percent-encodes + / and = (quirk 24)
        params["message"] = base64.b64encode(body).decode()
        self._query_length = len(params["message"])
        return HttpRequest("PKIOperation", "GET", params, message_type=message_type.label)

    def _read_reply(self, reply: HttpReply, requester: Requester) -> Reply:
        """The verified CertRep. Raises ScepError."""
        return messages.read_reply(
            body_of(reply, query_length=self._query_length),
            requester=requester,
            signers=self._known().ca_certificates,
            sender_nonce=self._sender_nonce,
            allowed=self._policy.reply_ciphers,
        )


def body_of(reply: HttpReply, *, query_length: int = 0) -> bytes:
    """The body of a 200 that has one. Raises HttpStatusError and NotScep (quirk 25)."""
    if reply.status != 200:
        raise _status_error(reply, query_length)
    if not reply.body:
        raise NotScep(
            "The SCEP server answered with HTTP status 200 and an empty body where a SCEP message was expected. "
            "Check its log."
        )
    return reply.body


def _status_error(reply: HttpReply, query_length: int) -> HttpStatusError:
    explanation = ""
    if query_length > IIS_LONGEST_QUERY and reply.status in (400, 404, 414):
        explanation = (
            f"The SCEP server answered with HTTP status {reply.status} where 200 was expected. It offers no "
            f"POSTPKIOperation, so the message was a query of {query_length} characters; IIS takes "
            f"{IIS_LONGEST_QUERY} unless maxQueryString is raised. Raise it, or let the server offer POST."
        )
    elif reply.status == 407:
        explanation = (
            "The HTTP proxy wants a user name and a password (HTTP status 407). Put them into its URL."
        )
    said = reply.body[:_MOST_TEXT].decode("utf-8", errors="replace")
    plain = "\ufffd" not in said and "<" not in said
    return HttpStatusError(reply.status, explanation, server_words=said if plain else "")
