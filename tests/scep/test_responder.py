"""The responder: what it answers, and each behavior as our client meets it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509

from scep import cms
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.capabilities import Capabilities
from scep.csr import SignatureAlgorithm
from scep.errors import FailInfo
from scep.exchange import Failed, Issued, Pending, Step
from scep.messages import PkiStatus
from scep.responder import Behavior, Responder
from scep.server import serving
from tests.scep.enrolling import (
    CHALLENGE,
    NOW,
    ask,
    certificate_of,
    renamed,
    run,
    send,
    transaction,
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
    with serving(Responder(authority, behavior=Behavior(delay=30))) as url:
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
