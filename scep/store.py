"""What the responder remembers: transactions, revocations, which messages came. In memory, or in a directory."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction. `csr` and `certificate` are DER; `certificate` is None until it is issued.

    `public_key_sha256` is of the key that signs the transaction's messages.
    """

    transaction_id: str
    public_key_sha256: str
    csr: bytes = field(repr=False)
    pending_left: int = 0
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """One pkiMessage that came in. Never holds the challenge password."""

    at: datetime
    message_type: str
    transaction_id: str
    public_key_sha256: str
    common_name: str
    """What the certificate is asked for, where known; not every client signs under that name."""
    outcome: str
    """`issued`, `again` (the same certificate once more), `pending`, or `failure N`."""


class Store(Protocol):
    """Called by the responder under its lock."""

    def find(self, transaction_id: str) -> Entry | None:
        """The transaction, or None."""

    def save(self, entry: Entry) -> None:
        """Keep `entry` in place of the one with the same transaction ID."""

    def issued(self) -> Iterable[bytes]:
        """The DER of every certificate issued."""

    def certificate(self, serial_number: int) -> bytes | None:
        """The DER of the certificate issued with this serial number, or None."""

    def revoke(self, serial_number: int, at: datetime) -> None:
        """Count the certificate as revoked since `at`."""

    def revoked(self) -> Mapping[int, datetime]:
        """Since when which serial numbers are revoked."""

    def log(self, message: Logged) -> None:
        """Append to the log of messages."""

    def messages(self) -> list[Logged]:
        """The log of messages, oldest first."""


class MemoryStore:
    """Forgets everything with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._certificates: dict[int, bytes] = {}
        self._revoked: dict[int, datetime] = {}
        self._messages: list[Logged] = []

    def find(self, transaction_id: str) -> Entry | None:
        """The transaction, or None."""
        return self._entries.get(transaction_id)

    def save(self, entry: Entry) -> None:
        """Keep `entry` in place of the one with the same transaction ID."""
        self._entries[entry.transaction_id] = entry
        if entry.certificate is not None:
            serial_number = x509.load_der_x509_certificate(entry.certificate).serial_number
            self._certificates[serial_number] = entry.certificate

    def issued(self) -> Iterable[bytes]:
        """The DER of every certificate issued."""
        return self._certificates.values()

    def certificate(self, serial_number: int) -> bytes | None:
        """The DER of the certificate issued with this serial number, or None."""
        return self._certificates.get(serial_number)

    def revoke(self, serial_number: int, at: datetime) -> None:
        """Count the certificate as revoked since `at`; what was revoked before stays as it was."""
        self._revoked.setdefault(serial_number, at)

    def revoked(self) -> Mapping[int, datetime]:
        """Since when which serial numbers are revoked."""
        return self._revoked

    def log(self, message: Logged) -> None:
        """Append to the log of messages."""
        self._messages.append(message)

    def messages(self) -> list[Logged]:
        """The log of messages, oldest first."""
        return list(self._messages)


class DirectoryStore(MemoryStore):
    """Also keeps it in files, and goes on with them: transactions/*.json, issued/SERIAL.pem,
    revoked.json, messages.jsonl.

    `messages()` returns those since this object was made, the file has all. A transaction's file holds its CSR,
    and with it the challenge password: mode 0600.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._transactions = directory / "transactions"
        self._issued = directory / "issued"
        self._revocations = directory / "revoked.json"
        self._log = directory / "messages.jsonl"
        for folder in (self._transactions, self._issued):
            folder.mkdir(parents=True, exist_ok=True)
        for path in self._transactions.glob("*.json"):
            stored = json.loads(path.read_text())
            entry = Entry(
                transaction_id=stored["transaction_id"],
                public_key_sha256=stored["public_key_sha256"],
                csr=base64.b64decode(stored["csr"]),
                pending_left=stored["pending_left"],
                certificate=base64.b64decode(stored["certificate"]) if stored["certificate"] else None,
            )
            super().save(entry)
            # killed between the two files of one certificate
            self._publish(entry)
        if self._revocations.exists():
            for serial_number, at in json.loads(self._revocations.read_text()).items():
                super().revoke(int(serial_number, 16), datetime.fromisoformat(at))

    def revoke(self, serial_number: int, at: datetime) -> None:
        """On the disk too."""
        super().revoke(serial_number, at)
        stored = {f"{number:x}": since.isoformat() for number, since in self.revoked().items()}
        _write(self._revocations, json.dumps(stored).encode())

    def save(self, entry: Entry) -> None:
        """On the disk first: a certificate that was handed out is never forgotten."""
        stored = asdict(entry) | {
            "csr": base64.b64encode(entry.csr).decode(),
            "certificate": base64.b64encode(entry.certificate).decode() if entry.certificate else None,
        }
        # a transaction ID is the client's choice and no file name
        name = hashlib.sha256(entry.transaction_id.encode()).hexdigest()
        _write(self._transactions / f"{name}.json", json.dumps(stored).encode())
        self._publish(entry)
        super().save(entry)

    def _publish(self, entry: Entry) -> None:
        if entry.certificate is not None:
            certificate = x509.load_der_x509_certificate(entry.certificate)
            path = self._issued / f"{certificate.serial_number:x}.pem"
            if not path.exists():
                _write(path, certificate.public_bytes(Encoding.PEM))

    def log(self, message: Logged) -> None:
        """Append a line to messages.jsonl."""
        with self._log.open("a") as file:
            file.write(json.dumps(asdict(message), default=_plain) + "\n")
        super().log(message)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not belong into the log")


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, with mode 0600."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
