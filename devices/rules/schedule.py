"""When a request is sent: the request time, the random offset, polling and the next period (R9 to R12).

Pure: the clock and the dice are arguments. Every datetime is aware; every duration says its unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

MIN_OFFSET_SECONDS = 1
MAX_OFFSET_SECONDS = 600


def draw_offset(auto_adjust: bool, randint: Callable[[int, int], int]) -> int:
    """Seconds to wait after the specified time (R10): 1 to 600, or 0 without [Auto Adjust ...].

    `randint(low, high)` draws a whole number, both ends included, as random.randint does.
    """
    return randint(MIN_OFFSET_SECONDS, MAX_OFFSET_SECONDS) if auto_adjust else 0


def request_time(start: datetime, offset_seconds: int) -> datetime:
    """The moment at which a request that was set for `start` is sent (R9, R10)."""
    if not 0 <= offset_seconds <= MAX_OFFSET_SECONDS:
        raise ValueError(f"an offset is 0 to {MAX_OFFSET_SECONDS} s, not {offset_seconds}")
    return start + timedelta(seconds=offset_seconds)


def next_period(
    *, ended_at: datetime, request_at: datetime, successful: bool, interval_days: int | None
) -> datetime | None:
    """[Next Request Date/Time] (R12), or None when requests are not periodic.

    Counted from the last success. A failed request does not move the rhythm: the next one keeps its
    distance from the time the failed one was set for, but never lies before `ended_at`.
    """
    if interval_days is None:
        return None
    interval = timedelta(days=interval_days)
    return ended_at + interval if successful else max(request_at + interval, ended_at)


@dataclass(frozen=True, slots=True)
class Poll:
    """Another try: when, and how many are left after it."""

    at: datetime
    polls_left: int


def next_poll(*, now: datetime, polls_left: int, interval_seconds: int) -> Poll | None:
    """The next poll (R11), or None when none is left."""
    if polls_left <= 0:
        return None
    return Poll(at=now + timedelta(seconds=interval_seconds), polls_left=polls_left - 1)
