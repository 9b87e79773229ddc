"""Debian's scepserver as the other side: it keeps the CSRs that it gets, can be held up, stopped and started."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from django.db import connections

from tests.devices.factories import CHALLENGE
from tests.peers.process import free_port, wait_until
from tests.peers.scep_server import Peer, pkcs_requests, scep_server

# a CSR appears under its name when it is whole; then the server waits for as long as it is held. Names are drawn:
# process ids come again, in a container after some 30,000
_KEEP = """#!/bin/sh
cd {directory} || exit 1
part=$(mktemp part.XXXXXXXXXX) && cat > "$part" && mv "$part" "csrs/$part.der" || exit 1
while [ -e held ]; do sleep 0.05; done
"""


class RealCa:
    """The server, and what it was sent; `id` is that of its row, as REST knows it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._csrs = directory / "csrs"
        self._csrs.mkdir()
        self._verifier = directory / "keep-csr"
        self._verifier.write_text(_KEEP.format(directory=shlex.quote(str(directory))))
        self._verifier.chmod(0o700)
        self._port = free_port()
        self._running = contextlib.ExitStack()
        self._peer: Peer | None = None
        self.id = 0

    @property
    def peer(self) -> Peer:
        """The process. Raises RuntimeError while it is stopped."""
        if self._peer is None:
            raise RuntimeError("the server is stopped")
        return self._peer

    @property
    def port(self) -> int:
        """The same after every start."""
        return self._port

    @property
    def url(self) -> str:
        """The address of its SCEP service."""
        return f"http://127.0.0.1:{self._port}/scep"

    def start(self) -> None:
        """Start it, with the CA that it had."""
        server = scep_server(self._directory, CHALLENGE, port=self._port, csr_verifier=self._verifier)
        self._peer = self._running.enter_context(server)

    def stop(self) -> None:
        """End the process; nobody listens on its port afterwards."""
        self._running.close()
        self._peer = None

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Down until the block ends."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Until the block ends it takes requests in and answers none."""
        flag = self._directory / "held"
        flag.touch()
        try:
            yield
        finally:
            flag.unlink(missing_ok=True)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """The same for one request that is given up before it is answered: it has come, and then the server is idle.

        It issues the certificate all the same, and hands out a serial number twice when two requests come at once.
        """
        before, serial = self.count(), self._next_serial()
        with self.held():
            yield
            wait_until(lambda: self.count() > before, timeout=60, what="a CSR at the server")
        wait_until(
            lambda: self._next_serial() not in ("", serial), timeout=60, what="a certificate for nobody"
        )

    @contextlib.contextmanager
    def meanwhile(self, act: Callable[[], object]) -> Iterator[None]:
        """`act` happens while the server has the request of this block and has not answered it yet."""
        before, failures = self.count(), []

        def run() -> None:
            try:
                wait_until(lambda: self.count() > before, timeout=60, what="a CSR at the server")
                act()
            except BaseException as failure:
                failures.append(failure)
            finally:
                connections.close_all()
                (self._directory / "held").unlink(missing_ok=True)

        thread = threading.Thread(target=run)
        with self.held():
            thread.start()
            try:
                yield
            finally:
                thread.join(120)
        if failures:
            raise failures[0]

    def _next_serial(self) -> str:
        """As its depot has it: the last that it writes for a certificate; empty before the first one."""
        path = self._directory / "depot" / "serial"
        return path.read_text().strip() if path.exists() else ""

    def count(self) -> int:
        """How many CSRs it got so far; those with a wrong challenge password do not come that far."""
        return len([*self._csrs.glob("*.der")])

    def messages(self) -> int:
        """How many PKCSReq messages it read since its first start, by its own log."""
        return pkcs_requests(self._directory / "scepserver.log")

    def csr_of(self, certificate: str) -> bytes:
        """The CSR (DER) that asked for this certificate (PEM): the one with its key. Raises LookupError."""
        wanted = openssl("x509", certificate.encode(), "-pubkey")
        for path in self._csrs.glob("*.der"):
            csr = path.read_bytes()
            if openssl("req", csr, "-inform", "DER", "-pubkey") == wanted:
                return csr
        raise LookupError("the server got no CSR with the key of this certificate")

    def verifies(self, certificate: str, directory: Path) -> bool:
        """True when openssl builds a chain from the certificate (PEM) to this CA."""
        path = directory / "certificate.pem"
        path.write_text(certificate)
        command = ["openssl", "verify", "-CAfile", str(self.peer.ca_path), str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).returncode == 0


def openssl(command: str, data: bytes, *options: str) -> str:
    """What `openssl x509` or `openssl req` says of `data`. Raises CalledProcessError."""
    ran = subprocess.run(
        ["openssl", command, "-noout", *options], input=data, capture_output=True, check=True, timeout=60
    )
    return ran.stdout.decode()


def request_text(csr: bytes) -> str:
    """`openssl req -text` of a CSR (DER), its signature verified. Raises CalledProcessError."""
    return openssl("req", csr, "-inform", "DER", "-text", "-verify", "-nameopt", "RFC2253")


def certificate_text(certificate: str) -> str:
    """`openssl x509 -text` of a certificate (PEM)."""
    return openssl("x509", certificate.encode(), "-text", "-nameopt", "RFC2253")
