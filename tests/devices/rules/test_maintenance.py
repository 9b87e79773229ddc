"""The maintenance window: over midnight, in the group's own time, on the days when the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.rules.maintenance import Maintenance, is_urgent

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Maintenance(time(22), time(5), BERLIN)


def at(text: str, zone: tzinfo = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-20 20:59", "2026-11-20 21:00"),  # 21:59 in Berlin, an hour ahead of UTC in winter
        ("2026-11-20 21:00", "2026-11-20 21:00"),
        ("2026-11-21 03:59", "2026-11-21 03:59"),  # still open, over midnight
        ("2026-11-21 04:00", "2026-11-21 21:00"),
        ("2026-07-20 19:59", "2026-07-20 20:00"),  # two hours ahead in summer
    ],
)
def test_it_opens_when_the_groups_clocks_say_so(now: str, opens: str) -> None:
    assert NIGHT.next_open(at(now)) == at(opens)


def test_a_beginning_that_the_clocks_skip_is_as_much_later() -> None:
    # on 29 March 2026 Berlin's clocks go from 02:00 to 03:00, at 01:00 UTC
    window = Maintenance(time(2, 30), time(4), BERLIN)
    assert window.next_open(at("2026-03-29 00:00")) == at("2026-03-29 01:30")  # 03:30
    # and what is open by the wall clock is open
    assert window.next_open(at("2026-03-29 01:05")) == at("2026-03-29 01:05")  # 03:05


def test_a_window_that_the_clocks_skip_as_a_whole_opens_the_next_day() -> None:
    window = Maintenance(time(2, 15), time(2, 45), BERLIN)
    assert window.next_open(at("2026-03-29 00:30")) == at("2026-03-30 00:15")


def test_one_that_the_clocks_show_twice_opens_at_the_first_time_and_again() -> None:
    # on 25 October 2026 they go from 03:00 back to 02:00, at 01:00 UTC
    window = Maintenance(time(2, 15), time(2, 45), BERLIN)
    assert window.next_open(at("2026-10-25 00:00")) == at("2026-10-25 00:15")
    assert window.next_open(at("2026-10-25 00:45")) == at("2026-10-25 01:15")
    assert window.next_open(at("2026-10-25 01:45")) == at("2026-10-26 01:15")


def test_two_equal_times_are_the_whole_day() -> None:
    now = at("2026-11-20 12:34")
    assert Maintenance(time(6), time(6), BERLIN).next_open(now) == now


@given(
    now=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)),  # noqa: DTZ001
    opens=st.times(),
    closes=st.times(),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
    ),
)
def test_it_opens_at_or_after_now_within_two_days_and_is_open_then(
    now: datetime, opens: time, closes: time, zone: str
) -> None:
    window, now = Maintenance(opens, closes, ZoneInfo(zone)), now.replace(tzinfo=UTC)
    opening = window.next_open(now)
    assert window.is_open(opening)
    assert timedelta() <= opening - now <= timedelta(days=2)


@pytest.mark.parametrize(
    ("until", "urgent"),
    [(None, True), ("2026-11-27 08:00", True), ("2026-11-27 08:01", False), ("2026-11-01 00:00", True)],
)
def test_near_the_end_of_the_certificate_in_use_nothing_waits(until: str | None, urgent: bool) -> None:
    in_use_until = at(until) if until else None
    assert is_urgent(now=at("2026-11-20 08:00"), in_use_until=in_use_until, days=7) is urgent
