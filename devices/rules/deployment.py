"""The lifecycle of one delivery of a key with its certificate to its device (F5): states, events, one table.

Rules of the house:
- A state changes only as TRANSITIONS says; anything else raises `DeploymentTransitionRefused`.
- What a device says proves nothing: VERIFIED is reached by a TLS handshake that shows the certificate.
- The former key is kept until then, and comes back when the new one is not served.
- Nothing here costs the certificate: it stays in the key store, whatever becomes of its delivery.

Pure: no Django, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType


class DeploymentState(StrEnum):
    """Where a delivery stands. The values are stored."""

    ISSUED = "issued"
    """The device has not said that it took the key; it may have got it all the same."""
    DELIVERED = "delivered"
    """The device said that it took the key. It is told to use it, and restarts where that is wanted."""
    ACTIVE = "active"
    """The device has been told to use the key; whether it serves the certificate is looked at."""
    VERIFIED = "verified"
    """A TLS handshake with the device showed the certificate."""
    NOT_VERIFIABLE = "not_verifiable"
    """Delivered for a use that no handshake shows, such as IEEE 802.1X."""
    ROLLING_BACK = "rolling_back"
    """The device took the key and does not serve the certificate: the former key is brought back."""
    ROLLED_BACK = "rolled_back"
    """The device serves the former certificate again."""
    FAILED = "failed"
    """Given up; the explanation says what to look at."""


class DeploymentEvent(StrEnum):
    """What can happen to a delivery."""

    SEND = "send"
    """The first byte is about to go out."""
    NOT_TAKEN = "not taken"
    """Not yet: the device is away, busy or silent, the maintenance window is closed, or somebody has to fetch it."""
    TAKEN = "taken"
    """The device said that it took the key."""
    NOT_READY = "not ready"
    """It is restarting, or could not be told to use the key for now."""
    ACTIVATED = "activated"
    """It was told to use the key, and has restarted where that was wanted."""
    SEEN = "seen"
    """It serves the certificate."""
    NOT_SEEN = "not seen"
    """It serves another one, or cannot be looked at."""
    CANNOT_BE_SEEN = "cannot be seen"
    """The key's use shows in no handshake."""
    TAKE_BACK = "take back"
    """It went on serving another certificate: the former key is to come back."""
    NOT_BACK_YET = "not back yet"
    """The former key could not be brought back for now."""
    BROUGHT_BACK = "brought back"
    """It serves the former certificate."""
    REMOVED = "removed"
    """The former key is gone from the device."""
    NOT_REMOVED = "not removed"
    """The former key could not be deleted from the device for now."""
    REFUSED = "refused"
    """The device said no, or something has to be changed first."""
    GIVEN_UP = "given up"
    """No try is left."""
    AGAIN = "deliver again"
    """Somebody asked for it, or changed what it had failed for."""


_S, _E = DeploymentState, DeploymentEvent

