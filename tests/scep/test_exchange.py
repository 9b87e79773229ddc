"""The exchange without any network: what it sends next, and what it makes of answers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, cms, messages
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.capabilities import Capabilities
from scep.csr import CertificateParameters, SignatureAlgorithm
from scep.errors import ConnectionFailed, ScepError
from scep.exchange import (
    Exchange,
    Failed,
    HttpReply,
    HttpRequest,
    Issued,
    Outcome,
    Pending,
    ServerPolicy,
    ServerProfile,
    Step,
)
from scep.messages import MessageType, PkiStatus, Request
from scep.responder import KEYWORDS, Responder
from scep.transaction import Transaction, new_transaction

NOW = datetime.now(UTC)
NONCE = b"n" * 16


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Exchange CA", now=NOW)


@pytest.fixture(scope="module")
def transaction() -> Transaction:
    return new_transaction(
        CertificateParameters("mfp.example.com", "Example", 2048, SignatureAlgorithm.SHA256, ""), now=NOW
    )


@pytest.fixture
def profile(authority: Authority) -> ServerProfile:
    return ServerProfile(Capabilities.of(KEYWORDS), (authority.certificate,))


Reply = Callable[[Request], bytes]


class Dialog:
    """An exchange with a server in this process; `replies` take the place of the CA's own, in order."""

    def __init__(self, authority: Authority, *replies: Reply | HttpReply) -> None:
        self.responder = Responder(authority)
        self.authority = authority
        self.replies = list(replies)
        self.sent: list[HttpRequest] = []

    def run(self, exchange: Exchange) -> Outcome:
        step = exchange.start()
        while isinstance(step, HttpRequest):
            self.sent.append(step)
            step = exchange.receive(self._reply(step))
        return step

    def _reply(self, sent: HttpRequest) -> HttpReply:
        if sent.message_type is None or not self.replies:
            body = sent.body or base64.b64decode(sent.params.get("message", ""))
            response = self.responder.handle(sent.method, sent.params, body)
            return HttpReply(response.status, response.body)
        reply = self.replies.pop(0)
        return reply if isinstance(reply, HttpReply) else HttpReply(200, reply(self.read(sent)))

    def read(self, sent: HttpRequest) -> Request:
        """A message as the CA sees it."""
        return messages.read_request(
            sent.body or b"",
            certificate=self.authority.certificate,
            key=self.authority.key,
            allowed=list(ContentCipher),
        )

    @property
    def operations(self) -> list[str]:
        return [sent.message_type or sent.operation for sent in self.sent]


def answer(authority: Authority, status: PkiStatus, **fields: object) -> Reply:
    """A CertRep with this status."""

    def reply(request: Request) -> bytes:
        return messages.build_reply(
            request,
            status,
            certificate=authority.certificate,
            key=authority.key,
            sender_nonce=NONCE,
            **fields,  # type: ignore[arg-type]
        )

    return reply


DEFAULT_POLICY = ServerPolicy()


def exchange(
    transaction: Transaction,
    step: Step = Step.REQUEST,
    *,
    profile: ServerProfile | None = None,
    policy: ServerPolicy = DEFAULT_POLICY,
) -> Exchange:
    return Exchange(transaction, step, now=NOW, policy=policy, profile=profile)


def error_of(outcome: Outcome) -> ScepError:
    assert isinstance(outcome, Failed)
    return outcome.error


