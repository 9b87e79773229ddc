"""What the responder remembers: over restarts, under several threads, and never the challenge password."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep.authority import Authority
from scep.errors import RequestRefused
from scep.exchange import Issued, Outcome, Pending, Step
from scep.messages import MessageType, PkiStatus
from scep.responder import Behavior, Responder
from scep.server import serving
from scep.store import DirectoryStore
from scep.transaction import Transaction
from tests.scep.enrolling import CHALLENGE, NOW, ask, certificate_of, refusal, renamed, run, transaction


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


def issued(directory: Path) -> list[x509.Certificate]:
    paths = (directory / "issued").iterdir()
    return [x509.load_pem_x509_certificate(path.read_bytes()) for path in paths]


def log_lines(directory: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (directory / "messages.jsonl").read_text().splitlines()]


def all_at_once(work: Callable[[], object], count: int) -> None:
    """Run it in so many threads, and raise what one of them raised."""
    errors: list[BaseException] = []
    ready = threading.Barrier(count)

    def guarded() -> None:
        try:
            ready.wait(300)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    if errors:
        raise errors[0]


def test_a_restart_forgets_no_transaction(tmp_path: Path) -> None:
    made = transaction()
    first = Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    with serving(Responder(first, store=DirectoryStore(tmp_path), behavior=Behavior(pending=1))) as url:
        assert isinstance(run(url, made), Pending)
    second = Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    with serving(Responder(second, store=DirectoryStore(tmp_path))) as url:
        polled = run(url, made, Step.POLL)
    with serving(Responder(second, store=DirectoryStore(tmp_path))) as url:
        again = run(url, made, Step.INQUIRE)
    assert isinstance(polled, Issued)
    assert isinstance(again, Issued)
    assert polled.certificate == again.certificate
    assert issued(tmp_path) == [polled.certificate]
    assert [line["outcome"] for line in log_lines(tmp_path)] == ["pending", "issued", "again"]


def test_the_count_of_pendings_goes_on_after_a_restart(authority: Authority, tmp_path: Path) -> None:
    made, statuses = transaction(), []
    for _ in range(4):
        responder = Responder(authority, store=DirectoryStore(tmp_path), behavior=Behavior(pending=3))
        statuses.append(ask(responder, made).status)
    assert statuses == [PkiStatus.PENDING] * 3 + [PkiStatus.SUCCESS]


def test_a_transaction_belongs_to_its_key_after_a_restart(authority: Authority, tmp_path: Path) -> None:
    made = transaction()
    ask(Responder(authority, store=DirectoryStore(tmp_path)), made)
    restarted = Responder(authority, store=DirectoryStore(tmp_path))
    assert refusal(restarted, renamed(transaction(), made.transaction_id))[0] == 2


@pytest.mark.parametrize(
    "names",
    [
        ("x" * 300 + "1", "x" * 300 + "2"),
        ("../../escape", "/etc/escape"),
        ("abc", "ABC"),
        ("qEfrcuNs61+LsPO/sG1aBMsXpR0=", "."),
    ],
    ids=["long", "paths", "case", "base64"],
)
def test_any_transaction_id_is_kept_apart_from_any_other(
    authority: Authority, tmp_path: Path, names: tuple[str, str]
) -> None:
    directory = tmp_path / "deep" / "ca"
    mine = [renamed(transaction(), name) for name in names]
    responder = Responder(authority, store=DirectoryStore(directory))
    before = [certificate_of(ask(responder, made), made) for made in mine]
    restarted = Responder(authority, store=DirectoryStore(directory))
    after = [certificate_of(ask(restarted, made, MessageType.CERT_POLL), made) for made in mine]
    assert before == after
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert len(list((directory / "transactions").iterdir())) == 2


def test_what_a_kill_left_out_is_made_up_for(authority: Authority, tmp_path: Path) -> None:
    made = transaction()
    certificate = certificate_of(ask(Responder(authority, store=DirectoryStore(tmp_path)), made), made)
    (left_out,) = (tmp_path / "issued").iterdir()
    left_out.unlink()
    (tmp_path / "transactions" / "half.new").write_bytes(b'{"transaction_id": "ha')
    DirectoryStore(tmp_path)
    assert issued(tmp_path) == [certificate]


def test_the_challenge_password_stays_in_files_that_nobody_else_reads(
    authority: Authority, tmp_path: Path
) -> None:
    store = DirectoryStore(tmp_path)
    responder = Responder(authority, store=store, challenge=CHALLENGE)
    made, wrong = transaction(), transaction(challenge="not-the-secret")
    ask(responder, made)
    refusal(responder, wrong)
    for path in (tmp_path / "transactions").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "transactions").glob("*.new")] == []
    said = (tmp_path / "messages.jsonl").read_text() + repr(responder.messages)
    said += repr(store.find(made.transaction_id))
    assert CHALLENGE not in said
    assert "not-the-secret" not in said


def test_a_line_of_the_log(authority: Authority, tmp_path: Path) -> None:
    made = transaction("10.1.2.3")
    responder = Responder(authority, store=DirectoryStore(tmp_path), clock=lambda: NOW)
    ask(responder, made)
    assert log_lines(tmp_path) == [
        {
            "at": NOW.isoformat(),
            "message_type": "PKCSReq",
            "transaction_id": made.transaction_id,
            # a client of ours names its transactions by this very hash
            "public_key_sha256": made.transaction_id,
            "common_name": "10.1.2.3",
            "outcome": "issued",
        }
    ]


def test_many_at_once_get_different_serial_numbers(authority: Authority, tmp_path: Path) -> None:
    responder = Responder(authority, store=DirectoryStore(tmp_path))
    outcomes: list[Outcome] = []
    with serving(responder) as url:
        all_at_once(lambda: outcomes.append(run(url, transaction(), timeout=300)), 12)
    certificates = [outcome.certificate for outcome in outcomes if isinstance(outcome, Issued)]
    assert len({certificate.serial_number for certificate in certificates}) == 12
    assert set(issued(tmp_path)) == set(certificates)
    assert len(log_lines(tmp_path)) == len(responder.messages) == 12


def test_the_same_request_many_times_at_once_is_issued_once(authority: Authority, tmp_path: Path) -> None:
    responder, made = Responder(authority, store=DirectoryStore(tmp_path)), transaction()
    found: list[x509.Certificate] = []
    all_at_once(lambda: found.append(certificate_of(ask(responder, made), made)), 8)
    assert len(found) == 8
    assert set(found) == set(issued(tmp_path))
    assert len(set(found)) == 1
    assert sorted(message.outcome for message in responder.messages) == ["again"] * 7 + ["issued"]


def test_two_keys_at_once_for_one_transaction_id(authority: Authority) -> None:
    responder = Responder(authority)
    rivals = [renamed(transaction(), "contested") for _ in range(2)]
    waiting: list[Transaction] = list(rivals)

    def try_it() -> None:
        with contextlib.suppress(RequestRefused):
            ask(responder, waiting.pop())

    all_at_once(try_it, 2)
    assert sorted(message.outcome for message in responder.messages) == ["failure 2", "issued"]


def test_a_restart_forgets_no_revocation(tmp_path: Path, authority: Authority) -> None:
    responder = Responder(authority, store=DirectoryStore(tmp_path), clock=lambda: NOW)
    made, kept = transaction(), transaction()
    revoked = certificate_of(ask(responder, made), made)
    ask(responder, kept)
    responder.revoke(revoked.serial_number)
    responder.revoke(revoked.serial_number)
    again = DirectoryStore(tmp_path)
    assert again.revoked() == {revoked.serial_number: NOW}
    assert again.certificate(revoked.serial_number) == revoked.public_bytes(Encoding.DER)
    assert len(list(again.issued())) == 2
