"""The responder over HTTP, and `python -m scep serve` as a process."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509

from scep import server as server_module
from scep.authority import Authority
from scep.ber import MAX_SIZE
from scep.capabilities import Capabilities
from scep.exchange import Failed, Issued, Outcome, Pending, ServerProfile, Step
from scep.responder import Behavior, Responder
from scep.server import serving
from tests.peers.process import free_port, stop, wait_until
from tests.scep.enrolling import CHALLENGE, NOW, run, transaction

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


@pytest.fixture
def url(authority: Authority) -> Iterator[str]:
    with serving(Responder(authority)) as url:
        yield url


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def raw(url: str, request: bytes) -> bytes:
    """Everything that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=60) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


# --- HTTP ------------------------------------------------------------------------------------------------


def test_connections_stay_open(url: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=60)
    with contextlib.closing(connection):
        sockets = set()
        for operation in ("GetCACaps", "GetCACert", "GetCACaps"):
            connection.request("GET", f"/scep?operation={operation}&message=")
            assert connection.getresponse().read()
            sockets.add(connection.sock)
    assert len(sockets) == 1
    assert None not in sockets


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/scep?operation=GetCACaps", 200),
        ("/scep/?operation=GetCACaps", 200),
        ("/scep", 400),
        ("/scep?operation=GetCRL", 400),
        ("/scep?operation=PKIOperation&message=%25%25", 400),
        ("/scep?operation=PKIOperation&message=AAAA", 400),
        ("/scep?operation=PKIOperation&message=%C3%BC", 400),
        ("/scep?operation=PKIOperation", 400),
        ("/", 404),
        ("/scepter?operation=GetCACaps", 404),
    ],
)
def test_each_path_has_its_status(url: str, path: str, status: int) -> None:
    response = requests.get(url.removesuffix("/scep") + path, timeout=60)
    assert response.status_code == status
    assert "Traceback" not in response.text


def test_quirk_24_a_message_by_get(authority: Authority) -> None:
    responder = Responder(authority)
    profile = ServerProfile(Capabilities.of(["AES", "SHA-256"]), (authority.certificate,))
    with serving(responder) as url:
        outcomes = [run(url, transaction(), profile=profile) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Issued] * 3
    assert [message.outcome for message in responder.messages] == ["issued"] * 3


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 1048577", b"413"),
        (b"Content-Length: 99999999999999999999", b"413"),
        (b"Content-Length: -1", b"413"),
        (b"Content-Length: many", b"411"),
        (b"Transfer-Encoding: chunked", b"411"),
    ],
)
def test_a_body_that_is_not_read_ends_the_connection(url: str, head: bytes, status: bytes) -> None:
    request = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n"
    answer = raw(url, request)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_the_longest_body_is_read(url: str) -> None:
    response = requests.post(f"{url}?operation=PKIOperation", data=b"\0" * MAX_SIZE, timeout=60)
    assert response.status_code == 400, "read, and no message"


def test_another_method_is_refused(url: str) -> None:
    assert requests.put(f"{url}?operation=GetCACaps", data=b"x", timeout=60).status_code == 501


def test_a_client_that_goes_away_disturbs_nobody(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    request = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf"
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=60) as connection:
        connection.sendall(request)
        # an RST in place of an orderly end
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert isinstance(run(url, transaction()), Issued)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_is_let_go(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 0.3)
    with serving(Responder(authority)) as url:
        for request in (b"", b"POST /scep HTTP/1.1\r\nContent-Length: 9\r\n\r\nhal"):
            assert raw(url, request) == b"", "it waits for the server to close the connection"


def test_a_dropped_connection_has_no_answer(authority: Authority) -> None:
    with serving(Responder(authority, behavior=Behavior(drop=True))) as url:
        head = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
        assert raw(url, head) == b""


def test_a_slow_answer_holds_up_nobody_else(authority: Authority) -> None:
    responder = Responder(authority, behavior=Behavior(delay=600))
    outcomes: list[Outcome] = []
    with serving(responder) as url:
        waits = threading.Thread(target=lambda: outcomes.append(run(url, transaction(), timeout=600)))
        waits.start()
        wait_until(lambda: len(responder.messages) == 1, timeout=120, what="the slow request")
        responder.behavior = Behavior()
        assert isinstance(run(url, transaction()), Issued)
        assert waits.is_alive()
    # the end of the server is the end of its connections
    waits.join()
    assert [type(outcome) for outcome in outcomes] == [Failed]
    assert [message.outcome for message in responder.messages] == ["issued", "issued"]


