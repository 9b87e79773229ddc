"""The responder: what it answers, and each behavior as our client meets it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from scep import cms, envelope, messages
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.capabilities import Capabilities
from scep.csr import SignatureAlgorithm
from scep.errors import FailInfo, RequestRefused
from scep.exchange import Failed, Issued, Pending, Step
from scep.messages import MessageType, PkiStatus
from scep.registration import UNREADABLE
from scep.responder import Behavior, Responder
from scep.server import serving
from scep.transaction import Transaction
from tests.scep.enrolling import (
    CHALLENGE,
    NOW,
    ask,
    certificate_of,
    refusal,
    renamed,
    run,
    send,
    signed_request,
    signed_with_text_id,
    transaction,
    with_encrypted_key,
    wrongly_padded,
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


@pytest.fixture(scope="module")
def ra_authority() -> Authority:
    return Authority.create("RA Test CA", now=NOW, with_ra=True)


def outcomes(responder: Responder) -> list[str]:
    return [message.outcome for message in responder.messages]


# --- what it says of itself ------------------------------------------------------------------------------


def test_get_ca_caps_promises_what_it_can_do(authority: Authority) -> None:
    response = Responder(authority).handle("GET", {"operation": "GetCACaps"}, b"")
    read = Capabilities.read(response.body)
    assert read.keywords == {
        *("aes", "des3", "sha-256", "sha-512"),
        *("postpkioperation", "scepstandard", "renewal"),
    }
    assert (response.status, response.content_type) == (200, "text/plain")


def test_get_ca_cert_of_a_ca_alone_is_its_certificate(authority: Authority) -> None:
    response = Responder(authority).handle("GET", {"operation": "GetCACert", "message": ""}, b"")
    assert response.content_type == "application/x-x509-ca-cert"
    assert x509.load_der_x509_certificate(response.body) == authority.certificate


def test_get_ca_cert_with_an_ra_is_a_set(ra_authority: Authority) -> None:
    response = Responder(ra_authority).handle("GET", {"operation": "GetCACert"}, b"")
    assert response.content_type == "application/x-x509-ca-ra-cert"
    assert set(cms.certificates_in(response.body)) == {ra_authority.certificate, ra_authority.ra_certificate}
    assert ra_authority.ra_key.private_numbers() != ra_authority.key.private_numbers()


@pytest.mark.parametrize("operation", ["GetNextCACert", "getcacaps", ""])
def test_another_operation_is_an_http_error(authority: Authority, operation: str) -> None:
    assert Responder(authority).handle("GET", {"operation": operation}, b"").status == 400
    assert Responder(authority).handle("GET", {}, b"").status == 400


# --- issuing ---------------------------------------------------------------------------------------------


def test_it_issues_what_was_asked_for(authority: Authority) -> None:
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        outcome = run(url, transaction("10.1.2.3"))
    assert isinstance(outcome, Issued)
    alternatives = outcome.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]
    assert outcome.chain == (authority.certificate,)
    (logged,) = responder.messages
    assert (logged.message_type, logged.common_name, logged.outcome) == ("PKCSReq", "10.1.2.3", "issued")


def test_an_ra_speaks_for_the_ca(ra_authority: Authority) -> None:
    with serving(Responder(ra_authority)) as url:
        outcome = run(url, transaction())
    assert isinstance(outcome, Issued)
    outcome.certificate.verify_directly_issued_by(ra_authority.certificate)
    assert outcome.profile is not None
    assert len(outcome.profile.ca_certificates) == 2


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_r4_each_signature_algorithm_of_a_csr(authority: Authority, algorithm: SignatureAlgorithm) -> None:
    reply = ask(Responder(authority, challenge=CHALLENGE), transaction(algorithm=algorithm))
    assert reply.status is PkiStatus.SUCCESS


@pytest.mark.parametrize("cipher", ContentCipher)
def test_the_reply_has_the_requests_cipher_but_never_des(authority: Authority, cipher: ContentCipher) -> None:
    expected = ContentCipher.AES_128 if cipher is ContentCipher.DES else cipher
    reply = ask(Responder(authority), transaction(), cipher=cipher, allowed={expected})
    assert reply.status is PkiStatus.SUCCESS


def test_a_repeated_request_gets_the_same_certificate(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority)
    first, second = ask(responder, made), ask(responder, made)
    assert first.certificates == second.certificates
    assert outcomes(responder) == ["issued", "again"]


def test_the_same_key_in_another_transaction_is_another_request(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority)
    first, second = ask(responder, made), ask(responder, renamed(made, "another"))
    assert certificate_of(first, made).serial_number != certificate_of(second, made).serial_number
    assert outcomes(responder) == ["issued", "issued"]


# --- refusing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("challenge", ["wrong", "", CHALLENGE.upper(), CHALLENGE + " "])
def test_a_wrong_challenge_is_a_bad_request(authority: Authority, challenge: str) -> None:
    responder = Responder(authority, challenge=CHALLENGE)
    assert refusal(responder, transaction(challenge=challenge)) == (
        FailInfo.BAD_REQUEST,
        "the challenge password is wrong",
    )
    assert outcomes(responder) == ["failure 2"]


def test_a_refused_transaction_may_try_again(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority, behavior=Behavior(fail_info=2))
    refusal(responder, made)
    responder.behavior = Behavior()
    assert ask(responder, made).status is PkiStatus.SUCCESS
    assert outcomes(responder) == ["failure 2", "issued"]


def test_a_transaction_id_belongs_to_its_key(authority: Authority) -> None:
    mine, responder = transaction(), Responder(authority)
    theirs = renamed(transaction(), mine.transaction_id)
    ask(responder, mine)
    for message_type in (MessageType.PKCS_REQ, MessageType.CERT_POLL):
        assert refusal(responder, theirs, message_type) == (
            FailInfo.BAD_REQUEST,
            "this transactionID belongs to another key",
        )
    assert outcomes(responder) == ["issued", "failure 2", "failure 2"]


def test_a_poll_for_an_unknown_transaction_is_a_bad_cert_id(authority: Authority) -> None:
    responder = Responder(authority)
    made = transaction("10.1.2.3")
    assert refusal(responder, made, MessageType.CERT_POLL)[0] == FailInfo.BAD_CERT_ID
    (logged,) = responder.messages
    assert (logged.message_type, logged.common_name, logged.transaction_id) == (
        "CertPoll",
        "10.1.2.3",
        made.transaction_id,
    )


def test_a_renewal_needs_the_old_certificate(authority: Authority) -> None:
    fail_info, text = refusal(Responder(authority), transaction(), MessageType.RENEWAL_REQ)
    assert fail_info == FailInfo.BAD_REQUEST
    assert "signed with the certificate to be renewed" in text


def test_a_csr_for_another_key_than_the_signers(authority: Authority) -> None:
    fail_info, text = refusal(Responder(authority), transaction(), content=transaction().csr)
    assert fail_info == FailInfo.BAD_MESSAGE_CHECK
    assert "not signed with the key in the CSR" in text


def altered(made: Transaction) -> bytes:
    return made.csr[:-1] + bytes([made.csr[-1] ^ 1])


@pytest.mark.parametrize("change", [altered, lambda _made: b"no CSR", lambda _made: b""])
def test_a_csr_that_is_none(authority: Authority, change: object) -> None:
    assert callable(change)
    made, responder = transaction(), Responder(authority)
    fail_info, text = refusal(responder, made, content=change(made))
    assert fail_info == FailInfo.BAD_MESSAGE_CHECK
    assert text == UNREADABLE
    assert outcomes(responder) == ["failure 1"]


def test_a_csr_with_a_key_that_scep_cannot_use(authority: Authority) -> None:
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edwards")]))
        .sign(ed25519.Ed25519PrivateKey.generate(), None)
    )
    refused = refusal(Responder(authority), transaction(), content=csr.public_bytes(Encoding.DER))
    assert refused == (FailInfo.BAD_MESSAGE_CHECK, UNREADABLE)


def test_a_csr_with_a_malformed_subject_alt_name(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
        .add_extension(
            x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05\x82\x08abc"), False
        )
        .sign(made.key, hashes.SHA256())
    )
    fail_info, text = refusal(responder, made, content=csr.public_bytes(Encoding.DER))
    assert fail_info == FailInfo.BAD_REQUEST
    assert text.startswith("the CSR cannot be made a certificate")
    (logged,) = responder.messages
    assert (logged.common_name, logged.outcome) == ("odd", "failure 2")


def test_a_csr_without_wishes_is_enough(authority: Authority) -> None:
    made = transaction()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")]))
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode())
        .sign(made.key, hashes.SHA256())
    )
    reply = ask(Responder(authority, challenge=CHALLENGE), made, content=csr.public_bytes(Encoding.DER))
    certificate = certificate_of(reply, made)
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize("body", [b"", b"\x00" * 40, b"<html>", b"\x30\x80", b"\x30" * 4000])
def test_no_message_is_an_http_error(authority: Authority, body: bytes) -> None:
    responder = Responder(authority)
    assert responder.handle("POST", {"operation": "PKIOperation"}, body).status == 400
    assert responder.messages == []


def test_a_message_that_cannot_be_opened_reads_like_a_csr_that_is_none(
    authority: Authority, ra_authority: Authority
) -> None:
    """Whoever sends altered envelopes of others learns nothing about what is inside (RFC 3218)."""
    made, responder = transaction(), Responder(authority)
    requester, nonce = made.requester, b"n" * 16
    for_another = envelope.envelop(
        made.csr, recipient=ra_authority.ra_certificate, cipher=ContentCipher.AES_128
    )
    for_us = envelope.envelop(made.csr, recipient=authority.certificate, cipher=ContentCipher.AES_128)
    wrong_padding = for_us[:-1] + bytes([for_us[-1] ^ 1])
    wrong_content = envelope.envelop(b"noise", recipient=authority.certificate, cipher=ContentCipher.AES_128)
    told = set()
    wrong_rsa_padding = with_encrypted_key(for_us, wrongly_padded(authority.certificate))
    for content in (for_another, wrong_padding, wrong_content, wrong_rsa_padding):
        body = signed_request(content, requester, nonce)
        response = responder.handle("POST", {"operation": "PKIOperation"}, body)
        with pytest.raises(RequestRefused) as refused:
            messages.read_reply(
                response.body,
                requester=requester,
                signers=[authority.certificate],
                sender_nonce=nonce,
                allowed=frozenset(ContentCipher),
            )
        told.add((response.status, len(response.body), refused.value.fail_info, refused.value.server_words))
    assert told == {(200, len(response.body), FailInfo.BAD_MESSAGE_CHECK, UNREADABLE)}


def test_a_transaction_id_that_no_reply_can_repeat(authority: Authority) -> None:
    responder = Responder(authority)
    body = signed_with_text_id(transaction(), "prüfung", responder)
    response = responder.handle("POST", {"operation": "PKIOperation"}, body)
    assert (response.status, b"PrintableString" in response.body) == (400, True)
    body = signed_with_text_id(transaction(), "plain enough", responder)
    assert responder.handle("POST", {"operation": "PKIOperation"}, body).status == 200


# --- behaviors -------------------------------------------------------------------------------------------


def test_pending_n_times_then_issued_to_a_poll(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(pending=2))
    made = transaction()
    with serving(responder) as url:
        assert isinstance(run(url, made), Pending)
        assert isinstance(run(url, made, Step.POLL), Pending)
        assert isinstance(run(url, made, Step.POLL), Issued)
    assert outcomes(responder) == ["pending", "pending", "issued"]


def test_pending_is_counted_per_transaction(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(pending=1))
    first, second = transaction(), transaction()
    assert [ask(responder, made).status.name for made in (first, second, second, first)] == [
        "PENDING",
        "PENDING",
        "SUCCESS",
        "SUCCESS",
    ]


def test_pending_and_then_refused(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(pending=1, fail_info=FailInfo.BAD_REQUEST))
    made = transaction()
    with serving(responder) as url:
        assert isinstance(run(url, made), Pending)
        outcome = run(url, made, Step.POLL)
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (SCEP ERROR Fail Info 2)"
    assert outcomes(responder) == ["pending", "failure 2"]


@pytest.mark.parametrize("fail_info", FailInfo)
def test_r17_each_fail_info(authority: Authority, fail_info: FailInfo) -> None:
    with serving(Responder(authority, behavior=Behavior(fail_info=fail_info))) as url:
        outcome = run(url, transaction())
    assert isinstance(outcome, Failed)
    assert outcome.error.details == f"Communication Error (SCEP ERROR Fail Info {fail_info:d})"
    assert "as told" in str(outcome.error), "the server's own words"
    assert not outcome.error.worth_polling


@pytest.mark.parametrize(
    ("behavior", "details", "worth_polling"),
    [
        (Behavior(drop=True), "Communication Error (TOP ERROR)", True),
        (Behavior(html=True), "Communication Error (TOP ERROR 200)", False),
        (Behavior(empty=True), "Communication Error (TOP ERROR 200)", False),
        (Behavior(http_status=503), "Communication Error (TOP ERROR 503)", False),
        (Behavior(reply_for_somebody_else=True), "Communication Error (SCEP ERROR Fail Info 1)", False),
        (Behavior(sealed_for_somebody_else=True), "Communication Error (SCEP ERROR Fail Info 1)", False),
    ],
    ids=str,
)
def test_r11_r17_each_fault(
    authority: Authority, behavior: Behavior, details: str, worth_polling: bool
) -> None:
    with serving(Responder(authority, behavior=behavior)) as url:
        outcome = run(url, transaction())
    assert isinstance(outcome, Failed)
    assert (outcome.error.details, outcome.error.worth_polling) == (details, worth_polling)


def test_r11_a_slow_answer_is_a_failed_connection(authority: Authority) -> None:
    with serving(Responder(authority, behavior=Behavior(delay=3))) as url:
        outcome = run(url, transaction(), timeout=0.5)
    assert isinstance(outcome, Failed)
    assert (outcome.error.details, outcome.error.worth_polling) == ("Communication Error (TOP ERROR)", True)


@pytest.mark.parametrize(
    "behavior", [Behavior(drop=True), Behavior(html=True), Behavior(empty=True)], ids=str
)
def test_what_is_dropped_was_not_looked_at(authority: Authority, behavior: Behavior) -> None:
    responder = Responder(authority, behavior=behavior)
    send(responder, transaction())
    assert responder.messages == []


def test_a_lost_reply_is_inquired_about_and_nothing_is_issued_twice(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(drop_replies=1))
    made, sent = transaction(), list[str]()
    with serving(responder) as url:
        lost = run(url, made, sent=sent)
        outcome = run(url, made, Step.INQUIRE, sent=sent)
    assert isinstance(lost, Failed)
    assert isinstance(outcome, Issued)
    assert sent == ["PKCSReq", "CertPoll"]
    assert outcomes(responder) == ["issued", "again"]


def test_replies_are_lost_per_transaction_and_per_message(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(drop_replies=2))
    made, other = transaction(), transaction()
    assert [send(responder, each).drop for each in (made, other, made, made, other, other)] == [
        *(True, True, True),
        *(False, True, False),
    ]
    assert outcomes(responder) == ["issued", "issued", "again", "again", "again", "again"]


def test_a_request_that_never_arrived_is_repeated_after_the_inquiry(authority: Authority) -> None:
    responder, sent = Responder(authority), list[str]()
    with serving(responder) as url:
        outcome = run(url, transaction(), Step.INQUIRE, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == ["CertPoll", "PKCSReq"]
    assert outcomes(responder) == ["failure 4", "issued"]


def test_the_clock_is_given(authority: Authority) -> None:
    then = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    responder = Responder(authority, clock=lambda: then)
    made = transaction()
    certificate = certificate_of(ask(responder, made), made)
    assert certificate.not_valid_before_utc < then < certificate.not_valid_after_utc
    assert responder.messages[0].at == then
