"""The connector to print servers that are administered over SSH: CUPS, ippeveprinter, any TLS server with files.

Key and certificate are staged beside their places under temporary names with mode 0600, then renamed over them, the
key first, and a command has the service read them. Nothing is sent, not even a password, before the host key is the
pinned one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import posixpath
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar

import paramiko
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.delivery.connectors.base import Capability, Connector, Presented
from devices.delivery.connectors.material import Material
from devices.delivery.connectors.settings import Kind, Setting
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceRefused,
    NotConfirmed,
    NotConnected,
    UnexpectedAnswer,
    Unreachable,
    WrongFingerprint,
    WrongPassword,
)
from devices.rules.keys import KeyUse

MOST_OUTPUT = 16 * 1024
"""Bytes of a reload command's output that are read; a message quotes the last 300."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PRIVATE_KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


def fingerprint_of(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def validate_fingerprint(value: str) -> None:
    """Raise ValidationError unless `value` is a SHA-256 fingerprint of an SSH host key."""
    if not _FINGERPRINT.fullmatch(value):
        raise ValidationError(
            _("Write the fingerprint as ssh-keygen -l shows it: SHA256: and 43 characters.")
        )


def validate_path(value: str) -> None:
    """Raise ValidationError unless `value` is the absolute path of a file."""
    if (
        not value.startswith("/")
        or value.endswith("/")
        or "\0" in value
        or posixpath.normpath(value) != value
    ):
        raise ValidationError(_("An absolute path of a file was expected, like /etc/cups/ssl/host.key."))


def validate_private_key(value: str) -> None:
    """Raise ValidationError unless `value` is an SSH private key without a passphrase."""
    if _private_key(value) is None:
        raise ValidationError(
            _("This is no SSH private key that can be read (RSA, ECDSA or Ed25519, without a passphrase).")
        )


def _private_key(text: str) -> paramiko.PKey | None:
    for kind in _PRIVATE_KEYS:
        with suppress(paramiko.SSHException, ValueError, IndexError):
            return kind.from_private_key(io.StringIO(text))
    return None


class SftpConnector(Connector):
    """Puts files on a host by SFTP and runs a command there."""

    label = gettext_lazy("Print server over SSH (SFTP)")
    schema = (
        Setting(
            name="port",
            label=gettext_lazy("SSH port"),
            kind=Kind.NUMBER,
            minimum=1,
            maximum=65535,
            default=22,
        ),
        Setting(name="username", label=gettext_lazy("User name"), required=True, max_length=64),
        Setting(name="password", label=gettext_lazy("Password"), is_secret=True, max_length=200),
        Setting(
            name="private_key",
            label=gettext_lazy("SSH private key"),
            help_text=gettext_lazy(
                "Takes the place of the password. Without a passphrase; it is stored encrypted."
            ),
            is_secret=True,
            is_multiline=True,
            max_length=20_000,
            check=validate_private_key,
        ),
        Setting(
            name="host_key_fingerprint",
            label=gettext_lazy("Fingerprint of the SSH host key"),
            help_text=gettext_lazy(
                "SHA256:..., as ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub shows it on the host. Nothing is "
                "sent to a host with another key."
            ),
            max_length=50,
            check=validate_fingerprint,
        ),
        Setting(
            name="key_path",
            label=gettext_lazy("Path of the private key"),
            required=True,
            max_length=400,
            check=validate_path,
        ),
        Setting(
            name="certificate_path",
            label=gettext_lazy("Path of the certificate"),
            help_text=gettext_lazy("The CA certificates follow the device's own in this file."),
            required=True,
            max_length=400,
            check=validate_path,
        ),
        Setting(
            name="reload_command",
            label=gettext_lazy("Command that has the service read them"),
            help_text=gettext_lazy(
                "For example sudo systemctl reload cups. Empty where the service looks by itself."
            ),
        ),
    )
    capabilities = frozenset({Capability.INSTALL})
    # files have one place, and one use
    installs = frozenset({KeyUse.TLS, KeyUse.NONE})
    pin_setting = "host_key_fingerprint"
    patience = 60.0
    step_timeout: ClassVar[float] = 10.0
    """Seconds of each step: connecting, signing in, one operation on a file."""
    command_timeout: ClassVar[float] = 30.0
    """Seconds of the reload command."""

    def present(self) -> Presented:
        """The host key, as the host shows it before anybody signs in."""
        deadline = time.monotonic() + self.step_timeout
        key = _shown_host_key(self.target.host, self.setting("port"), deadline)
        return Presented(fingerprint_of(key), f"{key.get_name()}, {key.get_bits()} bit")

    def install(self, material: Material) -> None:
        """Stage both files, rename the key and then the certificate over the former ones, reload."""
        deadline = time.monotonic() + self.patience - self.command_timeout
        with self._signed_in() as client:
            with _files(client, deadline) as files:
                staged = (
                    files.stage(self.setting("key_path"), material.private_key_pem(), is_key=True),
                    files.stage(
                        self.setting("certificate_path"),
                        material.certificate_pem() + material.chain_pem(),
                        is_key=False,
                    ),
                )
                for file in staged:
                    files.put_in_place(file)
            if command := self.setting("reload_command"):
                _run(client, command, self.command_timeout)

    @contextmanager
    def _signed_in(self) -> Iterator[paramiko.SSHClient]:
        password, text = (self.target.secrets.get(name, "") for name in ("password", "private_key"))
        key = _private_key(text) if text else None
        if key is None and not password:
            raise NotConnected(
                "The connector's settings were expected to hold a password or an SSH private key; there is neither. "
                "Enter one."
            )
        pin = _Pin(self.setting("host_key_fingerprint"))
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(pin)
        where = f"{self.target.host}, port {self.setting('port')}"
        try:
            try:
                client.connect(
                    self.target.host,
                    self.setting("port"),
                    self.setting("username"),
                    password=None if key else password,
                    pkey=key,
                    timeout=self.step_timeout,
                    banner_timeout=self.step_timeout,
                    auth_timeout=self.step_timeout,
                    channel_timeout=self.step_timeout,
                    allow_agent=False,
                    look_for_keys=False,
                )
            except DeliveryError:
                raise
            except paramiko.AuthenticationException:
                raise WrongPassword(
                    f"The host did not let the user “{self.setting('username')}” sign in with this "
                    f"{'key' if key else 'password'}. Correct it in the connector's settings, or permit it on "
                    "the host."
                ) from None
            except paramiko.SSHException as error:
                raise ConnectionLost(f"The SSH connection to {where} broke: {error}.") from None
            except OSError as error:
                raise _unreachable(where) from error
            yield client
        finally:
            client.close()


class _Pin(paramiko.MissingHostKeyPolicy):
    """Lets nobody sign in at a host whose key is not the pinned one. Nothing is ever added to it."""

    def __init__(self, expected: str | None) -> None:
        self._expected = expected

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Raise NotConfirmed or WrongFingerprint; paramiko calls this before it signs in."""
        seen = fingerprint_of(key)
        if not self._expected:
            raise NotConfirmed(
                f"The fingerprint of the host's SSH key is not confirmed yet. It shows {seen} ({key.get_name()}). "
                "Compare it on the host with ssh-keygen -l, then confirm it. Nothing was sent.",
                seen=seen,
            )
        if not secrets.compare_digest(seen, self._expected):
            raise WrongFingerprint(
                f"The host was expected to show the SSH key {self._expected}; it shows {seen}. Nothing was sent. "
                "If the host got a new key, confirm it; if not, somebody else answers at its address.",
                seen=seen,
            )


def _unreachable(where: str) -> Unreachable:
    return Unreachable(
        f"No SSH connection to {where}. Check that the host is switched on, its address and port, and firewalls in "
        "between."
    )


def _shown_host_key(host: str, port: int, deadline: float) -> paramiko.PKey:
    left = deadline - time.monotonic()
    try:
        connection = socket.create_connection((host, port), timeout=left)
    except OSError as error:
        raise _unreachable(f"{host}, port {port}") from error
    with connection:
        transport = paramiko.Transport(connection)
        transport.banner_timeout = left
        try:
            transport.start_client(timeout=left)
            return transport.get_remote_server_key()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnexpectedAnswer(
                f"An SSH server was expected at {host}, port {port}; it did not answer as one: {error}."
            ) from error
        finally:
            transport.close()


# --- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Staged:
    temporary: str
    path: str


class _Files:
    """Files on the host, within a deadline; what was staged and not put in place goes."""

    def __init__(self, sftp: paramiko.SFTPClient, deadline: float) -> None:
        self._sftp, self._deadline = sftp, deadline
        self._staged: list[_Staged] = []

    def stage(self, path: str, content: bytes, *, is_key: bool) -> _Staged:
        """Write `content` beside `path`, readable for its owner alone, then with the rights of what it replaces."""
        folder, name = posixpath.split(path)
        staged = _Staged(posixpath.join(folder, f".{name}.{secrets.token_hex(8)}"), path)
        with self._explained(path):
            former = self._stat(path)
            # "x": a file that somebody else put there is not written through
            with self._sftp.open(staged.temporary, "wx") as file:
                self._staged.append(staged)
                file.chmod(0o600)
                file.write(content)
            own = self._sftp.stat(staged.temporary)
            if former is not None and (former.st_uid, former.st_gid) != (own.st_uid, own.st_gid):
                self._sftp.chown(staged.temporary, former.st_uid or 0, former.st_gid or 0)
            if former is not None and former.st_mode is not None:
                mode = stat.S_IMODE(former.st_mode)
                # nobody but its owner and its group ever reads a key
                self._sftp.chmod(staged.temporary, mode & 0o640 if is_key else mode & 0o644)
            elif not is_key:
                self._sftp.chmod(staged.temporary, 0o644)
        return staged

    def put_in_place(self, staged: _Staged) -> None:
        """Rename it over its path, in one step (posix-rename@openssh.com)."""
        with self._explained(staged.path):
            self._sftp.posix_rename(staged.temporary, staged.path)
        self._staged.remove(staged)

    def clean_up(self) -> None:
        """Remove what was staged and is not in place; as well as it goes."""
        for staged in self._staged:
            with suppress(OSError, EOFError, paramiko.SSHException):
                self._sftp.remove(staged.temporary)

    def _stat(self, path: str) -> paramiko.SFTPAttributes | None:
        try:
            return self._sftp.stat(path)
        except FileNotFoundError:
            return None

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _lost()
        channel = self._sftp.get_channel()
        if channel is not None:
            channel.settimeout(min(left, SftpConnector.step_timeout))
        try:
            yield
        except FileNotFoundError as error:
            raise DeviceRefused(
                f"The folder of {path} was expected on the host; it is not there. Make it, or correct the path "
                "in the connector's settings."
            ) from error
        except PermissionError as error:
            raise DeviceRefused(
                f"The user must be permitted to write {path}, and to give it the owner that it has; the host "
                "refused. Permit it on the host, or take another user."
            ) from error
        except (TimeoutError, EOFError, paramiko.SSHException) as error:
            raise _lost() from error
        except OSError as error:
            raise UnexpectedAnswer(
                f"Writing {path} failed on the host: {error}. Is its disk full? Was it renamed over a folder?"
            ) from error


@contextmanager
def _files(client: paramiko.SSHClient, deadline: float) -> Iterator[_Files]:
    try:
        sftp = client.open_sftp()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise DeviceRefused(
            "The host was expected to offer SFTP to this user; it does not. Permit the subsystem sftp in its "
            "sshd_config."
        ) from error
    with sftp:
        files = _Files(sftp, deadline)
        try:
            yield files
        finally:
            files.clean_up()


def _lost() -> ConnectionLost:
    return ConnectionLost(
        "The connection to the host broke, or it did not answer in time. The files may be in place all the same."
    )


# --- the command ------------------------------------------------------------------------------------------


def _run(client: paramiko.SSHClient, command: str, timeout: float) -> None:
    """Run it; at most MOST_OUTPUT bytes are read. Raises UnexpectedAnswer unless it ends with 0 in time."""
    deadline = time.monotonic() + timeout
    try:
        transport = client.get_transport()
        if transport is None:
            raise _lost()
        channel = transport.open_session(timeout=timeout)
        with channel:
            channel.set_combine_stderr(True)
            channel.settimeout(timeout)
            channel.exec_command(command)
            output = _output(channel, deadline)
            status = channel.recv_exit_status() if channel.exit_status_ready() else None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _lost() from error
    if status is None:
        raise UnexpectedAnswer(
            f"The command of the connector's settings was expected to end within {timeout:g} s; it did not. The "
            "files are in place."
        )
    if status != 0:
        said = output[-300:].decode("utf-8", "replace").strip()
        raise UnexpectedAnswer(
            f"The command of the connector's settings was expected to end with 0; it ended with {status}: "
            f"“{said}”. The files are in place. Try it by hand on the host."
        )


def _output(channel: paramiko.Channel, deadline: float) -> bytes:
    """What the command writes until it ends, stops being of interest, or is out of time."""
    output = b""
    while (left := deadline - time.monotonic()) > 0:
        channel.settimeout(left)
        try:
            part = channel.recv(4096)
        except TimeoutError:
            break
        if not part:
            # its output has ended; so does it, mostly at once
            channel.status_event.wait(max(0.0, deadline - time.monotonic()))
            break
        output = (output + part)[-MOST_OUTPUT:]
    return output