class TestOrder:
    def test_capabilities_certificates_request(self, authority: Authority, transaction: Transaction) -> None:
        dialog = Dialog(authority)
        outcome = dialog.run(exchange(transaction))
        assert isinstance(outcome, Issued)
        assert dialog.operations == ["GetCACaps", "GetCACert", "PKCSReq"]
        assert outcome.chain == (authority.certificate,)

    def test_what_is_known_is_not_asked_again(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        dialog = Dialog(authority)
        outcome = dialog.run(exchange(transaction, profile=profile))
        assert isinstance(outcome, Issued)
        assert outcome.profile == profile
        assert dialog.operations == ["PKCSReq"]

    @pytest.mark.parametrize("identifier", ["", "office-ca"])
    def test_quirk_26_the_ca_identifier_goes_along(
        self, authority: Authority, transaction: Transaction, identifier: str
    ) -> None:
        dialog = Dialog(authority)
        dialog.run(exchange(transaction, policy=ServerPolicy(ca_identifier=identifier)))
        assert dialog.sent[1].params == {"operation": "GetCACert", "message": identifier}

    def test_quirk_28_a_pin_is_checked_before_anything_is_sent(
        self, authority: Authority, transaction: Transaction
    ) -> None:
        dialog = Dialog(authority)
        error = error_of(dialog.run(exchange(transaction, policy=ServerPolicy(ca_fingerprint="00" * 32))))
        assert error.details == "Communication Error (SCEP ERROR Fail Info 1)"
        assert dialog.operations == ["GetCACaps", "GetCACert"]
        pin = authority.certificate.fingerprint(hashes.SHA256()).hex()
        assert isinstance(dialog.run(exchange(transaction, policy=ServerPolicy(ca_fingerprint=pin))), Issued)

    def test_quirk_24_get_where_post_is_not_offered(
        self, authority: Authority, transaction: Transaction
    ) -> None:
        old = ServerProfile(Capabilities.of(["AES", "SHA-256"]), (authority.certificate,))
        dialog = Dialog(authority)
        assert isinstance(dialog.run(exchange(transaction, profile=old)), Issued)
        (sent,) = dialog.sent
        assert (sent.method, sent.body) == ("GET", None)
        base64.b64decode(sent.params["message"], validate=True)

    @pytest.mark.parametrize("status", [404, 414])
    def test_quirk_24_a_query_that_is_too_long_for_iis_is_said(
        self, authority: Authority, transaction: Transaction, status: int
    ) -> None:
        old = ServerProfile(Capabilities.of(["AES", "SHA-256"]), (authority.certificate,))
        dialog = Dialog(authority, HttpReply(status, b"<html>404.15</html>"))
        error = error_of(dialog.run(exchange(transaction, profile=old)))
        length = len(dialog.sent[0].params["message"])
        assert length > 2048, "a message of RSA-2048 is longer than that"
        assert f"a query of {length} characters" in str(error)
        assert "maxQueryString" in str(error)
        assert error.details == f"Communication Error (TOP ERROR {status})"

    def test_an_http_error_in_plain_text_is_told(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        for body, words in (
            (b"certificate  depot\nis locked\n", "certificate depot is locked"),
            (b"<html>Server Error</html>", ""),
            (b"\x30\x82\xff\xfe", ""),
        ):
            dialog = Dialog(authority, HttpReply(500, body))
            error = error_of(dialog.run(exchange(transaction, profile=profile)))
            assert error.server_words == words
            assert words in str(error)

    def test_quirk_04_no_capabilities_are_the_legacy_defaults(
        self, authority: Authority, transaction: Transaction
    ) -> None:
        legacy = exchange(transaction, policy=ServerPolicy(allow_sha1=True, allow_3des=True))
        legacy.start()
        legacy.receive(HttpReply(404, b"<html>"))
        body = authority.certificate.public_bytes(Encoding.DER)
        sent = legacy.receive(HttpReply(200, body))
        assert isinstance(sent, HttpRequest)
        assert sent.method == "GET"
        refused = exchange(transaction)
        refused.start()
        refused.receive(HttpReply(404, b""))
        outcome = refused.receive(HttpReply(200, body))
        assert isinstance(outcome, Failed)
        assert outcome.error.details.endswith("Fail Info 0)")

    def test_a_lost_connection(self, transaction: Transaction, profile: ServerProfile) -> None:
        lost = exchange(transaction, profile=profile)
        lost.start()
        error = ConnectionFailed("gone")
        assert lost.lost(error) == Failed(error, profile)


class TestSteps:
    def test_quirk_17_a_poll_names_the_ca_by_its_subject(
        self, transaction: Transaction, authority: Authority
    ) -> None:
        ra = Authority.create("RA Exchange CA", now=NOW, with_ra=True)
        known = ServerProfile(Capabilities.of(["SCEPStandard"]), (ra.ra_certificate, ra.certificate))
        sent = exchange(transaction, Step.POLL, profile=known).start()
        assert isinstance(sent, HttpRequest)
        request = messages.read_request(
            sent.body or b"", certificate=ra.ra_certificate, key=ra.ra_key, allowed=list(ContentCipher)
        )
        asked = asn1.decode(asn1.IssuerAndSubject, request.content)
        der = ra.certificate.public_bytes(Encoding.DER)
        assert asn1.encode(asked.issuer) == asn1.subject_of(der)
        assert request.message_type is MessageType.CERT_POLL

    @pytest.mark.parametrize(
        "reply",
        [HttpReply(500, b"not implemented"), HttpReply(200, b"<html>"), HttpReply(200, b"")],
        ids=["http error", "a page", "nothing"],
    )
    def test_an_inquiry_that_finds_nothing_repeats_the_request(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile, reply: HttpReply
    ) -> None:
        dialog = Dialog(authority, reply)
        outcome = dialog.run(exchange(transaction, Step.INQUIRE, profile=profile))
        assert isinstance(outcome, Issued)
        assert dialog.operations == ["CertPoll", "PKCSReq"]
        poll, request = [dialog.read(sent) for sent in dialog.sent]
        assert poll.transaction_id == request.transaction_id == transaction.transaction_id
        assert request.content == transaction.csr, "the very same"
        assert poll.sender_nonce != request.sender_nonce

    def test_quirk_16_the_transaction_id_stays_over_polls_and_restarts(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        dialog = Dialog(authority, answer(authority, PkiStatus.PENDING), HttpReply(500, b""))
        dialog.run(exchange(transaction, profile=profile))
        restored = Transaction.restore(**transaction.parts())
        dialog.run(exchange(restored, Step.INQUIRE, profile=profile))
        dialog.run(exchange(Transaction.restore(**restored.parts()), Step.POLL, profile=profile))
        assert dialog.operations == ["PKCSReq", "CertPoll", "PKCSReq", "CertPoll"]
        assert {dialog.read(sent).transaction_id for sent in dialog.sent} == {transaction.transaction_id}
        assert len({dialog.read(sent).sender_nonce for sent in dialog.sent}) == 4

    def test_the_repeated_request_is_not_repeated_again(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        dialog = Dialog(authority, *[HttpReply(500, b"")] * 9)
        outcome = dialog.run(exchange(transaction, Step.INQUIRE, profile=profile))
        assert error_of(outcome).details == "Communication Error (TOP ERROR 500)"
        assert dialog.operations == ["CertPoll", "PKCSReq"]

    def test_a_poll_that_is_refused_ends_it(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        dialog = Dialog(authority)
        outcome = dialog.run(exchange(transaction, Step.POLL, profile=profile))
        assert error_of(outcome).details == "Communication Error (SCEP ERROR Fail Info 4)"
        assert dialog.operations == ["CertPoll"]


class TestReplies:
    """What is signed by the CA and still not to be believed, or only half."""

    def outcome(
        self,
        authority: Authority,
        transaction: Transaction,
        profile: ServerProfile,
        reply: Reply,
        policy: ServerPolicy = DEFAULT_POLICY,
    ) -> Outcome:
        return Dialog(authority, reply).run(exchange(transaction, profile=profile, policy=policy))

    def test_pending(self, authority: Authority, transaction: Transaction, profile: ServerProfile) -> None:
        reply = answer(authority, PkiStatus.PENDING)
        assert self.outcome(authority, transaction, profile, reply) == Pending(profile)

    def test_quirk_14_success_without_a_payload_is_pending(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        reply = answer(authority, PkiStatus.SUCCESS)
        assert self.outcome(authority, transaction, profile, reply) == Pending(profile)

    def test_a_failure_without_a_reason_counts_as_bad_request(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        reply = answer(authority, PkiStatus.FAILURE)
        error = error_of(self.outcome(authority, transaction, profile, reply))
        assert error.details == "Communication Error (SCEP ERROR Fail Info 2)"

    def test_quirk_13_the_servers_own_words(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        reply = answer(authority, PkiStatus.FAILURE, fail_text="Senha incorreta: ação negada")
        error = error_of(self.outcome(authority, transaction, profile, reply))
        assert "Senha incorreta: ação negada" in str(error)

    def test_quirk_15_a_reply_to_another_message(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        def replayed(request: Request) -> bytes:
            return answer(authority, PkiStatus.PENDING)(replace(request, sender_nonce=b"x" * 16))

        error = error_of(self.outcome(authority, transaction, profile, replayed))
        assert "recipientNonce" in str(error)
        assert error.details == "Communication Error (SCEP ERROR Fail Info 1)"

    def test_a_reply_for_somebody_else(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        def strange(request: Request) -> bytes:
            return answer(authority, PkiStatus.PENDING)(replace(request, transaction_id="other"))

        error = error_of(self.outcome(authority, transaction, profile, strange))
        assert "another transaction" in str(error)

    def test_a_reply_that_somebody_else_signed(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        forger = Authority.create("Exchange CA", now=NOW)
        error = error_of(self.outcome(authority, transaction, profile, answer(forger, PkiStatus.PENDING)))
        assert error.details == "Communication Error (SCEP ERROR Fail Info 1)"

    def test_an_envelope_for_somebody_else(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        reply = answer(
            authority,
            PkiStatus.SUCCESS,
            payload=cms.degenerate([authority.certificate]),
            envelope_for=authority.certificate,
        )
        error = error_of(self.outcome(authority, transaction, profile, reply))
        assert "cannot be decrypted" in str(error)

    def test_a_certificate_for_another_key(
        self, authority: Authority, transaction: Transaction, profile: ServerProfile
    ) -> None:
        reply = answer(authority, PkiStatus.SUCCESS, payload=cms.degenerate([authority.certificate]))
        error = error_of(self.outcome(authority, transaction, profile, reply))
        assert error.details == "Communication Error (SCEP ERROR Fail Info 4)"

    @pytest.mark.parametrize(
        ("wanted", "permission"),
        [
            (ContentCipher.TRIPLE_DES, ServerPolicy(allow_3des=True)),
            (ContentCipher.DES, ServerPolicy(allow_des_replies=True)),
        ],
    )
    def test_quirk_07_old_ciphers_by_permission(
        self,
        authority: Authority,
        transaction: Transaction,
        profile: ServerProfile,
        wanted: ContentCipher,
        permission: ServerPolicy,
    ) -> None:
        certificate = authority.issue(x509.load_der_x509_csr(transaction.csr), now=NOW)
        reply = answer(
            authority,
            PkiStatus.SUCCESS,
            payload=cms.degenerate([certificate]),
            form=messages.ReplyForm(cipher=wanted),
        )
        error = error_of(self.outcome(authority, transaction, profile, reply))
        assert error.details == "Communication Error (SCEP ERROR Fail Info 0)"
        allowed = self.outcome(authority, transaction, profile, reply, permission)
        assert isinstance(allowed, Issued)
