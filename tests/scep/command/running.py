"""`python -m scep` as real processes; every one of them is looked through for secrets."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.process import stop
from tests.scep.enrolling import CHALLENGE

ROOT = Path(__file__).resolve().parent.parent.parent.parent
COMMAND = [sys.executable, "-m", "scep"]
ISSUED = ["ca.pem", "certificate.pem", "chain.pem", "key.pem"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout, beside which nothing is said."""
        assert self.err == ""
        members = json.loads(self.out)
        assert isinstance(members, dict)
        assert (members["exit_code"], members["ok"]) == (self.code, self.code == 0)
        return members


def environment(**more: str) -> dict[str, str]:
    """This process's, with the program on its path wherever it is started."""
    # Ctrl-C in the middle of an answer leaves its socket to the end of the process
    warnings = "error,ignore::ResourceWarning"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": warnings, **more}


UMASK = 0o022
"""What commands are started with, whoever runs the tests: a stricter one closes the files that all may read."""


def scep(*words: str | Path, given: str = "", env: dict[str, str] | None = None, umask: int = UMASK) -> Ended:
    """One command, to its end; `given` is its stdin. No secret and no traceback is in what it says."""
    ended = subprocess.run(
        [*COMMAND, *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(**(env or {})),
        umask=umask,
    )
    looked_through(ended.stdout + ended.stderr)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


_ON_THE_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(terminal, stream)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Who leads a session, and opens a terminal, has it for its own."""


def at_terminal(*words: str | Path, ask: str = "", answer: str = "") -> tuple[int, str]:
    """One command whose streams are a terminal of its own: exit code, and all that stands on it.

    `answer` is typed when `ask` stands there.
    """
    master, slave = pty.openpty()
    command = [sys.executable, "-c", _ON_THE_TERMINAL, os.ttyname(slave), *COMMAND, *map(str, words)]
    process = subprocess.Popen(command, start_new_session=True, env=environment(COLUMNS="100"), umask=UMASK)
    said, deadline = b"", time.monotonic() + 300
    try:
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            assert time.monotonic() < deadline, said
            if select.select([master], [], [], 0.05)[0]:
                said += os.read(master, 65536)
            if ask and ask.encode() in said:
                ask = ""
                os.write(master, f"{answer}\n".encode())
    finally:
        stop(process)
        os.close(master)
        os.close(slave)
    text = said.decode().replace("\r\n", "\n")
    looked_through(text)
    return process.returncode, text


def looked_through(said: str) -> None:
    """Assert that it holds neither the challenge password nor a private key nor a traceback."""
    for secret in (CHALLENGE, "PRIVATE KEY", "Traceback"):
        assert secret not in said


@contextlib.contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until the block ends or it does."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        umask=UMASK,
        # a test run in the background ignores Ctrl-C, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            stop(process)  # type: ignore[arg-type]


def openssl(*words: str | Path) -> str:
    """What OpenSSL says, both streams."""
    ended = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def check_issued(directory: Path) -> None:
    """OpenSSL agrees on what an enrollment left: the files, their modes, the key's certificate, its CA."""
    assert names(directory) == ISSUED
    assert [mode(directory / name) & 0o077 for name in ISSUED] == [0o044, 0o044, 0o044, 0]
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    assert openssl("pkey", "-in", key, "-pubout") == openssl("x509", "-in", certificate, "-noout", "-pubkey")
    verified = openssl(
        "verify", "-CAfile", directory / "ca.pem", "-untrusted", directory / "chain.pem", certificate
    )
    assert verified.endswith(": OK\n")


def state_of(directory: Path) -> dict[str, Any]:
    """The enrollment under way, which only its owner may read."""
    path = directory / "enrollment.json"
    assert mode(path) == 0o600
    state = json.loads(path.read_text())
    assert isinstance(state, dict)
    return state
