"""The responder: each behavior as our client meets it, and real clients enrolling at it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep.authority import Authority
from scep.client import ScepClient
from scep.csr import CertificateParameters, SignatureAlgorithm, Transaction, new_transaction
from scep.errors import FailInfo
from scep.exchange import Exchange, Failed, HttpRequest, Issued, Outcome, Pending, ServerPolicy, Step
from scep.responder import Behavior, Responder
from scep.server import serving
from scep.store import DirectoryStore

CHALLENGE = "opensesame-8894"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


def transaction(common_name: str = "mfp.example.com", challenge: str = CHALLENGE) -> Transaction:
    return new_transaction(
        CertificateParameters(common_name, "Example", 2048, SignatureAlgorithm.SHA256, challenge), now=NOW
    )


def run(url: str, made: Transaction, step: Step = Step.REQUEST, *, sent: list[str] | None = None) -> Outcome:
    """One exchange with the server at `url`; `sent` collects the types of the messages that went out."""

    def note(request: HttpRequest) -> None:
        if sent is not None:
            sent.append(str(request.message_type))

    exchange = Exchange(made, step, now=datetime.now(UTC), policy=ServerPolicy())
    return ScepClient(url, timeout=5).run(exchange, before_send=note)


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
    assert CHALLENGE not in repr(responder.messages)


def test_an_ra_speaks_for_the_ca(authority: Authority) -> None:
    with serving(Responder(Authority.create("RA Test CA", now=NOW, with_ra=True))) as url:
        outcome = run(url, transaction())
    assert isinstance(outcome, Issued)
    assert outcome.profile is not None
    assert len(outcome.profile.ca_certificates) == 2


def test_pending_n_times_then_issued_to_a_poll(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(pending=2))
    made = transaction()
    with serving(responder) as url:
        assert isinstance(run(url, made), Pending)
        assert isinstance(run(url, made, Step.POLL), Pending)
        assert isinstance(run(url, made, Step.POLL), Issued)
    assert [message.outcome for message in responder.messages] == ["pending", "pending", "issued"]


@pytest.mark.parametrize("fail_info", FailInfo)
def test_r17_each_fail_info(authority: Authority, fail_info: FailInfo) -> None:
    with serving(Responder(authority, behavior=Behavior(fail_info=fail_info))) as url:
        outcome = run(url, transaction())
    assert isinstance(outcome, Failed)
    assert outcome.error.details == f"Communication Error (SCEP ERROR Fail Info {fail_info:d})"
    assert "as told" in str(outcome.error), "the server's own words"
    assert not outcome.error.worth_polling


def test_a_wrong_challenge_is_a_bad_request(authority: Authority) -> None:
    with serving(Responder(authority, challenge=CHALLENGE)) as url:
        outcome = run(url, transaction(challenge="wrong"))
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (SCEP ERROR Fail Info 2)"


@pytest.mark.parametrize(
    ("behavior", "details", "worth_polling"),
    [
        (Behavior(drop=True), "Communication Error (TOP ERROR)", True),
        (Behavior(html=True), "Communication Error (TOP ERROR 200)", False),
        (Behavior(empty=True), "Communication Error (TOP ERROR 200)", False),
        (Behavior(http_status=503), "Communication Error (TOP ERROR 503)", False),
        (Behavior(reply_for_somebody_else=True), "Communication Error (SCEP ERROR Fail Info 1)", False),
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


def test_a_lost_reply_is_inquired_about_and_nothing_is_issued_twice(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(drop_replies=1))
    made, sent = transaction(), list[str]()
    with serving(responder) as url:
        lost = run(url, made, sent=sent)
        outcome = run(url, made, Step.INQUIRE, sent=sent)
    assert isinstance(lost, Failed)
    assert isinstance(outcome, Issued)
    assert sent == ["PKCSReq", "CertPoll"]
    assert [message.outcome for message in responder.messages] == ["issued", "again"]


def test_a_request_that_never_arrived_is_repeated_after_the_inquiry(authority: Authority) -> None:
    responder, sent = Responder(authority), list[str]()
    with serving(responder) as url:
        outcome = run(url, transaction(), Step.INQUIRE, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == ["CertPoll", "PKCSReq"]
    assert [message.outcome for message in responder.messages] == ["failure 4", "issued"]


def test_a_repeated_request_gets_the_same_certificate(authority: Authority) -> None:
    made = transaction()
    with serving(Responder(authority)) as url:
        first, second = run(url, made), run(url, made)
    assert isinstance(first, Issued)
    assert isinstance(second, Issued)
    assert first.certificate == second.certificate


def test_a_transaction_id_belongs_to_its_key(authority: Authority) -> None:
    mine, other = transaction(), transaction()
    stolen = Transaction(mine.transaction_id, other.key, other.csr, other.signer)
    with serving(Responder(authority)) as url:
        run(url, mine)
        outcome = run(url, stolen)
    assert isinstance(outcome, Failed)
    assert "belongs to another key" in str(outcome.error)


def test_a_restart_forgets_no_transaction(tmp_path: Path) -> None:
    made = transaction()
    first = Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    with serving(Responder(first, store=DirectoryStore(tmp_path), behavior=Behavior(pending=1))) as url:
        assert isinstance(run(url, made), Pending)
    second = Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    assert second.certificate == first.certificate
    with serving(Responder(second, store=DirectoryStore(tmp_path))) as url:
        issued = run(url, made, Step.POLL)
    with serving(Responder(second, store=DirectoryStore(tmp_path))) as url:
        again = run(url, made, Step.POLL)
    assert isinstance(issued, Issued)
    assert isinstance(again, Issued)
    assert issued.certificate == again.certificate
    assert len(list((tmp_path / "issued").glob("*.pem"))) == 1
    for secret in [tmp_path / "ca.key", *(tmp_path / "transactions").iterdir()]:
        assert secret.stat().st_mode & 0o077 == 0, secret
    assert CHALLENGE not in (tmp_path / "messages.jsonl").read_text()


def test_many_at_once_get_different_serial_numbers(authority: Authority) -> None:
    responder = Responder(authority)
    outcomes: list[Outcome] = []
    with serving(responder) as url:
        threads = [
            threading.Thread(target=lambda: outcomes.append(run(url, transaction()))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    issued = [outcome.certificate for outcome in outcomes if isinstance(outcome, Issued)]
    assert len({certificate.serial_number for certificate in issued}) == 12


def test_the_real_scepclient_enrolls(authority: Authority, tmp_path: Path) -> None:
    program = shutil.which("scepclient")
    assert program, "the tests need Debian's package scep"
    files = ("-private-key", "key.pem", "-certificate", "cert.pem")
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        subprocess.run(
            [program, "-server-url", url, "-challenge", CHALLENGE, "-cn", "real client", *files],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=60,
        )
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.pem", "cert.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert verified.stdout == "cert.pem: OK\n"
    assert [message.outcome for message in responder.messages] == ["issued"]
