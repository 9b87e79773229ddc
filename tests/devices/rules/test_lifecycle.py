"""The table of transitions: every pair of state and event, the refused ones too."""

from __future__ import annotations

from itertools import product

import pytest

from devices.rules.lifecycle import (
    CLOSED_STATES,
    OPEN_STATES,
    STATUS,
    TRANSITIONS,
    UNDER_WAY_STATES,
    Event,
    State,
    Status,
    TransitionRefused,
    next_state,
    states_of,
)

PERMITTED = {
    (State.SCHEDULED, Event.PREPARE, State.PREPARED),
    (State.SCHEDULED, Event.KEY_LIMIT, State.FAILED),
    (State.SCHEDULED, Event.GIVEN_UP, State.FAILED),
    (State.PREPARED, Event.SEND, State.SENT),
    (State.PREPARED, Event.UNREACHABLE, State.PREPARED),
    (State.PREPARED, Event.GIVEN_UP, State.FAILED),
    (State.PREPARED, Event.REFUSED, State.FAILED),
    (State.SENT, Event.ISSUED, State.SUCCESSFUL),
    (State.SENT, Event.DEFERRED, State.PENDING),
    (State.SENT, Event.UNREACHABLE, State.SENT),
    (State.SENT, Event.GIVEN_UP, State.FAILED),
    (State.SENT, Event.REFUSED, State.FAILED),
    (State.PENDING, Event.ISSUED, State.SUCCESSFUL),
    (State.PENDING, Event.DEFERRED, State.PENDING),
    (State.PENDING, Event.UNREACHABLE, State.PENDING),
    (State.PENDING, Event.GIVEN_UP, State.FAILED),
    (State.PENDING, Event.REFUSED, State.FAILED),
}


@pytest.mark.parametrize(("state", "event"), [*product(State, Event)])
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    expected = {after for before, met, after in PERMITTED if (before, met) == (state, event)}
    if expected:
        assert {next_state(state, event)} == expected
    else:
        with pytest.raises(TransitionRefused, match=event.value):
            next_state(state, event)


def test_nothing_leaves_a_closed_state() -> None:
    assert {state for state, _event in TRANSITIONS} == OPEN_STATES
    assert {State.SUCCESSFUL, State.FAILED} == CLOSED_STATES


def test_a_certificate_comes_only_after_something_was_sent() -> None:
    before_success = {state for (state, _event), after in TRANSITIONS.items() if after is State.SUCCESSFUL}
    assert before_success == {State.SENT, State.PENDING}


def test_every_open_state_can_end() -> None:
    for state in OPEN_STATES:
        reached = {state}
        while True:
            more = {after for (before, _e), after in TRANSITIONS.items() if before in reached} - reached
            if not more:
                break
            reached |= more
        assert reached >= CLOSED_STATES, state


def test_r16_status_of_every_state() -> None:
    assert {status: states_of(status) for status in Status} == {
        Status.TO_BE_PROCESSED: {State.SCHEDULED},
        Status.PROCESSING: UNDER_WAY_STATES,
        Status.ERROR: {State.FAILED},
        Status.SUCCESSFUL: {State.SUCCESSFUL},
    }
    assert set(STATUS) == set(State)
