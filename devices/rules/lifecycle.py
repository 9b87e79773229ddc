"""The lifecycle of one certificate issuance request: states, events and the one table of transitions.

Rules of the house:
- A state changes only as TRANSITIONS says; anything else raises `TransitionRefused`.
- A closed state has no way out. What comes next for the device is a new request.
- Every state shows as exactly one of the manual's four [Status] values (R16).

Pure: no Django, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a request stands. The values are stored."""

    SCHEDULED = "scheduled"
    """Waits for its request time; nothing was made or sent."""
    PREPARED = "prepared"
    """Key, CSR and transaction ID are stored; the server has certainly not seen the request."""
    SENT = "sent"
    """The request may have reached the server; its outcome is not known."""
    PENDING = "pending"
    """The server answered PENDING (RFC 8894 section 3.3.3)."""
    SUCCESSFUL = "successful"
    """The certificate was issued and registered."""
    FAILED = "failed"
    """Ended with one of R17's [Details]."""


class Event(StrEnum):
    """What can happen to a request."""

    PREPARE = "prepare"
    """The request time has come: key, CSR and transaction ID are made."""
    KEY_LIMIT = "key limit reached"
    """The device cannot hold another key (R11: never polled)."""
    SEND = "send"
    """The first byte of the request is about to go out."""
    ISSUED = "issued"
    """CertRep SUCCESS, and the certificate is ours."""
    DEFERRED = "deferred"
    """CertRep PENDING, and polls are left."""
    UNREACHABLE = "unreachable"
    """No connection or no answer in time, and polls are left."""
    GIVEN_UP = "given up"
    """PENDING or no connection, and no poll is left; or nothing to send the request with."""
    REFUSED = "refused"
    """The answer carries an error, or the server has one (R11: never polled)."""


class Status(StrEnum):
    """The manual's [Status] (R16), as the API spells it."""

    TO_BE_PROCESSED = "to_be_processed"
    PROCESSING = "processing"
    ERROR = "error"
    SUCCESSFUL = "successful"


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.SCHEDULED, Event.PREPARE): State.PREPARED,
        (State.SCHEDULED, Event.KEY_LIMIT): State.FAILED,
        (State.SCHEDULED, Event.GIVEN_UP): State.FAILED,
        (State.PREPARED, Event.SEND): State.SENT,
        (State.PREPARED, Event.UNREACHABLE): State.PREPARED,
        (State.PREPARED, Event.GIVEN_UP): State.FAILED,
        (State.PREPARED, Event.REFUSED): State.FAILED,
        (State.SENT, Event.ISSUED): State.SUCCESSFUL,
        (State.SENT, Event.DEFERRED): State.PENDING,
        (State.SENT, Event.UNREACHABLE): State.SENT,
        (State.SENT, Event.GIVEN_UP): State.FAILED,
        (State.SENT, Event.REFUSED): State.FAILED,
        (State.PENDING, Event.ISSUED): State.SUCCESSFUL,
        (State.PENDING, Event.DEFERRED): State.PENDING,
        (State.PENDING, Event.UNREACHABLE): State.PENDING,
        (State.PENDING, Event.GIVEN_UP): State.FAILED,
        (State.PENDING, Event.REFUSED): State.FAILED,
    }
)

STATUS: Mapping[State, Status] = MappingProxyType(
    {
        State.SCHEDULED: Status.TO_BE_PROCESSED,
        State.PREPARED: Status.PROCESSING,
        State.SENT: Status.PROCESSING,
        State.PENDING: Status.PROCESSING,
        State.SUCCESSFUL: Status.SUCCESSFUL,
        State.FAILED: Status.ERROR,
    }
)

OPEN_STATES = frozenset({State.SCHEDULED, State.PREPARED, State.SENT, State.PENDING})
UNDER_WAY_STATES = OPEN_STATES - {State.SCHEDULED}
CLOSED_STATES = frozenset(State) - OPEN_STATES

DETAILS_DEFERRED = "Deferred"
DETAILS_KEY_LIMIT = "Key and Certificate Registration Limit Error"
DETAILS_UNREACHABLE = "Communication Error (TOP ERROR)"


class TransitionRefused(Exception):
    """An event that the state does not know. Expected: an entry of TRANSITIONS."""

    def __init__(self, state: State, event: Event) -> None:
        known = ", ".join(sorted(e.value for s, e in TRANSITIONS if s is state)) or "none: it is closed"
        super().__init__(f"a request that is {state.value} cannot meet {event.value!r}; it knows {known}")
        self.state = state
        self.event = event


def next_state(state: State, event: Event) -> State:
    """The state after `event`. Raises TransitionRefused for a pair that TRANSITIONS does not hold."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(state, event) from None


def states_of(status: Status) -> frozenset[State]:
    """The states that show as `status`; the inverse of STATUS."""
    return frozenset(state for state, shown in STATUS.items() if shown is status)
