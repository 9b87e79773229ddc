"""The lifecycle of one restart of a device: states, events and the one table of transitions (R7, R13).

Rules of the house:
- A state changes only as TRANSITIONS says; anything else raises `RestartTransitionRefused`.
- A device that may have been asked is looked at before it is asked again.
- A closed state has no way out. Another restart is another row.

Pure: no Django, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType


class RestartState(StrEnum):
    """Where a restart stands. The values are stored."""

    WAITING = "waiting"
    """The device was certainly not asked, or certainly did not take it."""
    REQUESTED = "requested"
    """The device may have been asked to restart; its answer is not known."""
    COMING_BACK = "coming_back"
    """The device said that it restarts, or was seen doing so."""
    DONE = "done"
    """The device is back, and has started anew since it was asked."""
    FAILED = "failed"
    """Given up: nobody answered, it did not come back, or it cannot be told whether it restarted."""
    REFUSED = "refused"
    """The device said no, and another try would not change that."""


class RestartEvent(StrEnum):
    """What can happen to a restart."""

    ASK = "ask"
    """The first byte of the request is about to go out."""
    NOT_READY = "not ready"
    """The device is busy or does not answer, and tries are left."""
    ACCEPTED = "accepted"
    """The device said that it restarts, or was seen doing so."""
    NOT_TAKEN = "not taken"
    """The device has certainly not taken the request: it may be asked again."""
    UNCERTAIN = "uncertain"
    """Whether the device took the request is not known yet; it is looked at again."""
    STILL_AWAY = "still away"
    """The device is not back yet."""
    CAME_BACK = "came back"
    """The device answers, and has started anew since it was asked."""
    REFUSED = "refused"
    """The device said no."""
    GIVEN_UP = "given up"
    """No try is left, the device stayed away too long, or there is nothing to ask it with."""


TRANSITIONS: Mapping[tuple[RestartState, RestartEvent], RestartState] = MappingProxyType(
    {
        (RestartState.WAITING, RestartEvent.ASK): RestartState.REQUESTED,
        (RestartState.WAITING, RestartEvent.NOT_READY): RestartState.WAITING,
        (RestartState.WAITING, RestartEvent.REFUSED): RestartState.REFUSED,
        (RestartState.WAITING, RestartEvent.GIVEN_UP): RestartState.FAILED,
        (RestartState.REQUESTED, RestartEvent.ACCEPTED): RestartState.COMING_BACK,
        (RestartState.REQUESTED, RestartEvent.NOT_TAKEN): RestartState.WAITING,
        (RestartState.REQUESTED, RestartEvent.UNCERTAIN): RestartState.REQUESTED,
        (RestartState.REQUESTED, RestartEvent.CAME_BACK): RestartState.DONE,
        (RestartState.REQUESTED, RestartEvent.REFUSED): RestartState.REFUSED,
        (RestartState.REQUESTED, RestartEvent.GIVEN_UP): RestartState.FAILED,
        (RestartState.COMING_BACK, RestartEvent.STILL_AWAY): RestartState.COMING_BACK,
        (RestartState.COMING_BACK, RestartEvent.CAME_BACK): RestartState.DONE,
        (RestartState.COMING_BACK, RestartEvent.GIVEN_UP): RestartState.FAILED,
    }
)

OPEN_RESTART_STATES = frozenset({RestartState.WAITING, RestartState.REQUESTED, RestartState.COMING_BACK})
CLOSED_RESTART_STATES = frozenset(RestartState) - OPEN_RESTART_STATES


class RestartTransitionRefused(Exception):
    """An event that the state does not know. Expected: an entry of TRANSITIONS."""

    def __init__(self, state: RestartState, event: RestartEvent) -> None:
        known = ", ".join(sorted(e.value for s, e in TRANSITIONS if s is state)) or "none: it is closed"
        super().__init__(f"a restart that is {state.value} cannot meet {event.value!r}; it knows {known}")
        self.state = state
        self.event = event


def next_restart_state(state: RestartState, event: RestartEvent) -> RestartState:
    """The state after `event`. Raises RestartTransitionRefused for a pair that TRANSITIONS does not hold."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise RestartTransitionRefused(state, event) from None


# --- how long, and how often ------------------------------------------------------------------------------

MOST_TRIES = 12
"""Tries to ask a device that is busy or does not answer, before the restart is given up: about 9 minutes."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(seconds=60)
"""Between two tries; doubled each time."""

BACK_WITHIN = timedelta(minutes=15)
"""How long after it was asked a device may stay away."""

SETTLED_AFTER = timedelta(seconds=30)
"""A device that still runs as before this long after it may have been asked has not taken the request: some
answer first and go down a while later."""

IDLE_MINUTES, LONGEST_IDLE_MINUTES = 9, 1440
"""How long one waits by default, and at most, until a device is idle."""

_MOST_BUSY_TRIES = 5
"""Of the tries that count: how often it was busy must not use up those for a device that does not answer."""

_FIRST_LOOK, _RAREST_LOOK = timedelta(seconds=2), timedelta(seconds=30)


def next_try(*, now: datetime, tries: int) -> datetime | None:
    """When a device that was tried `tries` times (from 1) is tried again; None when no try is left."""
    if tries >= MOST_TRIES:
        return None
    doubled: int = 2 ** (tries - 1)
    return now + min(FIRST_WAIT * doubled, LONGEST_WAIT)


def next_idle_look(
    *, now: datetime, since: datetime, tries: int, minutes: int
) -> tuple[datetime | None, int]:
    """When to look again whether a device is idle that was tried `tries` times (from 1), and the tries that count.

    `since` is when the restart was wished for; None once `minutes` would have passed.
    """
    tries = min(tries, _MOST_BUSY_TRIES)
    doubled: int = 2 ** (tries - 1)
    at = now + min(FIRST_WAIT * doubled, LONGEST_WAIT)
    return (at if at - since <= timedelta(minutes=minutes) else None), tries


def next_look(*, now: datetime, requested_at: datetime) -> datetime | None:
    """When to look after a device that was asked at `requested_at` again; None once BACK_WITHIN has passed.

    The longer it is away, the rarer: after a quarter of the time that it is away, 2 s at least and 30 s at most.
    """
    away = now - requested_at
    if away >= BACK_WITHIN:
        return None
    return now + min(max(away / 4, _FIRST_LOOK), _RAREST_LOOK)


# --- has it restarted? ------------------------------------------------------------------------------------


class Restarted(StrEnum):
    """What a look at a device that answers says about a restart."""

    YES = "yes"
    NO = "no"
    UNTOLD = "untold"
    """The device counts nothing by which it could be told, and was not seen away."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was known when the device was asked, and since."""

    at: datetime
    boot_count: int | None
    """How often it had started, as it counts; None: it does not say."""
    seen_away: bool
    """True when it was away at least once since."""


def has_restarted(asked: Asked, *, boot_count: int | None, booted_at: datetime | None) -> Restarted:
    """Compare what a device says now, `None` where it says nothing, with what was known when it was asked.

    A boot counter decides; without one the moment of the last start; without that whether it was seen away.
    """
    if boot_count is not None and asked.boot_count is not None:
        return Restarted.YES if boot_count != asked.boot_count else Restarted.NO
    if booted_at is not None:
        return Restarted.YES if booted_at > asked.at else Restarted.NO
    return Restarted.YES if asked.seen_away else Restarted.UNTOLD
