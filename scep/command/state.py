"""An enrollment that is under way, in its folder: written before anything goes out, so that a kill loses nothing."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from scep.command import files
from scep.command.options import Server
from scep.command.outcome import FileProblem
from scep.exchange import Step
from scep.profile import ServerPolicy
from scep.transaction import EcTransport, RenewalForm, Transaction

STATE = "enrollment.json"
KEY, CERTIFICATE, CHAIN, CA = "key.pem", "certificate.pem", "chain.pem", "ca.pem"
_FORMAT = 1


class Progress(StrEnum):
    """How far it is."""

    PREPARED = "prepared"
    """The server has certainly not seen the request."""
    SENT = "sent"
    """The server may have seen it."""
    PENDING = "pending"
    """The server answered PENDING."""
    ISSUED = "issued"
    """The certificate is here; its files are not all written."""

    @property
    def step(self) -> Step:
        """How to go on with the server."""
        return {Progress.PREPARED: Step.REQUEST, Progress.SENT: Step.INQUIRE}.get(self, Step.POLL)


@dataclass(frozen=True, slots=True)
class Enrollment:
    """All that is needed to go on. It holds the private key and, in the CSR, the challenge password."""

    progress: Progress
    server: Server = field(repr=False)
    policy: ServerPolicy
    transaction: Transaction
    overwrite: bool = False
    """Whether files in the folder may be overwritten by the result."""
    issued: tuple[x509.Certificate, ...] = ()
    """The certificate and its issuers up to a root, which is left out."""
    ca_certificates: tuple[x509.Certificate, ...] = ()

    def to_json(self) -> bytes:
        """As the file holds it."""
        parts: dict[str, Any] = {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in self.transaction.parts().items()
        }
        members = {
            "format": _FORMAT,
            "progress": self.progress,
            "server": dataclasses.asdict(self.server),
            "policy": dataclasses.asdict(self.policy),
            "transaction": parts,
            "overwrite": self.overwrite,
            "issued": _encoded(self.issued),
            "ca_certificates": _encoded(self.ca_certificates),
        }
        return json.dumps(members, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Enrollment:
        """The inverse. Raises ValueError for anything else."""
        try:
            members = json.loads(data)
            if members["format"] != _FORMAT:
                raise ValueError(f"format {_FORMAT} was expected")
            parts, policy = members["transaction"], members["policy"]
            for name in ("private_key", "csr", "signer", "signer_key", "old_certificate"):
                parts[name] = None if parts[name] is None else base64.b64decode(parts[name])
            policy["renewal_form"] = RenewalForm(policy["renewal_form"])
            policy["ec_transport"] = EcTransport(policy["ec_transport"])
            return cls(
                Progress(members["progress"]),
                Server(**members["server"]),
                ServerPolicy(**policy),
                Transaction.restore(**parts),
                bool(members["overwrite"]),
                _decoded(members["issued"]),
                _decoded(members["ca_certificates"]),
            )
        except (KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
            raise ValueError("a member is missing or of the wrong kind") from error


def _encoded(certificates: tuple[x509.Certificate, ...]) -> list[str]:
    return [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]


def _decoded(certificates: list[str]) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_der_x509_certificate(base64.b64decode(each)) for each in certificates)


class Folder:
    """The folder of one enrollment, locked until the block ends: two processes never work in it at once.

    Raises FileProblem where that is not possible, and for every file that cannot be read or written.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._create = create
        self._made = False
        self._descriptor = -1

    def __enter__(self) -> Folder:
        with files.explained(f"use the folder {self.path}"):
            if self._create and not self.path.is_dir():
                self.path.mkdir(mode=0o700, parents=True)
                self._made = True
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._descriptor)
                raise FileProblem(
                    f"Another process is working in {self.path}. Wait for it to end, or end it."
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if self._made:
            # made for an enrollment that left nothing
            with contextlib.suppress(OSError):
                self.path.rmdir()

    @property
    def unfinished(self) -> bool:
        """Whether an enrollment waits here."""
        return os.path.lexists(self.path / STATE)

    def check_free(self) -> None:
        """Raise FileProblem where an enrollment waits, or a file of a former one lies."""
        if self.unfinished:
            raise FileProblem(
                f"An enrollment is under way in {self.path}. Go on with it: python -m scep poll {self.path}; or give "
                "it up, its key included, with --force."
            )
        for name in (KEY, CERTIFICATE, CHAIN, CA):
            if os.path.lexists(self.path / name):
                raise files.in_the_way(self.path / name)

    def load(self) -> Enrollment:
        """The enrollment that waits here."""
        if not self.unfinished:
            done = (self.path / CERTIFICATE).exists()
            raise FileProblem(
                f"{self.path / STATE} was expected, which an enrollment under way leaves; it is not there. "
                + (
                    f"The enrollment has ended: see {self.path / CERTIFICATE}."
                    if done
                    else "Check the folder's name."
                )
            )
        try:
            return Enrollment.from_json(files.read(self.path / STATE))
        except ValueError as error:
            raise FileProblem(
                f"{self.path / STATE} cannot be read: {error}. Enroll anew with --force."
            ) from error

    def save(self, enrollment: Enrollment) -> None:
        """Keep it in place of what was kept."""
        files.write(self.path / STATE, enrollment.to_json(), private=True, overwrite=True)

    def discard(self) -> None:
        """Forget the enrollment, its key included."""
        with files.explained(f"remove {self.path / STATE}"):
            (self.path / STATE).unlink(missing_ok=True)
            files.sync(self.path)

    def finish(self, enrollment: Enrollment) -> dict[str, Path]:
        """Write key and certificates, then forget the enrollment; the paths by what lies there.

        Killed in between, it is done again with the same outcome.
        """
        contents = {
            KEY: files.key_pem(enrollment.transaction.key),
            CERTIFICATE: files.certificates_pem(enrollment.issued[:1]),
            CHAIN: files.certificates_pem(enrollment.issued),
            CA: files.certificates_pem(enrollment.ca_certificates),
        }
        for name, content in contents.items():
            files.write(self.path / name, content, private=name == KEY, overwrite=enrollment.overwrite)
        self.discard()
        return {
            "private_key": self.path / KEY,
            "certificate": self.path / CERTIFICATE,
            "chain": self.path / CHAIN,
            "ca": self.path / CA,
        }
