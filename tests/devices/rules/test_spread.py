"""Start times that keep a SCEP server within its allowance (F1, R9, R10)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.rules.load import minute_of, summarize
from devices.rules.schedule import request_time
from devices.rules.spread import LONGEST_WINDOW_HOURS, Proposal, Waiting, Window, propose

START = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
NOW = minute_of(START) - 600


def fleet(count: int, *, at: datetime = START, offsets: int = 600, first_id: int = 1) -> list[Waiting]:
    """Devices with one start time, their offsets as if drawn."""
    return [
        Waiting(first_id + n, request_time(at, 1 + n * 7 % offsets), 1 + n * 7 % offsets)
        for n in range(count)
    ]


def spread(
    waiting: list[Waiting],
    *,
    hours: int = 8,
    per_minute: int = 60,
    staying: dict[int, int] | None = None,
    start: datetime = START,
    day_hours: tuple[time, time] | None = None,
    zone: ZoneInfo | None = None,
) -> Proposal:
    window = Window(start, hours, zone or ZoneInfo("UTC"), day_hours)
    return propose(waiting, staying=staying or {}, per_minute=per_minute, window=window, now=NOW)


def applied(waiting: list[Waiting], proposal: Proposal) -> list[Waiting]:
    """The devices after the proposal, as R9 and R10 make their times."""
    starts = {move.device: move.request_start_at for move in proposal.moves}
    return [
        Waiting(one.device, request_time(starts[one.device], one.offset_seconds), one.offset_seconds)
        if one.device in starts
        else one
        for one in waiting
    ]


FLEETS = st.lists(st.tuples(st.integers(-30, 200), st.integers(0, 59), st.integers(0, 600)), max_size=80).map(
    lambda rows: [
        Waiting(number, START + timedelta(minutes=minute, seconds=second), offset)
        for number, (minute, second, offset) in enumerate(rows)
    ]
)
LOADS = st.dictionaries(st.integers(-30, 200), st.integers(1, 9)).map(
    lambda load: {minute_of(START) + minute: count for minute, count in load.items()}
)


@given(FLEETS, LOADS, st.integers(1, 6), st.integers(1, 4))
def test_f1_no_minute_over_the_allowance_offsets_kept_nobody_lost(
    waiting: list[Waiting], staying: dict[int, int], per_minute: int, hours: int
) -> None:
    proposal = spread(waiting, staying=staying, per_minute=per_minute, hours=hours)
    moved = [move.device for move in proposal.moves]
    assert len({*moved, *proposal.unplaced}) + proposal.stay == len(waiting)
    offsets = {one.device: one.offset_seconds for one in waiting}
    load = Counter(staying)
    for one in applied(waiting, proposal):
        load[minute_of(one.at)] += 1
        assert one.offset_seconds == offsets[one.device]
    assert load == Counter(proposal.after)
    before = Counter(staying) + Counter(minute_of(one.at) for one in waiting)
    assert before == Counter(proposal.before)
    for minute, count in load.items():
        if not proposal.unplaced:
            assert count <= max(per_minute, staying.get(minute, 0))
        assert count <= max(per_minute, before[minute]), "no minute becomes worse"
    window = Window(START, hours, UTC)
    assert all(window.start <= move.request_at < window.end for move in proposal.moves)


@given(FLEETS, LOADS, st.integers(1, 6))
def test_f1_as_few_as_can_be_move_and_in_their_order(
    waiting: list[Waiting], staying: dict[int, int], per_minute: int
) -> None:
    proposal = spread(waiting, staying=staying, per_minute=per_minute, hours=8)
    present = Counter(minute_of(one.at) for one in waiting)
    surplus = sum(
        max(0, count - max(0, per_minute - staying.get(minute, 0))) for minute, count in present.items()
    )
    assert len(proposal.moves) + len(proposal.unplaced) == surplus
    times = {one.device: (one.at, one.device) for one in waiting}
    moved = [times[move.device] for move in proposal.moves]
    assert moved == sorted(moved)
    new = [move.request_at for move in proposal.moves]
    assert new == sorted(new)


@given(FLEETS, LOADS, st.integers(1, 6), st.integers(1, 4))
def test_f1_spreading_what_is_spread_moves_nobody(
    waiting: list[Waiting], staying: dict[int, int], per_minute: int, hours: int
) -> None:
    first = spread(waiting, staying=staying, per_minute=per_minute, hours=hours)
    again = spread(applied(waiting, first), staying=staying, per_minute=per_minute, hours=hours)
    assert again.moves == ()
    assert sorted(again.unplaced) == sorted(first.unplaced)


@given(FLEETS, LOADS, st.integers(1, 6))
def test_f1_a_window_that_is_too_small_says_what_would_do(
    waiting: list[Waiting], staying: dict[int, int], per_minute: int
) -> None:
    proposal = spread(waiting, staying=staying, per_minute=per_minute, hours=1)
    if not proposal.unplaced:
        assert (proposal.enough_hours, proposal.enough_per_minute) == (None, None)
        return
    hours, allowance = proposal.enough_hours, proposal.enough_per_minute
    assert hours is not None
    assert hours > 1
    assert not spread(waiting, staying=staying, per_minute=per_minute, hours=hours).unplaced
    assert spread(waiting, staying=staying, per_minute=per_minute, hours=hours - 1).unplaced
    assert allowance is not None
    assert not spread(waiting, staying=staying, per_minute=allowance, hours=1).unplaced
    assert (
        allowance == per_minute + 1
        or spread(waiting, staying=staying, per_minute=allowance - 1, hours=1).unplaced
    )


def test_f1_one_start_time_before_and_after() -> None:
    waiting = fleet(10_000)
    proposal = spread(waiting)
    before, after = summarize(proposal.before, 60), summarize(proposal.after, 60)
    assert before.busiest is not None
    assert before.busiest.requests > 900
    assert after.fits
    assert after.busiest is not None
    assert after.busiest.requests == 60, "the minutes of the old peak stay full"
    # 11 minutes of 60 stay, and the others lie evenly over the eight hours
    assert (proposal.stay, len(proposal.moves)) == (600 + 17, 10_000 - 617)
    hourly = Counter((move.request_at - START) // timedelta(hours=1) for move in proposal.moves)
    assert max(hourly[hour] for hour in range(1, 8)) - min(hourly[hour] for hour in range(1, 8)) <= 1


def test_f1_when_everything_takes_more_than_the_longest_window() -> None:
    proposal = spread(fleet(30_000), per_minute=1, hours=1)
    assert proposal.enough_hours is None
    assert len(proposal.unplaced) > 29_000
    assert proposal.enough_per_minute is not None
    assert not spread(fleet(30_000), per_minute=proposal.enough_per_minute, hours=1).unplaced


def test_f1_what_is_overdue_counts_now() -> None:
    late = fleet(200, at=START - timedelta(days=2), offsets=60)
    proposal = spread(late)
    assert proposal.before == {NOW: 200}
    assert (proposal.stay, len(proposal.moves)) == (60, 140)


@pytest.mark.parametrize("second", [0, 1, 59])
def test_f1_a_window_holds_whole_minutes_from_its_start_to_its_end(second: int) -> None:
    start = START + timedelta(seconds=second)
    window = Window(start, 1, UTC)
    minutes = list(window.minutes())
    assert len(minutes) == (60 if second == 0 else 59)
    full = spread(fleet(5_000, at=START - timedelta(hours=3)), start=start, hours=1)
    assert min(move.request_at for move in full.moves) >= start
    assert max(move.request_at for move in full.moves) < start + timedelta(hours=1)
    assert len(full.moves) == 60 * len(minutes)


@pytest.mark.parametrize(
    ("day_hours", "expected"),
    [
        ((time(22), time(2)), {0, 1, 22, 23}),
        ((time(2), time(4)), {2, 3}),
        ((time(5), time(5)), set(range(24))),
        ((time(2), time(2, 1)), {2}),
    ],
)
def test_f1_only_within_hours_of_the_day(day_hours: tuple[time, time], expected: set[int]) -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    window = Window(datetime(2026, 11, 25, 12, 0, tzinfo=zone), 48, zone, day_hours)
    hours = {datetime.fromtimestamp(minute * 60, zone).hour for minute in window.minutes()}
    assert hours == expected


@pytest.mark.parametrize(
    ("night", "minutes"),
    [
        # 02:00 to 03:00 is skipped on 29 March, and comes twice on 25 October
        (datetime(2026, 3, 28, 23, 0), 3 * 60),  # noqa: DTZ001
        (datetime(2026, 10, 24, 23, 0), 5 * 60),  # noqa: DTZ001
        (datetime(2026, 11, 24, 23, 0), 4 * 60),  # noqa: DTZ001
    ],
)
def test_f1_nights_in_which_the_clocks_change(night: datetime, minutes: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = night.replace(tzinfo=zone)
    window = Window(start, 12, zone, (time(0), time(4)))
    assert len(list(window.minutes())) == minutes
    assert window.end - window.start.astimezone(UTC) == timedelta(hours=12)
    waiting = fleet(minutes * 60 + 200, at=start.astimezone(UTC) - timedelta(hours=5), offsets=60)
    proposal = propose(waiting, staying={}, per_minute=60, window=window, now=minute_of(start) - 900)
    # the present minute and the next keep 60 between them; the window takes what it has minutes for
    assert len(proposal.moves) == minutes * 60
    local = [move.request_at.astimezone(zone) for move in proposal.moves]
    assert {moment.hour for moment in local} <= {0, 1, 2, 3}
    assert {proposal.after[minute] for minute in window.minutes()} == {60}


def test_the_longest_window_is_two_weeks() -> None:
    assert LONGEST_WINDOW_HOURS == 336
