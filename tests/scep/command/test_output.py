"""What stands on a terminal, what in a pipe and in JSON, and that no secret does anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.behavior import Behavior
from scep.command.outcome import EXIT_OF, OPTION_OF, Exit
from scep.errors import ScepError
from scep.responder import Responder
from scep.server import serving
from scep.transaction import RenewalForm
from tests.peers.process import free_port
from tests.scep.command.running import COMMAND, UMASK, at_terminal, check_issued, environment, scep
from tests.scep.enrolling import CHALLENGE
from tests.scep.ways import server_context

NAME = ("--common-name", "mfp.example.com")


@contextlib.contextmanager
def always(status: int, body: bytes) -> Iterator[str]:
    """An HTTP server, or proxy, that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer, also what comes with a body."""
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            # no answer of HTTP/1.0 needs a length
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- progress ---------------------------------------------------------------------------------------------


def test_a_terminal_shows_the_steps_and_hides_the_password(
    url: str, responder: Responder, authority: Authority, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    pin = authority.certificate.fingerprint(hashes.SHA256()).hex()
    words = ("--challenge-prompt", "--out", out, "--fingerprint", pin)
    polling = ("--poll-count", "1", "--poll-interval", "0.1")
    code, shown = at_terminal(
        "enroll", url, *NAME, *words, *polling, ask="Challenge password: ", answer=CHALLENGE
    )
    assert code == 0, shown
    steps = [line for line in shown.splitlines() if line.endswith(("...", "left.", "answer."))]
    assert steps == [
        "Making a key (RSA 2048) ...",
        "GetCACaps ...",
        "GetCACert ...",
        "PKCSReq ...",
        "The SCEP server has the request and defers its answer.",
        "Asking again in 0.1 s; 1 times left.",
        "CertPoll ...",
    ]
    assert "HTTP status 200" not in shown, "only with -v"
    assert shown.startswith("Challenge password: \n")
    check_issued(out)


def test_a_pipe_has_the_result_only(url: str, authority: Authority, challenge: Path, out: Path) -> None:
    pin = authority.certificate.fingerprint(hashes.SHA256()).hex()
    ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "--fingerprint", pin)
    assert (ended.code, ended.err) == (0, "")
    labels = [line.partition(":")[0] for line in ended.out.splitlines()]
    assert labels[:4] == ["certificate", "private key", "chain", "CA"]


def test_verbose_says_what_came_in_a_pipe_too(url: str, challenge: Path, out: Path) -> None:
    ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "-v", "--json")
    assert ended.err.count("HTTP status 200") == 3
    assert "application/x-pki-message" in ended.err
    assert json.loads(ended.out)["status"] == "issued"


def test_a_prompt_without_a_terminal_is_refused(url: str, out: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "enroll", url, *NAME, "--challenge-prompt", "--out", str(out)],
        input=CHALLENGE,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--challenge-prompt needs a terminal" in ended.stderr


def test_a_password_is_not_read_from_a_stdin_that_shows_it(url: str, out: Path) -> None:
    code, shown = at_terminal("enroll", url, *NAME, "--challenge-file", "-", "--out", out)
    assert (code, "give --challenge-prompt" in shown) == (2, True)


def test_an_enrollment_does_not_end_because_nobody_looks_on(url: str, challenge: Path, out: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ["enroll", url, *NAME, "--challenge-file", str(challenge), "--out", str(out), "-v"]
    ended = subprocess.run(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=writing,
        timeout=120,
        env=environment(),
        umask=UMASK,
    )
    os.close(writing)
    assert ended.returncode == 0
    check_issued(out)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_result_that_nobody_reads_has_its_exit_code(url: str, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*COMMAND, "caps", url, *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        env=environment(),
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (Exit.BROKEN_PIPE, "")


def test_a_name_that_the_terminal_cannot_show(url: str, out: Path) -> None:
    ended = scep(
        "enroll", url, "--common-name", "m" * 65, "--out", "größe", env={"PYTHONIOENCODING": "ascii"}
    )
    assert ended.code == 2


# --- errors -----------------------------------------------------------------------------------------------


def test_every_kind_of_error_has_an_exit_code() -> None:
    assert set(EXIT_OF) == set(ScepError.__subclasses__())
    assert set(EXIT_OF.values()) < set(Exit) - {Exit.DONE, Exit.FAULT, Exit.USAGE, Exit.PENDING}


MET: dict[str, tuple[Behavior, str, tuple[str, ...]]] = {
    "offers no SHA-2": (Behavior(keywords=("AES", "POSTPKIOperation")), "--allow-sha1", ()),
    "offers no AES": (Behavior(keywords=("SHA-256", "POSTPKIOperation")), "--allow-3des", ()),
    "replies in 3DES": (Behavior(reply_cipher=ContentCipher.TRIPLE_DES), "--allow-3des", ()),
    "replies in DES": (Behavior(reply_cipher=ContentCipher.DES), "--allow-des-replies", ()),
    "is slow": (Behavior(delay=60), "--timeout", ("--timeout", "0.3")),
    "has another CA": (Behavior(), "--fingerprint", ("--fingerprint", "00" * 32)),
}


@pytest.mark.parametrize("met", MET)
def test_an_error_names_the_option_that_may_help(
    url: str, responder: Responder, challenge: Path, out: Path, met: str
) -> None:
    behavior, option, words = MET[met]
    responder.behavior = behavior
    error = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, *words, "--json").json[
        "error"
    ]
    assert error["options"] == [option]
    assert error["explanation"].endswith(f" Here that is {option}.")


def test_an_error_names_the_form_of_renewal(
    url: str, responder: Responder, challenge: Path, tmp_path: Path, out: Path
) -> None:
    first = tmp_path / "first"
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", first).code == 0
    responder.behavior = Behavior(renewal_forms=frozenset({RenewalForm.PKCS_REQ_WITH_CHALLENGE}))
    words = ("--certificate", first / "certificate.pem", "--key", first / "key.pem", "--out", out)
    members = scep("renew", url, *words, "--json").json
    assert (members["exit_code"], members["error"]["options"]) == (4, ["--form"])


def test_a_proxy_that_wants_a_password() -> None:
    with always(407, b"who are you") as proxy:
        error = scep("ca", "http://ca.example.com/scep", "--proxy", proxy, "--json").json["error"]
    assert (error["kind"], error["options"]) == ("http_status_error", ["--proxy-file"])


def test_an_https_server_that_a_private_ca_vouches_for(
    responder: Responder, authority: Authority, challenge: Path, tmp_path: Path, out: Path
) -> None:
    words = (
        "enroll",
        "--common-name",
        "mfp.example.com",
        "--challenge-file",
        challenge,
        "--out",
        out,
        "--json",
    )
    with serving(responder, tls=server_context(tmp_path, authority, "127.0.0.1")) as url:
        members = scep(*words, url).json
        assert (members["exit_code"], members["error"]["options"]) == (5, ["--ca-bundle"])
        assert scep(*words, url, "--ca-bundle", tmp_path / "ca.pem").json["status"] == "issued"
        members = scep(*words, url, "--ca-bundle", challenge).json
        assert (members["exit_code"], members["error"]["kind"]) == (9, "local_file")


def test_every_option_that_is_named_was_seen_above() -> None:
    seen = {option for _, option, _ in MET.values()} | {"--form", "--proxy-file", "--ca-bundle"}
    assert set(OPTION_OF.values()) == seen


# --- secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--challenge", CHALLENGE),
        (f"--challenge={CHALLENGE}",),
        ("--challenge-password", CHALLENGE),
        (f"--password={CHALLENGE}",),
        (f"--chall={CHALLENGE}",),
        (f"--no-such-option={CHALLENGE}",),
        ("--no-such-option", CHALLENGE),
        ("--challenge-prompt", CHALLENGE),
        (f"-p{CHALLENGE}",),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    url: str, responder: Responder, out: Path, words: tuple[str, ...], as_json: bool
) -> None:
    # running.scep looks for it in what is said
    ended = scep("enroll", url, *NAME, "--out", out, *words, *(["--json"] if as_json else []))
    assert ended.code == 2
    assert responder.messages == []


@pytest.mark.parametrize("option", ["url", "--proxy"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str, option: str) -> None:
    secret = f"http://user:{CHALLENGE}@127.0.0.1:{free_port()}/scep"
    ended = scep("ca", secret) if option == "url" else scep("ca", url, "--proxy", secret)
    assert (ended.code, "should hold no password" in ended.err) == (2, True)


def test_a_proxys_password_comes_from_a_file_and_shows_nowhere(url: str, tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    path.write_text(f"http://user:{CHALLENGE}@127.0.0.1:{free_port()}\n")
    ended = scep("ca", url, "--proxy-file", path, "-v")
    assert (ended.code, "No connection through the HTTP proxy" in ended.err) == (5, True)
    path.write_text(CHALLENGE)
    ended = scep("ca", url, "--proxy-file", path)
    assert (ended.code, "should hold the URL of an HTTP proxy" in ended.err) == (9, True)


@pytest.mark.parametrize("content", ["", "\n \n", f"{CHALLENGE}\n{CHALLENGE}\n", f"{CHALLENGE}\udcff"])
def test_a_file_that_holds_no_password_is_not_quoted(
    url: str, tmp_path: Path, out: Path, content: str
) -> None:
    path = tmp_path / "challenge"
    path.write_bytes(content.encode(errors="surrogateescape"))
    ended = scep("enroll", url, *NAME, "--challenge-file", path, "--out", out)
    assert (ended.code, f"{path} should hold one line of text" in ended.err) == (9, True)


@pytest.mark.parametrize("words", [(), ("--json",), ("-v",)])
def test_a_server_that_repeats_the_password_is_not_quoted(
    challenge: Path, out: Path, words: tuple[str, ...]
) -> None:
    with always(500, f"denied: {CHALLENGE} is wrong".encode()) as url:
        ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, *words)
    assert ended.code == 6
    assert "denied: *** is wrong" in ended.out + ended.err
