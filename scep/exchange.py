"""One enrollment or renewal without I/O, at last Issued, Pending or Failed (RFC 8894 sections 4.3 and 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from scep import asn1, messages, trust
from scep.conversation import Conversation, Failed, HttpReply, HttpRequest
from scep.errors import FailInfo, HttpStatusError, NotScep, RequestRefused
from scep.messages import MessageType, PkiStatus
from scep.profile import ServerPolicy, ServerProfile
from scep.transaction import RenewalForm, Transaction

__all__ = [
    "Exchange",
    "Failed",
    "HttpReply",
    "HttpRequest",
    "Issued",
    "Outcome",
    "Pending",
    "ServerPolicy",
    "ServerProfile",
    "Step",
]


class Step(StrEnum):
    """What is known of the request when the exchange starts."""

    REQUEST = "request"
    """The server has not seen it: PKCSReq or RenewalReq."""
    POLL = "poll"
    """The server answered PENDING: CertPoll."""
    INQUIRE = "inquire"
    """The server may have seen it: CertPoll, and the very same request where that finds nothing."""


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


Outcome = Issued | Pending | Failed


class Exchange(Conversation[Issued | Pending]):
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
        super().__init__(policy=policy, profile=profile)
        self._transaction = transaction
        self._requester = transaction.requester
        self._step = step
        self._now = now

    def _operation(self, profile: ServerProfile) -> HttpRequest:
        if self._step is Step.REQUEST:
            return self._request()
        issuer = trust.issuing_ca(profile.ca_certificates)
        subject = asn1.requested_subject_of(self._transaction.csr)
        content = messages.issuer_and_subject(issuer, subject)
        return self._message(MessageType.CERT_POLL, content, self._requester, self._received)

    def _request(self) -> HttpRequest:
        renewal = self._transaction.renewal_form is RenewalForm.RENEWAL_REQ
        message_type = MessageType.RENEWAL_REQ if renewal else MessageType.PKCS_REQ
        return self._message(message_type, self._transaction.csr, self._requester, self._received)

    def _received(self, reply: HttpReply) -> HttpRequest | Issued | Pending:
        try:
            return self._outcome(reply)
        except (RequestRefused, HttpStatusError, NotScep) as error:
            if self._step is not Step.INQUIRE:
                raise self._advised(error) from error
        # The server knows nothing of the transaction, or does not know CertPoll: so the very same request again.
        self._step = Step.REQUEST
        return self._request()

    def _advised(self, error: RequestRefused | HttpStatusError | NotScep) -> Exception:
        """With what may help where a renewal was refused (quirk 20)."""
        form = self._transaction.renewal_form
        if (
            form is None
            or not isinstance(error, RequestRefused)
            or error.fail_info is not FailInfo.BAD_REQUEST
        ):
            return error
        return error.with_remedy(
            f"The renewal was sent in the form {form}. Check whether the server takes that form and renews so early; "
            "the setting of this SCEP server chooses another one."
        )

    def _outcome(self, reply: HttpReply) -> Issued | Pending:
        profile = self._known()
        read = self._read_reply(reply, self._requester)
        if read.status is PkiStatus.PENDING:
            return Pending(profile)
        certificate = trust.own_certificate(
            read.certificates,
            public_key=self._transaction.key.public_key(),
            ca_certificates=profile.ca_certificates,
            now=self._now,
            old_certificate=self._transaction.old_certificate,
        )
        chain = tuple(other for other in read.certificates if other != certificate)
        return Issued(certificate, chain, profile)