def test_a_closed_server_is_closed_for_open_connections_too(authority: Authority) -> None:
    with requests.Session() as session:
        with serving(Responder(authority)) as url:
            assert session.get(f"{url}?operation=GetCACaps", timeout=60).status_code == 200
        with pytest.raises(requests.ConnectionError):
            session.get(f"{url}?operation=GetCACaps", timeout=60)


def test_a_port_of_ones_choice(authority: Authority) -> None:
    port = free_port()
    with serving(Responder(authority), port) as url:
        assert url == f"http://127.0.0.1:{port}/scep"
    with serving(Responder(authority), port) as url:
        assert requests.get(f"{url}?operation=GetCACaps", timeout=60).status_code == 200


# --- the program -----------------------------------------------------------------------------------------


class Program:
    """`python -m scep serve` with its CA in `directory`."""

    def __init__(self, directory: Path, *words: str, challenge: str = CHALLENGE) -> None:
        self.directory = directory
        command = [sys.executable, "-m", "scep", "serve", "--directory", str(directory), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--challenge-env", "THE_CHALLENGE", *words],
            cwd=ROOT,
            env=os.environ | {"THE_CHALLENGE": challenge},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:\d+/scep", self.said)
        assert found, self.said
        self.url = found.group()

    def end(self, number: int) -> tuple[int, str]:
        """Exit status and what it wrote to stderr, after the signal `number`."""
        self.process.send_signal(number)
        _out, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors.decode()


@contextlib.contextmanager
def program(directory: Path, *words: str) -> Iterator[Program]:
    started = Program(directory, *words)
    try:
        yield started
    finally:
        stop(started.process)
        for pipe in (started.process.stdout, started.process.stderr):
            assert pipe is not None
            pipe.close()


def refused(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and stderr of a program that does not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "scep", "serve", *words],
        cwd=ROOT,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_enrolls_and_ends_cleanly(tmp_path: Path, number: int) -> None:
    directory = tmp_path / "new" / "ca"
    with program(directory, "--days", "30-60", "--name", "My CA") as started:
        assert str(directory / "ca.pem") in started.said
        outcome = run(started.url, transaction())
        wrong = run(started.url, transaction(challenge="wrong"))
        # the client's connection is still open
        assert started.end(number) == (0, "")
    assert isinstance(outcome, Issued)
    ca = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    outcome.certificate.verify_directly_issued_by(ca)
    assert ca.subject.rfc4514_string() == "CN=My CA"
    lifetime = outcome.certificate.not_valid_after_utc - outcome.certificate.not_valid_before_utc
    assert 30 <= lifetime.days <= 60
    assert isinstance(wrong, Failed)
    assert wrong.error.details == "Communication Error (SCEP ERROR Fail Info 2)"
    assert CHALLENGE not in (directory / "messages.jsonl").read_text()


def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    made = transaction()
    with program(tmp_path, "--pending", "1") as started:
        assert isinstance(run(started.url, made), Pending)
        started.end(signal.SIGKILL)
    with program(tmp_path) as started:
        first = run(started.url, made, Step.POLL)
        started.end(signal.SIGKILL)
    with program(tmp_path) as started:
        second = run(started.url, made, Step.INQUIRE)
    assert isinstance(first, Issued)
    assert isinstance(second, Issued)
    assert first.certificate == second.certificate
    assert len(list((tmp_path / "issued").iterdir())) == 1


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with program(tmp_path) as started:
        port = port_of(started.url)
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            pass
        # all of 127.0.0.0/8 is this machine, so this is the same port on another of its addresses
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=60)


def test_its_behavior_is_told_on_the_command_line(tmp_path: Path) -> None:
    with program(tmp_path, "--fail-info", "3", "--delay", "0.4") as started:
        began = time.monotonic()
        outcome = run(started.url, transaction())
        assert time.monotonic() - began >= 0.4
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (SCEP ERROR Fail Info 3)"


def test_what_keeps_it_from_starting(tmp_path: Path) -> None:
    at = ("--directory", str(tmp_path), "--port", "0")
    status, said = refused(*at, "--challenge-env", "NOT_SET_ANYWHERE")
    assert (status, "NOT_SET_ANYWHERE" in said) == (2, True)
    status, said = refused(*at, "--challenge-file", str(tmp_path / "missing"))
    assert (status, "missing" in said) == (9, True)
    status, said = refused(*at, "--challenge-env", "EMPTY", env={"EMPTY": " "})
    assert (status, "is empty" in said) == (9, True)
    status, said = refused(*at, "--days", "60-30")
    assert (status, "60-30" in said) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = refused("--directory", str(tmp_path), "--port", str(port))
    assert (status, "in use" in said) == (2, True)
    (tmp_path / "ca.pem").write_text("no certificate")
    status, said = refused(*at)
    assert (status, "Traceback" in said, said.startswith("python -m scep serve: ")) == (9, False, True)
