"""Files and commands on a host that somebody has signed in to: staged, put in place, cleaned up; run, bounded."""

from __future__ import annotations

import posixpath
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import paramiko
from django.utils.translation import gettext_noop

from devices.delivery.errors import ConnectionLost, DeviceRefused, UnexpectedAnswer
from devices.texts import Sentence

MOST_OUTPUT = 16 * 1024
"""Bytes of a reload command's output that are read; a message quotes the last 300."""

_NO_FOLDER = Sentence(
    gettext_noop(
        "The folder of %(path)s was expected on the host; it is not there. Make it, or correct the path in the "
        "connector's settings."
    )
)
_NOT_PERMITTED = Sentence(
    gettext_noop(
        "The user must be permitted to write %(path)s, and to give it the owner that it has; the host refused. "
        "Permit it on the host, or take another user."
    )
)
_NOT_WRITTEN = Sentence(
    gettext_noop(
        "%(path)s was expected to be written on the host; that failed: %(problem)s. Is its disk full? Is there a "
        "folder in its place?"
    )
)
_NO_SFTP = gettext_noop(
    "The host was expected to offer SFTP to this user; it does not. Permit the subsystem sftp in its sshd_config."
)
_LOST = gettext_noop(
    "The connection to the host broke, or it did not answer in time. The files may be in place all the same."
)
_NO_END = Sentence(
    gettext_noop(
        "The command of the connector's settings was expected to end within %(seconds)s s; it did not. The files are "
        "in place. Try the command by hand on the host."
    )
)
_FAILED = Sentence(
    gettext_noop(
        "The command of the connector's settings was expected to end with 0; it ended with %(status)s: “%(said)s”. "
        "The files are in place. Try it by hand on the host."
    )
)


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written, and not in place yet."""

    temporary: str
    path: str


class Files:
    """Files on the host, within a deadline; what was staged and not put in place goes."""

    def __init__(self, sftp: paramiko.SFTPClient, deadline: float, step_timeout: float) -> None:
        self._sftp, self._deadline, self._step_timeout = sftp, deadline, step_timeout
        self._staged: list[Staged] = []

    def stage(self, path: str, content: bytes, *, is_key: bool) -> Staged:
        """Write `content` beside `path`, readable for its owner alone, then with the rights of what it replaces."""
        folder, name = posixpath.split(path)
        staged = Staged(posixpath.join(folder, f".{name}.{secrets.token_hex(8)}"), path)
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

    def put_in_place(self, staged: Staged) -> None:
        """Rename it over its path, in one step (posix-rename@openssh.com)."""
        with self._explained(staged.path):
            self._sftp.posix_rename(staged.temporary, staged.path)
        self._staged.remove(staged)

    def is_there(self, path: str) -> bool:
        """Whether the file exists. Raises DeviceRefused when its folder does not."""
        with self._explained(path):
            self._sftp.stat(posixpath.dirname(path))
            return self._stat(path) is not None

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
            channel.settimeout(min(left, self._step_timeout))
        try:
            yield
        except FileNotFoundError as error:
            raise DeviceRefused(_NO_FOLDER(path=path)) from error
        except PermissionError as error:
            raise DeviceRefused(_NOT_PERMITTED(path=path)) from error
        except (TimeoutError, EOFError, paramiko.SSHException) as error:
            raise _lost() from error
        except OSError as error:
            raise UnexpectedAnswer(_NOT_WRITTEN(path=path, problem=error)) from error


@contextmanager
def open_files(client: paramiko.SSHClient, *, deadline: float, step_timeout: float) -> Iterator[Files]:
    """The host's files until the block ends; `deadline` of time.monotonic, `step_timeout` in seconds.

    Raises DeviceRefused.
    """
    try:
        sftp = client.open_sftp()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise DeviceRefused(_NO_SFTP) from error
    with sftp:
        files = Files(sftp, deadline, step_timeout)
        try:
            yield files
        finally:
            files.clean_up()


def _lost() -> ConnectionLost:
    return ConnectionLost(_LOST)


# --- the command ------------------------------------------------------------------------------------------


def run(client: paramiko.SSHClient, command: str, timeout: float) -> None:
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
        raise UnexpectedAnswer(_NO_END(seconds=f"{timeout:g}"))
    if status != 0:
        said = output[-300:].decode("utf-8", "replace").strip()
        raise UnexpectedAnswer(_FAILED(status=status, said=said))


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
