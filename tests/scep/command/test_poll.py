"""poll: an enrollment goes on after PENDING, a kill at any point, and Ctrl-C; nothing is asked for twice."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from scep import keys
from scep.authority import Authority
from scep.behavior import Behavior
from scep.command import files
from scep.command.outcome import FileProblem
from scep.command.state import Enrollment, Folder, Progress
from scep.responder import Responder
from scep.server import serving
from tests.peers.process import free_port, wait_until
from tests.scep.command.running import check_issued, looked_through, names, scep, started, state_of
from tests.scep.enrolling import CHALLENGE

NAME = ("--common-name", "mfp.example.com")
SLOW = Behavior(delay=600)
"""The message is handled, and the answer does not come."""


def asked(responder: Responder) -> list[tuple[str, str]]:
    """What came, and what came of it."""
    return [(message.message_type, message.outcome) for message in responder.messages]


def key_in(state: dict[str, dict[str, str]]) -> str:
    """The SHA-256 of the public key that the state's private key belongs to."""
    key = keys.load(base64.b64decode(state["transaction"]["private_key"]))
    return keys.fingerprint(key.public_key())


@contextlib.contextmanager
def silent() -> Iterator[tuple[int, socket.socket]]:
    """A server that takes connections and never answers; its port, on which another may listen after it."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        listening.settimeout(120)
        yield listening.getsockname()[1], listening


def reached(responder: Responder, count: int = 1) -> None:
    """Return when so many messages have come."""
    wait_until(lambda: len(responder.messages) >= count, timeout=120, what="a message at the responder")


# --- PENDING ----------------------------------------------------------------------------------------------


def test_pending_waits_in_the_folder_and_is_polled(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=2)
    members = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "--json").json
    assert (members["exit_code"], members["status"], members["unfinished"]) == (3, "pending", str(out))
    assert names(out) == ["enrollment.json"]
    before = state_of(out)
    assert before["progress"] == "pending"
    ended = scep("poll", out)
    assert ended.code == 3
    assert f"python -m scep poll {out}" in ended.err
    members = scep("poll", out, "--json").json
    assert members["status"] == "issued"
    check_issued(out)
    assert asked(responder) == [("PKCSReq", "pending"), ("CertPoll", "pending"), ("CertPoll", "issued")]
    certificate = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    assert keys.fingerprint(certificate.public_key()) == key_in(before)  # type: ignore[arg-type]
    assert {message.transaction_id for message in responder.messages} == {members["transaction_id"]}
    ended = scep("poll", out)
    assert (ended.code, "The enrollment has ended" in ended.err) == (9, True)


def test_r11_enroll_polls_by_itself(url: str, responder: Responder, challenge: Path, out: Path) -> None:
    responder.behavior = Behavior(pending=2)
    words = ("--challenge-file", challenge, "--out", out, "--poll-count", "2", "--poll-interval", "0.01")
    ended = scep("enroll", url, *NAME, *words, "-v")
    assert ended.code == 0
    assert "Asking again in 0.01 s; 2 times left." in ended.err
    # the server's certificates are not asked for again
    assert ended.err.count("GetCACert ...") == 1
    check_issued(out)


def test_a_request_that_is_rejected_later_keeps_its_key(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1, fail_info=2)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 3
    ended = scep("poll", out)
    assert ended.code == 4
    assert f"To give it up: rm {out}/enrollment.json" in ended.err
    assert state_of(out)["progress"] == "pending"


def test_a_second_enrollment_does_not_push_the_first_aside(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    words = ("enroll", url, *NAME, "--challenge-file", challenge, "--out", out)
    assert scep(*words).code == 3
    before = state_of(out)
    ended = scep(*words)
    assert (ended.code, "is under way" in ended.err) == (9, True)
    assert state_of(out) == before
    assert len(responder.messages) == 1


# --- killed -----------------------------------------------------------------------------------------------


def test_killed_before_anything_was_sent(authority: Authority, challenge: Path, out: Path) -> None:
    responder = Responder(authority, challenge=CHALLENGE)
    with silent() as (port, listening):
        words = (
            "enroll",
            f"http://127.0.0.1:{port}/scep",
            *NAME,
            "--challenge-file",
            challenge,
            "--out",
            out,
        )
        with started(*words) as process:
            connection, _ = listening.accept()
            before = state_of(out)
            process.kill()
            connection.close()
    assert before["progress"] == "prepared"
    assert names(out) == ["enrollment.json"]
    with serving(responder, port):
        assert scep("poll", out).code == 0
    check_issued(out)
    assert asked(responder) == [("PKCSReq", "issued")], "the server had certainly not seen it"
    assert responder.messages[0].transaction_id == before["transaction"]["transaction_id"]


def test_killed_between_sending_and_recording(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = SLOW
    with started("enroll", url, *NAME, "--challenge-file", challenge, "--out", out) as process:
        reached(responder)
        process.kill()
    before = state_of(out)
    assert before["progress"] == "sent"
    responder.behavior = Behavior()
    assert scep("poll", out).code == 0
    check_issued(out)
    assert asked(responder) == [("PKCSReq", "issued"), ("CertPoll", "again")]
    assert len(list(responder.store.issued())) == 1
    certificate = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    assert keys.fingerprint(certificate.public_key()) == key_in(before)  # type: ignore[arg-type]


def test_what_never_arrived_is_sent_again_after_the_inquiry(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(drop=True)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 5
    before = state_of(out)
    assert before["progress"] == "sent"
    responder.behavior = Behavior()
    assert scep("poll", out).code == 0
    assert [kind for kind, _ in asked(responder)] == ["CertPoll", "PKCSReq"]
    assert len(list(responder.store.issued())) == 1
    entry = responder.store.find(before["transaction"]["transaction_id"])
    assert entry is not None
    assert entry.csr == base64.b64decode(before["transaction"]["csr"]), "the very same request"


def test_killed_while_the_files_are_written(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    """What is written already is found as it should be, and the server is not needed any more."""
    responder.behavior = Behavior(pending=1)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 3
    kept = (out / "enrollment.json").read_bytes()
    assert scep("poll", out).code == 0
    certificate = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    authorities = tuple(x509.load_pem_x509_certificates((out / "ca.pem").read_bytes()))
    for name in ("certificate.pem", "chain.pem"):
        (out / name).unlink()
    enrollment = replace(
        Enrollment.from_json(kept),
        progress=Progress.ISSUED,
        issued=(certificate,),
        ca_certificates=authorities,
    )
    (out / "enrollment.json").write_bytes(enrollment.to_json())
    asked_before = asked(responder)
    assert scep("poll", out).code == 0
    check_issued(out)
    assert asked(responder) == asked_before


# --- Ctrl-C -----------------------------------------------------------------------------------------------


def test_ctrl_c_before_anything_was_sent_leaves_nothing(challenge: Path, out: Path) -> None:
    with silent() as (port, listening):
        words = (
            "enroll",
            f"http://127.0.0.1:{port}/scep",
            *NAME,
            "--challenge-file",
            challenge,
            "--out",
            out,
        )
        with started(*words) as process:
            connection, _ = listening.accept()
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=120)
            connection.close()
    assert (process.returncode, said) == (130, ("", ""))
    assert not out.exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_says_only_how_to_go_on(
    url: str, responder: Responder, challenge: Path, out: Path, as_json: bool
) -> None:
    responder.behavior = SLOW
    words = ("--challenge-file", challenge, "--out", out, "--json" if as_json else "--aes-256")
    with started("enroll", url, *NAME, *words) as process:
        reached(responder)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    looked_through(said + errors)
    assert process.returncode == 130
    if as_json:
        members = json.loads(said)
        assert (members["exit_code"], members["unfinished"], errors) == (130, str(out), "")
        assert members["error"]["kind"] == "interrupted"
    else:
        assert said == ""
        go_on, give_up = f"python -m scep poll {out}", f"rm {out}/enrollment.json"
        assert errors == f"The enrollment is kept. To go on with it: {go_on}. To give it up: {give_up}\n"
    responder.behavior = Behavior()
    assert scep("poll", out).code == 0


def test_ctrl_c_while_it_waits_for_the_next_poll(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    words = ("--challenge-file", challenge, "--out", out, "--poll-count", "1", "--poll-interval", "600", "-v")
    with started("enroll", url, *NAME, *words) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Asking again"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert state_of(out)["progress"] == "pending"


# --- the folder -------------------------------------------------------------------------------------------


def test_two_processes_do_not_work_in_one_folder(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    words = ("enroll", url, *NAME, "--challenge-file", challenge, "--out", out)
    assert scep(*words).code == 3
    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for command in (("poll", out), (*words, "--force")):
        ended = scep(*command)
        assert (ended.code, "Another process is working in" in ended.err) == (9, True)
    os.close(descriptor)
    assert scep("poll", out).code == 0


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"format": 2}',
        b'{"format": 1, "transaction": {}, "policy": {}}',
        b'{"format": 1, "transaction": 3, "policy": 4}',
    ],
)
def test_a_damaged_state_is_an_error_that_says_so(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "enrollment.json"
    path.write_bytes(damage)
    ended = scep("poll", tmp_path)
    assert (ended.code, f"{path} cannot be read" in ended.err) == (9, True)
    assert path.read_bytes() == damage


def test_every_member_of_the_state_is_needed_and_restored(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    words = ("--challenge-file", challenge, "--out", out, "--timeout", "7", "--allow-3des")
    assert scep("enroll", url, *NAME, *words, "--key-type", "p256").code == 3
    stored = (out / "enrollment.json").read_bytes()
    enrollment = Enrollment.from_json(stored)
    assert enrollment.to_json() == stored
    assert (enrollment.server.timeout, enrollment.policy.allow_3des) == (7, True)
    for secret in (CHALLENGE, enrollment.server.url):
        assert secret not in repr(enrollment)
    for name in json.loads(stored):
        members = json.loads(stored)
        del members[name]
        with pytest.raises(ValueError, match="is missing"):
            Enrollment.from_json(json.dumps(members).encode())


def test_a_key_of_a_kind_that_nobody_knows(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 3
    state = state_of(out)
    stored = base64.b64decode(state["transaction"]["private_key"])
    rsa_encryption = bytes.fromhex("2a864886f70d010101")
    assert rsa_encryption in stored
    altered = stored.replace(rsa_encryption, rsa_encryption[:-1] + b"\x7f")
    state["transaction"]["private_key"] = base64.b64encode(altered).decode()
    (out / "enrollment.json").write_text(json.dumps(state))
    ended = scep("poll", out)
    assert (ended.code, "cannot be read" in ended.err) == (9, True)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        ended = scep("poll", place)
        assert (ended.code, ended.out, str(place) in ended.err) == (9, "", True)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    with pytest.raises(FileProblem, match="Cannot write"):
        files.write(folder, b"x", overwrite=True)
    assert names(tmp_path) == ["target"]
    with Folder(tmp_path, create=True) as opened, pytest.raises(FileProblem, match="was expected"):
        opened.load()


def test_nobody_sees_the_state_half_written(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    """Whoever looks while it is written finds it whole, or not at all."""
    responder.behavior = Behavior(pending=1_000_000)
    words = (
        "--challenge-file",
        challenge,
        "--out",
        out,
        "--poll-count",
        "10000",
        "--poll-interval",
        "0.01",
    )
    seen = Counter[str]()

    def look() -> None:
        with contextlib.suppress(FileNotFoundError):
            seen[json.loads((out / "enrollment.json").read_text())["progress"]] += 1

    with started("enroll", url, *NAME, *words) as process:
        # so often on any machine, whoever of the two has to wait for the other
        while len(responder.messages) < 20 or seen["pending"] < 100:
            assert process.poll() is None
            look()
            time.sleep(0.001)
        process.kill()
        process.wait()
    look()
    assert set(seen) <= set(Progress)
