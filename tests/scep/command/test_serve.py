"""serve: a demo CA as a process, enrolled at by the command and by a client that this project did not write."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.scep.command.running import check_issued, looked_through, mode, names, scep, started
from tests.scep.enrolling import CHALLENGE

NAME = ("--common-name", "mfp.example.com")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(challenge: Path, tmp_path: Path, out: Path, number: int) -> None:
    words = ("--directory", tmp_path / "ca", "--port", "0", "--challenge-file", challenge, "--days", "30")
    with started("serve", *words, "--name", "Trial CA") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/scep", said)
        assert found, said
        ended = scep("enroll", found.group(), *NAME, "--challenge-file", challenge, "--out", out)
        process.send_signal(number)
        rest = process.communicate(timeout=120)
    assert (ended.code, process.returncode, rest) == (0, 0, ("", ""))
    assert "CN=Trial CA" in ended.out
    check_issued(out)
    assert (out / "ca.pem").read_bytes() == (tmp_path / "ca" / "ca.pem").read_bytes()
    assert mode(tmp_path / "ca" / "ca.key") == 0o600
    looked_through((tmp_path / "ca" / "messages.jsonl").read_text())


def test_a_client_of_somebody_else_enrolls(challenge: Path, tmp_path: Path) -> None:
    with started(
        "serve", "--directory", tmp_path / "ca", "--port", "0", "--challenge-file", challenge, "--json"
    ) as process:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            said += process.stdout.readline()
        members = json.loads(said)
        assert members["ca"] == str(tmp_path / "ca" / "ca.pem")
        command = ["scepclient", "-server-url", members["url"], "-challenge", CHALLENGE, "-cn", "mfp"]
        command += ["-private-key", "client.key", "-certificate", "client.pem", "-organization", "Example"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert len(names(tmp_path / "ca" / "issued")) == 1


def test_what_keeps_it_from_starting_has_its_exit_code(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = scep("serve", "--directory", tmp_path / "a", "--port", str(port))
    assert (ended.code, f"Cannot listen on port {port}" in ended.err) == (2, True)
    assert scep("serve", "--directory", tmp_path / "a", "--port", "70000").code == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ca.pem").write_text("no certificate")
    members = scep("serve", "--directory", tmp_path / "b", "--port", "0", "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (9, "local_file")
    (tmp_path / "file").write_text("")
    ended = scep("serve", "--directory", tmp_path / "file", "--port", "0")
    assert (ended.code, "Cannot keep a CA in" in ended.err) == (9, True)
