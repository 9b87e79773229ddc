"""The table of a restart's transitions, and how it is told whether a device has restarted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from devices.rules.restart import (
    BACK_WITHIN,
    CLOSED_RESTART_STATES,
    MOST_TRIES,
    OPEN_RESTART_STATES,
    TRANSITIONS,
    Asked,
    Restarted,
    RestartEvent,
    RestartState,
    RestartTransitionRefused,
    has_restarted,
    next_look,
    next_restart_state,
    next_try,
)

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)

PERMITTED = {
    (RestartState.WAITING, RestartEvent.ASK, RestartState.REQUESTED),
    (RestartState.WAITING, RestartEvent.NOT_READY, RestartState.WAITING),
    (RestartState.WAITING, RestartEvent.REFUSED, RestartState.REFUSED),
    (RestartState.WAITING, RestartEvent.GIVEN_UP, RestartState.FAILED),
    (RestartState.REQUESTED, RestartEvent.ACCEPTED, RestartState.COMING_BACK),
    (RestartState.REQUESTED, RestartEvent.NOT_TAKEN, RestartState.WAITING),
    (RestartState.REQUESTED, RestartEvent.UNCERTAIN, RestartState.REQUESTED),
    (RestartState.REQUESTED, RestartEvent.CAME_BACK, RestartState.DONE),
    (RestartState.REQUESTED, RestartEvent.REFUSED, RestartState.REFUSED),
    (RestartState.REQUESTED, RestartEvent.GIVEN_UP, RestartState.FAILED),
    (RestartState.COMING_BACK, RestartEvent.STILL_AWAY, RestartState.COMING_BACK),
    (RestartState.COMING_BACK, RestartEvent.CAME_BACK, RestartState.DONE),
    (RestartState.COMING_BACK, RestartEvent.GIVEN_UP, RestartState.FAILED),
}


@pytest.mark.parametrize(("state", "event"), [*product(RestartState, RestartEvent)])
def test_every_pair_of_state_and_event(state: RestartState, event: RestartEvent) -> None:
    expected = {after for before, met, after in PERMITTED if (before, met) == (state, event)}
    if expected:
        assert {next_restart_state(state, event)} == expected
    else:
        with pytest.raises(RestartTransitionRefused, match=event.value):
            next_restart_state(state, event)


def test_nothing_leaves_a_closed_state_and_every_open_one_can_end() -> None:
    assert {state for state, _event in TRANSITIONS} == OPEN_RESTART_STATES
    for state in OPEN_RESTART_STATES:
        ends = {after for (before, _event), after in TRANSITIONS.items() if before is state}
        assert ends & CLOSED_RESTART_STATES, state


def test_a_device_is_asked_from_one_state_only() -> None:
    asked = {before for (before, event) in TRANSITIONS if event is RestartEvent.ASK}
    assert asked == {RestartState.WAITING}


def test_tries_are_ever_rarer_and_bounded() -> None:
    waits = []
    for tries in range(1, MOST_TRIES):
        at = next_try(now=NOW, tries=tries)
        assert at is not None
        waits.append((at - NOW).total_seconds())
    assert waits == [5, 10, 20, 40, *[60] * 7]
    assert next_try(now=NOW, tries=MOST_TRIES) is None


def test_looks_are_ever_rarer_and_end() -> None:
    now, looks = NOW, []
    while (at := next_look(now=now, requested_at=NOW)) is not None:
        looks.append((at - now).total_seconds())
        now = at
    assert looks[0] == 2
    assert looks == sorted(looks)
    assert looks[-1] == 30
    assert BACK_WITHIN <= now - NOW < BACK_WITHIN + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("before", "seen_away", "boot_count", "booted_after", "expected"),
    [
        (7, False, 8, None, Restarted.YES),
        (7, True, 7, None, Restarted.NO),  # the network was away, not the device
        (7, False, 7, +5, Restarted.NO),  # the counter decides
        (7, False, 1, None, Restarted.YES),  # a counter that began anew
        (None, False, None, +5, Restarted.YES),
        (None, True, None, -500, Restarted.NO),
        (7, False, None, +5, Restarted.YES),
        (None, False, 8, None, Restarted.UNTOLD),
        (None, True, None, None, Restarted.YES),
        (None, False, None, None, Restarted.UNTOLD),
    ],
)
def test_whether_a_device_has_restarted(
    before: int | None,
    seen_away: bool,
    boot_count: int | None,
    booted_after: int | None,
    expected: Restarted,
) -> None:
    booted_at = None if booted_after is None else NOW + timedelta(seconds=booted_after)
    assert (
        has_restarted(Asked(NOW, before, seen_away), boot_count=boot_count, booted_at=booted_at) is expected
    )
