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
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar

import paramiko
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors.base import Capability, Connector, Presented
from devices.delivery.connectors.material import Material
from devices.delivery.connectors.self_test import Finding, SelfTesting
from devices.delivery.connectors.settings import Kind, Setting
from devices.delivery.connectors.sftp_files import open_files, run
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    NotConfirmed,
    NotConnected,
    UnexpectedAnswer,
    Unreachable,
    WrongFingerprint,
    WrongPassword,
)
from devices.rules.keys import KeyUse
from devices.texts import Sentence, localized

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PRIVATE_KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

_NEITHER = gettext_noop(
    "The connector's settings were expected to hold a password or an SSH private key; there is neither. Enter one."
)
_WRONG_KEY = Sentence(
    gettext_noop(
        "The host did not let the user “%(user)s” sign in with this key. Correct it in the connector's settings, or "
        "permit it on the host."
    )
)
_WRONG_PASSWORD = Sentence(
    gettext_noop(
        "The host did not let the user “%(user)s” sign in with this password. Correct it in the connector's "
        "settings, or permit it on the host."
    )
)
_BROKE = Sentence(
    gettext_noop("The SSH connection to %(host)s, port %(port)s broke: %(problem)s. It is tried again.")
)
_NOT_CONFIRMED = Sentence(
    gettext_noop(
        "The fingerprint of the host's SSH key is not confirmed yet. It shows %(seen)s (%(kind)s). Compare it on the "
        "host with ssh-keygen -l, then confirm it. Nothing was sent."
    )
)
_ANOTHER = Sentence(
    gettext_noop(
        "The host was expected to show the SSH key %(pinned)s; it shows %(seen)s. Nothing was sent. If the host got "
        "a new key, confirm it; if not, somebody else answers at its address."
    )
)
_NO_CONNECTION = Sentence(
    gettext_noop(
        "No SSH connection to %(host)s, port %(port)s. Check that the host is switched on, its address and port, and "
        "firewalls in between."
    )
)
_NO_SSH = Sentence(
    gettext_noop(
        "An SSH server was expected at %(host)s, port %(port)s; it did not answer as one: %(problem)s. Check the "
        "port in the connector's settings."
    )
)


def fingerprint_of(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _kind_of(key: paramiko.PKey) -> str:
    """As OpenSSH names the file of a host key: ed25519, ecdsa, rsa."""
    return key.get_name().removeprefix("ssh-").partition("-")[0]


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


class SftpConnector(Connector, SelfTesting):
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
                "For example sudo systemctl reload cups. Empty where the service looks by itself. Operators who "
                "change it enter the password or the key again."
            ),
            # whoever may change it would else do on the host what the password permits, without knowing it
            is_address=True,
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
    hand_over_seconds: ClassVar[float] = 2.0
    """Within which a server that reloads may answer with either certificate: old and new processes of nginx accept
    side by side for 0.1 s, and one handshake during it proves nothing."""

    def present(self) -> Presented:
        """The host key, as the host shows it before anybody signs in."""
        deadline = time.monotonic() + self.step_timeout
        key = _shown_host_key(self.target.host, self.setting("port"), deadline)
        return Presented(
            fingerprint_of(key),
            f"{key.get_name()}, {key.get_bits()} bit",
            shown_by=f"ssh-keygen -lf /etc/ssh/ssh_host_{_kind_of(key)}_key.pub",
        )

    @property
    def settle_seconds(self) -> float:
        """The hand-over, where a command has the service read the files."""
        return self.hand_over_seconds if self.setting("reload_command") else 0.0

    def install(self, material: Material) -> None:
        """Stage both files, rename the key and then the certificate over the former ones, reload."""
        deadline = time.monotonic() + self.patience - self.command_timeout
        with self._signed_in() as client:
            with open_files(client, deadline=deadline, step_timeout=self.step_timeout) as files:
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
                run(client, command, self.command_timeout)

    def self_test(self) -> Sequence[Finding]:
        """Sign in, and look at the files' places; nothing is written and no command is run."""
        findings: list[Finding] = []
        doing = _("Sign in")
        deadline = time.monotonic() + self.patience - self.command_timeout
        try:
            with (
                self._signed_in() as client,
                open_files(client, deadline=deadline, step_timeout=self.step_timeout) as files,
            ):
                findings.append(
                    Finding(doing, True, _("The host key is the confirmed one, and the user may sign in."))
                )
                for name in ("key_path", "certificate_path"):
                    doing = self.setting(name)
                    is_there = files.is_there(doing)
                    found = _("It is there and would be replaced.") if is_there else _("It would be made.")
                    findings.append(Finding(doing, True, found))
        except DeliveryError as error:
            findings.append(Finding(doing, False, localized(str(error))))
        return findings

    @contextmanager
    def _signed_in(self) -> Iterator[paramiko.SSHClient]:
        password, text = (self.target.secrets.get(name, "") for name in ("password", "private_key"))
        key = _private_key(text) if text else None
        if key is None and not password:
            raise NotConnected(_NEITHER)
        pin = _Pin(self.setting("host_key_fingerprint"))
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(pin)
        host, port, user = self.target.host, self.setting("port"), self.setting("username")
        try:
            try:
                client.connect(
                    host,
                    port,
                    user,
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
                raise WrongPassword((_WRONG_KEY if key else _WRONG_PASSWORD)(user=user)) from None
            except paramiko.SSHException as error:
                raise ConnectionLost(_BROKE(host=host, port=port, problem=error)) from None
            except OSError as error:
                raise Unreachable(_NO_CONNECTION(host=host, port=port)) from error
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
            raise NotConfirmed(_NOT_CONFIRMED(seen=seen, kind=key.get_name()), seen=seen)
        if not secrets.compare_digest(seen, self._expected):
            raise WrongFingerprint(_ANOTHER(pinned=self._expected, seen=seen), seen=seen)


def _shown_host_key(host: str, port: int, deadline: float) -> paramiko.PKey:
    left = deadline - time.monotonic()
    try:
        connection = socket.create_connection((host, port), timeout=left)
    except OSError as error:
        raise Unreachable(_NO_CONNECTION(host=host, port=port)) from error
    with connection:
        transport = paramiko.Transport(connection)
        transport.banner_timeout = left
        try:
            transport.start_client(timeout=left)
            return transport.get_remote_server_key()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise UnexpectedAnswer(_NO_SSH(host=host, port=port, problem=error)) from error
        finally:
            transport.close()
