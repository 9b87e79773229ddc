"""What the walk remembers from record to record, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.simulation.expectations import Next
from tests.simulation.records import Asked, Done, Held, Line, Message, Settings
from tests.simulation.walk_certificates import Parameters


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that was broken, where, and how."""

    rule: str
    device: str
    sequence: int
    at: datetime
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.device} line {self.sequence}, {self.at:%Y-%m-%d %H:%M:%S}: {self.text}"


@dataclass(slots=True)
class RequestState:
    """What is known of the request that a device has open."""

    sequence: int
    parameters: Parameters
    polls_left: int
    interval: timedelta
    room: bool
    """Whether the key store had room when the request was taken up."""
    due_at: datetime
    """Not to be looked at before."""
    interrupted: bool = False
    """A worker was killed over it, or a ring for it was lost: the lease has to run out first."""
    messages: list[Message] = field(default_factory=list)
    """Of the step that is being taken, or was taken last."""
    done: Done | None = None
    """The end of that step, until it is judged."""
    registered: bool = False
    """Whether the key store has changed since it succeeded."""


@dataclass(slots=True)
class DeviceState:
    """What is known of a device."""

    settings: Settings | None = None
    saved_at: datetime | None = None
    """When an administrator saved them last."""
    offset: int | None = None
    lines: dict[int, Line] = field(default_factory=dict)
    newest: int = 0
    held: Held | None = None
    request: RequestState | None = None
    asked: Asked | None = None
    next: Next | None = None
    """What has to wait now."""
    last_ended: Line | None = None
    """Of the automatic requests."""
    deleted_at: datetime | None = None
    audited: list[Line] = field(default_factory=list)
    """Ended lines that the audit trail has to tell of."""
