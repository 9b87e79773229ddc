"""The table of a delivery's transitions, and how long and how often it is tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from devices.rules.deployment import (
    BY_HAND_EVERY,
    CLOSED_DEPLOYMENT_STATES,
    LOOKS,
    OPEN_DEPLOYMENT_STATES,
    TRANSITIONS,
    WITHIN,
    DeploymentEvent,
    DeploymentState,
    DeploymentTransitionRefused,
    next_deployment_state,
    next_look,
    next_try,
)

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)

PERMITTED = """
issued          send            issued
issued          not taken       issued
issued          taken           delivered
issued          seen            verified
issued          refused         failed
issued          given up        failed
issued          deliver again   issued
delivered       not ready       delivered
delivered       activated       active
delivered       refused         failed
delivered       given up        failed
active          seen            verified
active          not seen        active
active          cannot be seen  not_verifiable
active          take back       rolling_back
active          given up        failed
verified        removed         verified
verified        not removed     verified
verified        deliver again   issued
not_verifiable  deliver again   issued
rolling_back    not back yet    rolling_back
rolling_back    brought back    rolled_back
rolling_back    seen            verified
rolling_back    given up        failed
rolled_back     deliver again   issued
failed          deliver again   issued
"""


def permitted() -> set[tuple[str, str, str]]:
    rows = (line.split("  ") for line in PERMITTED.strip().splitlines())
    parts = [[word.strip() for word in row if word.strip()] for row in rows]
    return {(before, event, after) for before, event, after in parts}


@pytest.mark.parametrize(("state", "event"), [*product(DeploymentState, DeploymentEvent)])
def test_every_pair_of_state_and_event(state: DeploymentState, event: DeploymentEvent) -> None:
    expected = {after for before, met, after in permitted() if (before, met) == (state, event)}
    if expected:
        assert {next_deployment_state(state, event)} == expected
    else:
        with pytest.raises(DeploymentTransitionRefused, match=event.value):
            next_deployment_state(state, event)


def test_every_open_state_can_end_and_every_closed_one_can_only_be_asked_for_again() -> None:
    for state in OPEN_DEPLOYMENT_STATES:
        ends = {after for (before, _event), after in TRANSITIONS.items() if before is state}
        # what was delivered goes on to be looked at, and ends there
        assert ends & (CLOSED_DEPLOYMENT_STATES | {DeploymentState.ACTIVE}), state
    for state in CLOSED_DEPLOYMENT_STATES:
        leaving = {event for (before, event), after in TRANSITIONS.items() if before is state is not after}
        assert leaving == {DeploymentEvent.AGAIN}, state


def test_verified_is_reached_by_a_handshake_alone() -> None:
    ways = {
        event
        for (before, event), after in TRANSITIONS.items()
        if after is DeploymentState.VERIFIED is not before
    }
    assert ways == {DeploymentEvent.SEEN}


def test_a_device_that_is_away_is_tried_for_a_week_and_at_most_every_hour() -> None:
    now, tries, waits = NOW, 1, []
    while (at := next_try(now=now, tries=tries, since=NOW)) is not None:
        waits.append(at - now)
        now, tries = at, tries + 1
    assert waits[:4] == [timedelta(seconds=seconds) for seconds in (10, 20, 40, 80)]
    assert max(waits) == timedelta(hours=1)
    assert all(one <= other for one, other in pairwise(waits))
    assert WITHIN <= now - NOW < WITHIN + timedelta(hours=1)


def test_a_certificate_that_is_not_served_is_looked_for_about_two_minutes_and_then_some() -> None:
    looks = [next_look(now=NOW, looks=number) for number in range(1, len(LOOKS) + 2)]
    assert looks[-1] is None
    waits = [at - NOW for at in looks if at is not None]
    assert len(waits) == len(LOOKS)
    assert timedelta(minutes=2) <= sum(waits[:8], timedelta()) < timedelta(minutes=3)
    assert timedelta(minutes=4) < sum(waits, timedelta()) < timedelta(minutes=6)


def test_whoever_has_to_restart_the_device_is_waited_for_a_week() -> None:
    now, looks, waits = NOW, 1, []
    while (at := next_look(now=now, looks=looks, by_hand_since=NOW)) is not None:
        waits.append(at - now)
        now, looks = at, looks + 1
    assert tuple(waits[: len(LOOKS)]) == LOOKS
    assert set(waits[len(LOOKS) :]) == {BY_HAND_EVERY}
    assert WITHIN <= now - NOW < WITHIN + BY_HAND_EVERY
