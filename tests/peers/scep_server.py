"""Debian's `scepserver` (micromdm/scep 2.1), a real SCEP server that this project did not write.

It ignores transaction IDs, does not implement CertPoll (HTTP 500), signs replies with SHA-1 and encrypts them with
single DES. It binds every interface and cannot be told otherwise: for tests only.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import free_port, is_listening, running

_PKCS_REQ = re.compile(r'scep_message_type="PKCSReq \(19\)" transaction_id=(\S+)')


@dataclass(frozen=True, slots=True)
class Peer:
    """A running scepserver."""

    url: str
    ca_path: Path
    """PEM of the CA certificate."""
    log: Path
    depot: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def scep_server(
    directory: Path,
    challenge: str = "secret",
    *,
    port: int | None = None,
    csr_verifier: Path | None = None,
) -> Iterator[Peer]:
    """The CA in `directory`, made when there is none yet, and its server until the block ends.

    `csr_verifier` is a program that gets each CSR (DER) on standard input once its challenge password is right, and
    refuses it by its exit code. Raises RuntimeError, naming the Debian package.
    """
    program = shutil.which("scepserver")
    if program is None:
        raise RuntimeError(
            "the tests need a SCEP server: apt-get install scep (or scripts/install-debian-packages)"
        )
    depot, log, port = directory / "depot", directory / "scepserver.log", port or free_port()
    if not depot.exists():
        subject = ("-organization", "Example", "-organizational_unit", "CA")
        made = [program, "ca", "-init", "-depot", str(depot), *subject, "-keySize", "2048", "-years", "10"]
        subprocess.run(made, check=True, capture_output=True, cwd=directory, timeout=120)
    command = [program, "-depot", str(depot), "-port", str(port), "-challenge", challenge, "-debug"]
    command += ["-allowrenew", "0", "-crtvalid", "365"]
    if csr_verifier is not None:
        command += ["-csrverifierexec", str(csr_verifier)]
    with running(command, ready=lambda: is_listening(port), log=log, cwd=directory) as process:
        yield Peer(f"http://127.0.0.1:{port}/scep", depot / "ca.pem", log, depot, process)


def issued(peer: Peer) -> list[Path]:
    """The PEM files of what it issued."""
    return sorted(path for path in peer.depot.glob("*.pem") if path.name != "ca.pem")


def pkcs_requests(log: Path) -> int:
    """How many PKCSReq messages the server read, by its own log."""
    return transactions(log).total()


def transactions(log: Path) -> Counter[str]:
    """How many PKCSReq messages the server read for each transaction ID, by its own log."""
    return Counter(_PKCS_REQ.findall(log.read_text(errors="replace")))
