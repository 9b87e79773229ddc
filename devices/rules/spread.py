"""Start times that keep a SCEP server within its allowance (F1).

A device's request is sent at its start and the offset that it drew (R9, R10). The offset stays as it was drawn, and
the start is what is proposed: the moment of a free place in a minute, less the offset. So the load is exact.

Pure: minutes and loads as in devices/rules/load.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import accumulate

from devices.rules.load import EPOCH, MINUTE, Load, minute_of, moment_of
from devices.rules.maintenance import is_open

LONGEST_WINDOW_HOURS = 14 * 24


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device's next request: the time that it is set for, and the offset that it drew (0 to 600 s)."""

    device: int
    at: datetime
    offset_seconds: int


@dataclass(frozen=True, slots=True)
class Window:
    """Where requests may be moved to: from `start` (aware) on, for `hours` of 60 minutes, 1 to LONGEST_WINDOW_HOURS.

    With `day_hours` only between these times of the day in `zone`, over midnight when the second is the earlier
    one; two equal times are the whole day. Where the clocks change, an hour that is skipped holds no minute and
    one that is repeated holds twice as many.
    """

    start: datetime
    hours: int
    zone: tzinfo
    day_hours: tuple[time, time] | None = None

    @property
    def end(self) -> datetime:
        """When it is over, in UTC: hours are hours, whatever the clocks do."""
        return self.start.astimezone(UTC) + timedelta(hours=self.hours)

    def minutes(self, hours: int | None = None) -> Iterator[int]:
        """The whole minutes in it, in their order; for `hours` in place of its own."""
        start, length = self.start - EPOCH, timedelta(hours=self.hours if hours is None else hours)
        for minute in range(-(-start // MINUTE), (start + length) // MINUTE):
            if self._is_open(minute):
                yield minute

    def _is_open(self, minute: int) -> bool:
        if self.day_hours is None:
            return True
        opens, closes = self.day_hours
        return is_open(moment_of(minute).astimezone(self.zone).time(), opens=opens, closes=closes)


@dataclass(frozen=True, slots=True)
class Move:
    """A device's new [Request Start Date/Time], and when its request is then sent."""

    device: int
    request_start_at: datetime
    request_at: datetime


@dataclass(frozen=True, slots=True)
class Proposal:
    """What spreading the requests of one server comes to."""

    moves: tuple[Move, ...]
    """In the order of the new times, which is the order of the present ones."""
    stay: int
    """Devices whose time is good as it is."""
    unplaced: tuple[int, ...]
    """Devices that ought to move and find no room in the window; they keep their time."""
    enough_hours: int | None
    """The shortest window from the same start that has room for all; None when no window of LONGEST_WINDOW_HOURS
    has, and when all are placed."""
    enough_per_minute: int | None
    """The least allowance with which all would fit into the window; None when all are placed."""
    before: dict[int, int]
    """The load with the devices at their present times."""
    after: dict[int, int]
    """The load with the devices at the proposed times."""


def propose(
    waiting: Iterable[Waiting], *, staying: Load, per_minute: int, window: Window, now: int
) -> Proposal:
    """New times for as few of `waiting` as can be, so that no minute holds more than `per_minute` requests.

    `staying` is the load of all other requests of the same server. What is overdue counts in the minute `now`.
    Whoever is within the allowance of the present minute, earliest first, stays, in the window or not. The others
    spread evenly over the room that the window has, in their order.
    """
    ordered = sorted(waiting, key=lambda one: (one.at, one.device))
    present = Counter(max(minute_of(one.at), now) for one in ordered)
    held, moving = Counter(staying), []
    for one in ordered:
        minute = max(minute_of(one.at), now)
        if held[minute] < per_minute:
            held[minute] += 1
        else:
            moving.append(one)
    minutes = [minute for minute in window.minutes() if held[minute] < per_minute]
    room = sum(per_minute - held[minute] for minute in minutes)
    moves = tuple(_placed(moving[:room], minutes, [per_minute - held[minute] for minute in minutes]))
    unplaced = tuple(one.device for one in moving[room:])
    after = held + Counter(minute_of(move.request_at) for move in moves)
    after.update(max(minute_of(one.at), now) for one in moving[room:])
    return Proposal(
        moves=moves,
        stay=len(ordered) - len(moving),
        unplaced=unplaced,
        enough_hours=_enough_hours(held, per_minute, window, len(moving)) if unplaced else None,
        enough_per_minute=_enough_per_minute(present, staying, per_minute, window) if unplaced else None,
        before=dict(Counter(staying) + present),
        after=dict(after),
    )


def _placed(moving: Sequence[Waiting], minutes: Sequence[int], free: Sequence[int]) -> Iterator[Move]:
    """One place for each of `moving`, evenly over the `free` places of `minutes`, and evenly within a minute."""
    filled = list(accumulate(free, initial=0))
    for position, one in enumerate(moving):
        place = position * filled[-1] // len(moving)
        index = bisect_right(filled, place) - 1
        second = 60 * (place - filled[index]) // free[index]
        at = moment_of(minutes[index]) + timedelta(seconds=second)
        yield Move(one.device, at - timedelta(seconds=one.offset_seconds), at)


def _enough_hours(held: Counter[int], per_minute: int, window: Window, needed: int) -> int | None:
    room = 0
    for minute in window.minutes(LONGEST_WINDOW_HOURS):
        room += max(0, per_minute - held[minute])
        if room >= needed:
            return -(-(moment_of(minute + 1) - window.start) // timedelta(hours=1))
    return None


def _enough_per_minute(present: Counter[int], staying: Load, per_minute: int, window: Window) -> int | None:
    minutes = list(window.minutes())
    if not minutes:
        return None

    def all_fit(allowance: int) -> bool:
        def stay(minute: int) -> int:
            return min(present[minute], max(0, allowance - staying.get(minute, 0)))

        moving = sum(present[minute] - stay(minute) for minute in present)
        room = sum(max(0, allowance - staying.get(minute, 0) - stay(minute)) for minute in minutes)
        return moving <= room

    # with more than everything at once nobody has to move
    low, high = per_minute, sum(present.values()) + max(staying.values(), default=0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if all_fit(middle) else (middle, high)
    return high
