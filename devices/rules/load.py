"""How many requests a SCEP server gets in which minute of the hours and days to come (F1).

Pure: works on counts, so that a forecast costs what its minutes cost, however many devices are behind them. A minute
is a whole number, counted from 1970-01-01T00:00Z; a load maps minutes to requests and leaves the empty ones out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from devices.rules.schedule import Period, next_period

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

ASSUMED_PER_MINUTE = 60
"""Requests per minute that a server without an allowance is taken to bear; whoever shows it says so."""

Load = Mapping[int, int]


def minute_of(at: datetime) -> int:
    """The minute in which `at` lies."""
    return (at - EPOCH) // MINUTE


def moment_of(minute: int) -> datetime:
    """When `minute` begins, in UTC."""
    return EPOCH + minute * MINUTE


@dataclass(frozen=True, slots=True)
class Wave:
    """So many requests of one server that are set for one minute."""

    minute: int
    requests: int
    every: int | None = None
    """After how many minutes they come again, and again after as many; None: they do not."""


def repeat_minutes(period: Period, lifetime_minutes: int | None) -> int | None:
    """After how many minutes a request comes again by R12 and by the lifetime rules; None for never.

    Every request is taken to succeed at once, with a certificate that is valid for `lifetime_minutes` again (None:
    the device has none yet, so that only the interval counts).
    """
    validity = None if lifetime_minutes is None else (EPOCH, EPOCH + lifetime_minutes * MINUTE)
    next_at = next_period(ended_at=EPOCH, request_at=EPOCH, successful=True, period=period, validity=validity)
    return None if next_at is None else max(1, minute_of(next_at))


def expected(waves: Iterable[Wave], *, now: int, first: int, end: int) -> dict[int, int]:
    """The load of the minutes from `first` up to, not including, `end`. What is overdue at `now` is sent then."""
    load: defaultdict[int, int] = defaultdict(int)
    for wave in waves:
        minute = max(wave.minute, now)
        if wave.every is None:
            if first <= minute < end:
                load[minute] += wave.requests
            continue
        passed = max(0, -((minute - first) // wave.every))
        for again in range(minute + passed * wave.every, end, wave.every):
            load[again] += wave.requests
    return dict(load)


@dataclass(frozen=True, slots=True)
class Peak:
    """A minute that stands out."""

    minute: int
    requests: int
    minutes_late: int
    """By which the last of them is sent late, because the allowance is used up."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a load comes to beside an allowance."""

    requests: int
    busiest: Peak | None
    """The first of the minutes with the most requests; None without any request."""
    latest: Peak | None
    """The first of the minutes whose last request is sent the most late; None when all are in time."""
    minutes_over: int
    """Minutes with more requests than the allowance."""

    @property
    def fits(self) -> bool:
        """True when no minute holds more than the allowance."""
        return self.minutes_over == 0


@dataclass(frozen=True, slots=True)
class Day:
    """The load of one day of a time zone."""

    date: date
    requests: int
    busiest: Peak | None


def lateness(load: Load, per_minute: int) -> dict[int, int]:
    """For each minute of `load`, by how many minutes its last request is late when `per_minute` are sent a minute.

    First come, first sent: what is left over from a minute goes before what the next one brings.
    """
    late: dict[int, int] = {}
    waiting, previous = 0, 0
    for minute in sorted(load):
        waiting = max(0, waiting - per_minute * (minute - previous)) + load[minute]
        late[minute] = max(0, waiting - 1) // per_minute
        previous = minute
    return late


def summarize(load: Load, per_minute: int) -> Summary:
    """What `load` comes to beside an allowance of `per_minute`."""
    late = lateness(load, per_minute)
    latest = min(load, key=lambda minute: (-late[minute], minute), default=None)
    return Summary(
        requests=sum(load.values()),
        busiest=_busiest(load, late, load),
        latest=Peak(latest, load[latest], late[latest]) if latest is not None and late[latest] else None,
        minutes_over=sum(requests > per_minute for requests in load.values()),
    )


def _busiest(load: Load, late: Mapping[int, int], minutes: Iterable[int]) -> Peak | None:
    found = min(minutes, key=lambda minute: (-load[minute], minute), default=None)
    return None if found is None else Peak(found, load[found], late[found])


def day_ends(first: int, days: int, zone: tzinfo) -> list[int]:
    """The minutes at which `days` days of `zone` end; the first of them is the day in which `first` lies."""
    today = moment_of(first).astimezone(zone).date()
    midnights = (datetime.combine(today + timedelta(days=n), time(), zone) for n in range(1, days + 1))
    return [minute_of(midnight) for midnight in midnights]


def by_day(load: Load, per_minute: int, *, first: int, days: int, zone: tzinfo) -> list[Day]:
    """The load of `days` days of `zone`, from the minute `first` on; of each its busiest minute."""
    late, minutes = lateness(load, per_minute), sorted(load)
    found, begin = [], first
    for end in day_ends(first, days, zone):
        part = minutes[bisect_left(minutes, begin) : bisect_left(minutes, end)]
        found.append(
            Day(
                date=moment_of(begin).astimezone(zone).date(),
                requests=sum(load[minute] for minute in part),
                busiest=_busiest(load, late, part),
            )
        )
        begin = end
    return found
