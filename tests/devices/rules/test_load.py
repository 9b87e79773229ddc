"""The expected load of a SCEP server (F1): counts and periods in, requests per minute and day out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.rules.load import (
    Peak,
    Wave,
    by_day,
    expected,
    lateness,
    minute_of,
    moment_of,
    repeat_minutes,
    summarize,
)
from devices.rules.schedule import Period

LOADS = st.dictionaries(st.integers(0, 300), st.integers(1, 50))
WAVES = st.builds(Wave, st.integers(0, 200), st.integers(1, 9), st.none() | st.integers(1, 90))


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_minute_holds_its_moments(at: datetime) -> None:
    assert moment_of(minute_of(at)) <= at < moment_of(minute_of(at) + 1)


@given(st.lists(WAVES), st.integers(0, 100), st.integers(0, 100), st.integers(0, 200))
def test_f1_the_load_is_what_counting_one_by_one_gives(
    waves: list[Wave], now: int, ahead: int, length: int
) -> None:
    first = now + ahead
    counted: Counter[int] = Counter()
    for wave in waves:
        minute = max(wave.minute, now)
        while minute < first + length:
            if minute >= first:
                counted[minute] += wave.requests
            if wave.every is None:
                break
            minute += wave.every
    assert expected(waves, now=now, first=first, end=first + length) == counted


@given(LOADS, st.integers(1, 40))
def test_f1_lateness_is_that_of_a_queue_worked_off_minute_by_minute(
    load: dict[int, int], per_minute: int
) -> None:
    queue: list[int] = []
    sent: dict[int, int] = {}
    minute = 0
    while minute <= max(load, default=0) or queue:
        queue += [minute] * load.get(minute, 0)
        for came in queue[:per_minute]:
            sent[came] = minute - came
        queue, minute = queue[per_minute:], minute + 1
    assert lateness(load, per_minute) == sent


def test_f1_the_busiest_minute_and_the_most_late_are_told_apart() -> None:
    load = {10: 612, 11: 70, 400: 3}
    summary = summarize(load, 60)
    assert summary.busiest == Peak(10, 612, 10)
    assert summary.latest == Peak(10, 612, 10)
    assert (summary.requests, summary.minutes_over, summary.fits) == (685, 2, False)
    creeping = summarize(dict.fromkeys(range(100), 61) | {200: 62}, 60)
    assert creeping.busiest == Peak(200, 62, 1)
    assert creeping.latest == Peak(60, 61, 2)


def test_f1_what_fits_is_never_late() -> None:
    summary = summarize({1: 60, 2: 60}, 60)
    assert summary.fits
    assert summary.latest is None
    nothing = summarize({}, 60)
    assert nothing.fits
    assert nothing.busiest is None


@pytest.mark.parametrize(
    ("period", "lifetime_days", "days"),
    [
        (Period(), 90, None),
        (Period(interval_days=30), None, 30),
        (Period(interval_days=80, renew_at_percent=80), 90, 72),
        (Period(interval_days=30, renew_at_percent=80), 90, 30),
        (Period(renew_days_before=10), 90, 80),
        (Period(renew_days_before=10), None, None),
        # the CA issues for less than the rule wants: a quarter of what is left, as devices/rules/schedule.py says
        (Period(renew_days_before=100), 20, 5),
    ],
)
def test_r12_how_often_a_request_comes_again(
    period: Period, lifetime_days: int | None, days: int | None
) -> None:
    lifetime = None if lifetime_days is None else lifetime_days * 1440
    assert repeat_minutes(period, lifetime) == (None if days is None else days * 1440)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("begin", "hours"),
    [
        (datetime(2026, 3, 28, tzinfo=BERLIN), [24, 23, 24]),
        (datetime(2026, 10, 24, tzinfo=BERLIN), [24, 25, 24]),
    ],
)
def test_f1_days_are_those_of_the_time_zone(begin: datetime, hours: list[int]) -> None:
    first = minute_of(begin)
    every_minute = dict.fromkeys(range(first - 5, first + 80 * 60), 1)
    days = by_day(every_minute, 60, first=first, days=3, zone=BERLIN)
    assert [day.requests for day in days] == [60 * count for count in hours]
    assert [day.date for day in days] == [begin.date() + timedelta(days=n) for n in range(3)]


def test_f1_each_day_has_its_busiest_minute() -> None:
    now = datetime(2026, 11, 25, 20, 30, tzinfo=BERLIN)
    first = minute_of(now)
    tomorrow = minute_of(datetime(2026, 11, 26, 8, 0, tzinfo=BERLIN))
    load = {first + 5: 3, tomorrow: 100, tomorrow + 1: 20}
    today, next_day, empty = by_day(load, 60, first=first, days=3, zone=BERLIN)
    assert (today.date, today.requests, today.busiest) == (date(2026, 11, 25), 3, Peak(first + 5, 3, 0))
    assert (next_day.requests, next_day.busiest) == (120, Peak(tomorrow, 100, 1))
    assert (empty.requests, empty.busiest) == (0, None)


@given(LOADS, st.integers(1, 40), st.integers(1, 5))
def test_f1_days_lose_nothing(load: dict[int, int], per_minute: int, days: int) -> None:
    found = by_day(load, per_minute, first=0, days=days, zone=UTC)
    assert sum(day.requests for day in found) == sum(load.values())
