"""Debian's OpenSSH `sshd` on 127.0.0.1 with an ordinary configuration, and a TLS server that reloads on SIGHUP.

Whoever runs the tests signs in as themselves, with a key made for it. Password sign-in is on: every password is
wrong.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers.openssl import served
from tests.peers.process import free_port, is_listening, running

_CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
PidFile none
Subsystem sftp {sftp}
LogLevel VERBOSE
"""


@dataclass(frozen=True, slots=True)
class SshHost:
    """A running sshd."""

    port: int
    username: str
    private_key: str
    """OpenSSH's own format."""
    fingerprint: str
    """Of the host key, as ssh-keygen -l prints it."""
    log: Path


@contextlib.contextmanager
def ssh_host(
    directory: Path, *, sftp: str = "internal-sftp", port: int | None = None, kind: str = "ed25519"
) -> Iterator[SshHost]:
    """A host until the block ends, on `port` or a free one, with a key of that `kind`.

    Keys that lie in `directory` already are its own. Raises RuntimeError, naming the Debian package.
    """
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if program is None:
        raise RuntimeError(
            "the tests need an SSH server: apt-get install openssh-server (or scripts/install-debian-packages)"
        )
    for name, its_kind in (("host_key", kind), ("client_key", "ed25519")):
        if not (directory / name).exists():
            keygen("-q", "-t", its_kind, "-N", "", "-f", str(directory / name))
    port = port or free_port()
    (directory / "sshd_config").write_text(_CONFIGURATION.format(port=port, folder=directory, sftp=sftp))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = directory / "sshd.log"
    command: list[str | Path] = [program, "-D", "-e", "-f", directory / "sshd_config"]
    command += _without_penalties(program, directory)
    with running(command, ready=lambda: is_listening(port), log=log):
        yield SshHost(
            port,
            # not what LOGNAME says: after su or sudo that may be somebody else
            pwd.getpwuid(os.geteuid()).pw_name,
            (directory / "client_key").read_text(),
            keygen("-l", "-f", str(directory / "host_key.pub")).split()[1],
            log,
        )


def _without_penalties(program: str, directory: Path) -> list[str]:
    """OpenSSH 9.8 and newer no longer let an address in that failed a few times, and all tests come from one."""
    options = ["-o", "PerSourcePenalties=no"]
    known = subprocess.run(
        [program, "-t", "-f", directory / "sshd_config", *options],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return [] if known.returncode else options


def keygen(*arguments: str) -> str:
    """What ssh-keygen prints."""
    return subprocess.run(
        ["ssh-keygen", *arguments], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A TLS server that reads its certificate at the start, and again on SIGHUP."""

    port: int
    key: Path
    certificate: Path
    pid: int

    @property
    def reload_command(self) -> str:
        """Has it read its files."""
        return f"kill -HUP {self.pid}"


@contextlib.contextmanager
def tls_server(directory: Path) -> Iterator[TlsServer]:
    """Serves `server.crt` and `server.key` of `directory`, self-signed at first, until the block ends."""
    key, certificate, port = directory / "server.key", directory / "server.crt", free_port()
    factory_certificate(key, certificate)
    script = Path(__file__).with_name("reloading_tls_server.py")
    command = [sys.executable, str(script), str(port), str(certificate), str(key)]
    with running(command, ready=lambda: is_listening(port), log=directory / "tls.log") as process:
        yield TlsServer(port, key, certificate, process.pid)


def factory_certificate(key: Path, certificate: Path) -> None:
    """What a server begins with: a key, and a certificate that it signed itself."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=factory", "-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )


def served_fingerprint(port: int, *, server_name: str = "localhost") -> str:
    """`openssl.served`, asked by a name as clients of such hosts do."""
    return served(port, server_name)
