"""The demo's virtual MFPs as a process of their own, and a way to tell them how to misbehave."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.demo import names
from tests.peers import openssl
from tests.peers.process import free_port, is_listening, running


@dataclass(frozen=True, slots=True)
class Mfps:
    """A running `fleet.demo.mfp`; MFP number n is the demo's."""

    port: int

    def serial(self, number: int) -> str:
        """The serial number of MFP `number`."""
        (row,) = names.devices(number, number + 1)
        return row["serial_number"]

    def url(self, number: int) -> str:
        """Its address, for the connector's settings."""
        return f"http://127.0.0.1:{self.port}/mfp/{self.serial(number)}"

    @property
    def factory_fingerprint(self) -> str:
        """SHA-256 of the certificate that all of them begin with, as a person reads it at the device."""
        found: str = self._ask(f"{self.url(0)}/status", "GET")["factory_fingerprint"]
        return found

    def keys(self, number: int) -> dict[str, list[str]]:
        """What its key store holds: names with what each key is used for."""
        held = self._ask(f"{self.url(number)}/status", "GET")["key_store"]["keys"]
        return {key["name"]: key["used_for"] for key in held}

    def served(self, number: int) -> str:
        """SHA-256 of the certificate that it serves, as OpenSSL sees it."""
        return openssl.served(self.port, self.serial(number))

    def behave(self, number: int, **behavior: Any) -> None:
        """How it behaves from now on; nothing given: well."""
        self._ask(f"{self.url(number)}/behavior", "PUT", json.dumps(behavior).encode())

    def boot_count(self, number: int) -> int:
        """How often it has started."""
        count: int = self._ask(f"{self.url(number)}/status", "GET")["boot_count"]
        return count

    def restart(self, number: int) -> None:
        """Somebody presses its switch."""
        self._ask(f"{self.url(number)}/restart", "POST")

    def is_back(self, number: int) -> bool:
        """True when it answers."""
        try:
            self.boot_count(number)
        except OSError:
            return False
        return True

    def _ask(self, url: str, method: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


@contextlib.contextmanager
def virtual_mfps(directory: Path, *, devices: int = 60, restart_seconds: float = 0.3) -> Iterator[Mfps]:
    """A fleet that restarts quickly, until the block ends."""
    port, seconds = free_port(), str(restart_seconds)
    command = [sys.executable, "-m", "fleet.demo.mfp", "--port", str(port), "--devices", str(devices)]
    command += ["--restart-seconds", seconds, seconds]
    root = Path(__file__).resolve().parent.parent.parent
    with running(command, ready=lambda: is_listening(port), log=directory / "mfps.log", cwd=root):
        yield Mfps(port)
