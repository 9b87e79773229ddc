"""Real PAPPL printer applications on loopback: a process each, with a home of its own, under an ordinary user."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.openssl import served
from tests.peers.process import free_port, is_listening, running

PASSWORD = "the printer's own password"

_SCRIPT = Path(__file__).with_name("pappl_server.py")


@dataclass(frozen=True, slots=True)
class Pappl:
    """A running one."""

    port: int
    password: str

    @property
    def served(self) -> str:
        """SHA-256 of the certificate that it serves."""
        return served(self.port)

    def connector(self, **settings: Any) -> dict[str, Any]:
        """What leads to it, among a device's data, with its fingerprint as a person has compared it."""
        values = {"port": self.port, "tls_fingerprint": self.served, "password": self.password, **settings}
        return {
            "connector": "pappl",
            "host": "127.0.0.1",
            "tls_ports": [self.port],
            "connector_settings": {name: value for name, value in values.items() if value},
        }


@contextlib.contextmanager
def printer(
    directory: Path, *, password: str = PASSWORD, port: int | None = None, form: bool = False
) -> Iterator[Pappl]:
    """One until the block ends, on `port` or a free one; its log goes to `directory`.

    It asks for `password` by HTTP Basic, or by a `form`. Without a password everybody may do everything.
    Raises RuntimeError, naming the Debian package.
    """
    if ctypes.util.find_library("pappl") is None:
        raise RuntimeError(
            "the tests need PAPPL: apt-get install libpappl1 (or scripts/install-debian-packages)"
        )
    port = port or free_port()
    # as root it runs under another user, who cannot enter a folder of pytest's
    home = Path(tempfile.mkdtemp(prefix="fleetseal-pappl-"))
    user = "nobody" if os.geteuid() == 0 else None
    try:
        # readable for the other user too, whatever the umask under which this project was checked out
        shutil.copyfile(_SCRIPT, home / _SCRIPT.name)
        (home / _SCRIPT.name).chmod(0o644)
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(home, entry.pw_uid, entry.pw_gid)
        with running(
            # the system's own Python: it needs nothing of ours, and the other user may enter no other
            [_python(), home / _SCRIPT.name, str(port), home, password, *(["form"] if form else [])],
            ready=lambda: is_listening(port),
            log=directory / f"pappl-{port}.log",
            env={"HOME": str(home), "USER": user or os.environ.get("USER", "")},
            cwd=home,
            user=user,
        ):
            yield Pappl(port, password)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _python() -> str:
    return shutil.which("python3", path="/usr/bin:/bin") or sys.executable
