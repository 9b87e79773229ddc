"""Counterparts as ordinary processes on loopback: started, waited for, ended by their own pid."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_PORTS = range(20_000, 30_000)
"""Below those that Linux gives to outgoing connections: one of them could take a port before its server does."""

_ports_left: list[int] = []


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody had a moment ago, and that nobody else of this run is given."""
    while True:
        if not _ports_left:
            # test processes that run side by side draw from different ones
            number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
            _ports_left.extend(_PORTS[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))])
            random.SystemRandom().shuffle(_ports_left)
        with socket.socket(type=kind) as probe, contextlib.suppress(OSError):
            port = _ports_left.pop()
            probe.bind(("127.0.0.1", port))
            return port


def is_listening(port: int) -> bool:
    """True when something accepts TCP connections on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str, interval: float = 0.05) -> None:
    """Return as soon as `condition()` is true.

    Raises TimeoutError, naming `what` was waited for, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout:g} s")
        time.sleep(interval)


def ordinary_user() -> str | None:
    """The user to start servers as that refuse root (PostgreSQL), or None where we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise RuntimeError("running as root, and neither the user postgres nor nobody exists")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    timeout: float = 300,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the block ends; its output goes to `log`, which an error message quotes."""
    with log.open("ab") as output:
        process = _started(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
        )
    try:

        def ready_or_dead() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
            return ready()

        wait_until(ready_or_dead, timeout=timeout, what=f"{command[0]} becoming ready (see {log})")
        yield process
    finally:
        stop(process)


def _started(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """The process; started again where the kernel says EFAULT, as happens once in thousands of times."""
    for _ in range(2):
        try:
            return subprocess.Popen(command, **options)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
    return subprocess.Popen(command, **options)


def stop(process: subprocess.Popen[bytes], *, grace: float = 10) -> None:
    """End one process that we started: SIGTERM, then SIGKILL after `grace` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