TRANSITIONS: Mapping[tuple[DeploymentState, DeploymentEvent], DeploymentState] = MappingProxyType(
    {
        (_S.ISSUED, _E.SEND): _S.ISSUED,
        (_S.ISSUED, _E.NOT_TAKEN): _S.ISSUED,
        (_S.ISSUED, _E.TAKEN): _S.DELIVERED,
        (_S.ISSUED, _E.SEEN): _S.VERIFIED,
        (_S.ISSUED, _E.REFUSED): _S.FAILED,
        (_S.ISSUED, _E.GIVEN_UP): _S.FAILED,
        (_S.ISSUED, _E.AGAIN): _S.ISSUED,
        (_S.DELIVERED, _E.NOT_READY): _S.DELIVERED,
        (_S.DELIVERED, _E.ACTIVATED): _S.ACTIVE,
        (_S.DELIVERED, _E.REFUSED): _S.FAILED,
        (_S.DELIVERED, _E.GIVEN_UP): _S.FAILED,
        (_S.ACTIVE, _E.SEEN): _S.VERIFIED,
        (_S.ACTIVE, _E.NOT_SEEN): _S.ACTIVE,
        (_S.ACTIVE, _E.CANNOT_BE_SEEN): _S.NOT_VERIFIABLE,
        (_S.ACTIVE, _E.TAKE_BACK): _S.ROLLING_BACK,
        (_S.ACTIVE, _E.GIVEN_UP): _S.FAILED,
        (_S.VERIFIED, _E.REMOVED): _S.VERIFIED,
        (_S.VERIFIED, _E.NOT_REMOVED): _S.VERIFIED,
        (_S.VERIFIED, _E.AGAIN): _S.ISSUED,
        (_S.NOT_VERIFIABLE, _E.AGAIN): _S.ISSUED,
        (_S.ROLLING_BACK, _E.NOT_BACK_YET): _S.ROLLING_BACK,
        (_S.ROLLING_BACK, _E.BROUGHT_BACK): _S.ROLLED_BACK,
        (_S.ROLLING_BACK, _E.SEEN): _S.VERIFIED,
        (_S.ROLLING_BACK, _E.GIVEN_UP): _S.FAILED,
        (_S.ROLLED_BACK, _E.AGAIN): _S.ISSUED,
        (_S.FAILED, _E.AGAIN): _S.ISSUED,
    }
)

OPEN_DEPLOYMENT_STATES = frozenset({_S.ISSUED, _S.DELIVERED, _S.ACTIVE, _S.ROLLING_BACK})
CLOSED_DEPLOYMENT_STATES = frozenset(DeploymentState) - OPEN_DEPLOYMENT_STATES
"""Nothing happens any more by itself, but that a former key may still be deleted after VERIFIED."""


class DeploymentTransitionRefused(Exception):
    """An event that the state does not know. Expected: an entry of TRANSITIONS."""

    def __init__(self, state: DeploymentState, event: DeploymentEvent) -> None:
        known = ", ".join(sorted(e.value for s, e in TRANSITIONS if s is state))
        super().__init__(f"a delivery that is {state.value} cannot meet {event.value!r}; it knows {known}")
        self.state = state
        self.event = event


def next_deployment_state(state: DeploymentState, event: DeploymentEvent) -> DeploymentState:
    """The state after `event`. Raises DeploymentTransitionRefused for a pair that TRANSITIONS does not hold."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise DeploymentTransitionRefused(state, event) from None


# --- how long, and how often ------------------------------------------------------------------------------

WITHIN = timedelta(days=7)
"""How long a device that is away or busy is tried: one that is switched off over a holiday gets its key after it."""

_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=1)

LOOKS = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 15, 30, 30, 30, 60, 60, 60))
"""Waits between looks at a device that serves another certificate: two minutes, then three more. After the last
the former key comes back."""

BY_HAND_EVERY = timedelta(minutes=15)
"""Between looks at a device that somebody has to restart by hand, once LOOKS are over; until WITHIN has passed."""

MOST_REMOVALS = 6
"""Tries to delete the former key from the device, before that is left to people: about five minutes."""


def next_try(*, now: datetime, tries: int, since: datetime) -> datetime | None:
    """When a device that was tried `tries` times (from 1), first at `since`, is tried again; None: given up.

    After 10 s, doubled each time, an hour at most; until WITHIN has passed.
    """
    if now - since >= WITHIN:
        return None
    # beyond the longest wait doubling says nothing, and would overflow in the end
    doubled: int = 2 ** min(tries - 1, 16)
    return now + min(_FIRST_WAIT * doubled, _LONGEST_WAIT)


def next_look(*, now: datetime, looks: int, by_hand_since: datetime | None = None) -> datetime | None:
    """When to look again at a device that was seen `looks` times (from 1) with another certificate; None: enough.

    `by_hand_since` is the time since when somebody has to restart it by hand: people are waited for until WITHIN has
    passed.
    """
    if looks <= len(LOOKS):
        return now + LOOKS[looks - 1]
    if by_hand_since is not None and now - by_hand_since < WITHIN:
        return now + BY_HAND_EVERY
    return None
