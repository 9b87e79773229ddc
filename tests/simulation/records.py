"""What a simulated year leaves behind: plain values, in the order in which they came to be.

The walk reads these and nothing else. Every datetime is aware; `device` and `server` are names; `sequence` is
the number of a line in its device's status log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Settings:
    """What an administrator entered for a device (R9 to R15).

    `start` is [Request Start Date/Time] as on a wall clock in `zone`, `2027-03-01T05:30:00`. Intervals of polls
    are seconds, those of requests days; None: not by this rule.
    """

    timer: bool
    start: str
    zone: str
    auto_adjust: bool
    polling_count: int
    polling_interval: int
    interval_days: int | None
    renew_at_percent: int | None
    renew_days_before: int | None
    delete_old_key: bool
    key_name: str
    key_use: str
    ipsec_destination: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A SCEP server and its allowance, from `at` on; None: no limit."""

    at: datetime
    server: str
    per_minute: int | None
    at_once: int | None


@dataclass(frozen=True, slots=True)
class Saved:
    """An administrator saved settings; `offset` is what the device shows as drawn afterwards, in seconds."""

    at: datetime
    device: str
    settings: Settings
    offset: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An administrator sent a manual request (R4)."""

    at: datetime
    device: str
    key_name: str
    key_use: str
    ipsec_destination: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """An administrator removed the device."""

    at: datetime
    device: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A dispatcher claimed these requests of one server, (device, sequence) each, and rang for them."""

    at: datetime
    server: str
    requests: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody heard the ring for this request."""

    at: datetime
    device: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Began:
    """A worker took one step of a request up."""

    at: datetime
    device: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP request of a step, seen from the SCEP server's side, and what its client got for it.

    `kind` is the operation, or the messageType where the server could read it. `answer` is `ok` (GetCACaps,
    GetCACert), `issued`, `again` (the same certificate once more), `pending`, `failure N`, `http N`, `forged` (an
    answer to somebody else), `unreachable` (no connection, or no answer), or `killed` (so was the worker).
    """

    at: datetime
    sent_at: datetime
    device: str
    sequence: int
    server: str
    kind: str
    answer: str
    transaction: str = ""

    @property
    def is_scep(self) -> bool:
        """True for a pkiMessage."""
        return self.kind not in ("GetCACaps", "GetCACert")


@dataclass(frozen=True, slots=True)
class Done:
    """The step is over; or its worker is, without a word."""

    at: datetime
    device: str
    sequence: int
    killed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a status log, whenever it is not what it was before.

    `status` is `to_be_processed`, `processing`, `error` or `successful` (R16); `due_at` is when somebody looks
    at it next; `trigger` is `manual`, `timer` or `periodic`.
    """

    at: datetime
    device: str
    sequence: int
    trigger: str
    status: str
    details: str
    request_at: datetime
    offset: int
    due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    transaction: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a device's key store, named by its certificate's SHA-256."""

    certificate: str
    name: str
    key_use: str
    ipsec_destination: str
    is_default: bool
    not_before: datetime
    not_after: datetime
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """What a device's key store holds, whenever it is not what it was before; `limit` is the key limit.

    `cleared`: an administrator has just removed keys by hand.
    """

    at: datetime
    device: str
    limit: int
    keys: tuple[Key, ...]
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A device as somebody sees it who looks: the lines of its log, oldest first, and [Next Request Date/Time].

    What changed of lines and keys was recorded right before.
    """

    at: datetime
    device: str
    lines: tuple[int, ...]
    next_request_at: datetime | None


@dataclass(frozen=True, slots=True)
class Audited:
    """The audit trail's word on a request that ended: `successful` or `failed`."""

    at: datetime
    device: str
    outcome: str
    transaction: str
    details: str


@dataclass(frozen=True, slots=True)
class Final:
    """A key at the end: its certificate (PEM) and its private key (PKCS #8, DER); one record for each key."""

    at: datetime
    device: str
    key: Key
    certificate: str
    private_key: bytes = field(repr=False)


Record = (
    Server
    | Saved
    | Asked
    | Deleted
    | Claimed
    | Lost
    | Began
    | Message
    | Done
    | Line
    | Held
    | Seen
    | Audited
    | Final
)
