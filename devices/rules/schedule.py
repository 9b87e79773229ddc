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


@dataclass(frozen=True, slots=True)
class Period:
    """When requests are sent again: after an interval (R12), or by the certificate's own lifetime.

    `interval_days` 1 to 3650, `renew_at_percent` 1 to 99, `renew_days_before` 1 to 3650; None: not by this rule.
    """

    interval_days: int | None = None
    renew_at_percent: int | None = None
    renew_days_before: int | None = None

    @property
    def goes_by_lifetime(self) -> bool:
        """True when the certificate's own lifetime counts."""
        return self.renew_at_percent is not None or self.renew_days_before is not None


def repeats(period: Period) -> bool:
    """True when anything follows the first request."""
    return period != Period()


SHORTEST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(days=7)
"""Between these a renewal that failed is tried again."""
RETRY_WITHOUT_CERTIFICATE = timedelta(days=1)
"""After which a device that is to renew by the lifetime, and has no certificate yet, is tried again."""


def renewal_time(period: Period, not_before: datetime, not_after: datetime) -> datetime | None:
    """When the certificate is to be renewed, by whichever of the two rules is earlier; None without any."""
    times = []
    if period.renew_at_percent is not None:
        times.append(not_before + (not_after - not_before) * period.renew_at_percent / 100)
    if period.renew_days_before is not None:
        times.append(not_after - timedelta(days=period.renew_days_before))
    return min(times, default=None)


def next_period(
    *,
    ended_at: datetime,
    request_at: datetime,
    successful: bool,
    period: Period,
    validity: tuple[datetime, datetime] | None = None,
) -> datetime | None:
    """[Next Request Date/Time] (R12), or None when nothing follows. Never before `ended_at`.

    By the interval it is counted from the last success. A failed request does not move the rhythm: the next
    one keeps its distance from the time the failed one was set for.
    By the lifetime (`validity`: notBefore and notAfter of the certificate in use, None without one) it is
    the renewal time; once that has passed, a quarter of what is left of the lifetime later. Without a certificate the
    interval alone counts, and without an interval a failed request is tried again after RETRY_WITHOUT_CERTIFICATE.
    """
    times = []
    if period.interval_days is not None:
        interval = timedelta(days=period.interval_days)
        times.append(ended_at + interval if successful else request_at + interval)
    if validity is not None and (renewal := renewal_time(period, *validity)) is not None:
        if renewal <= ended_at:
            # after a failed renewal; after a success too, when a CA issues for less than the rule wants
            left = (validity[1] - ended_at) / 4
            renewal = ended_at + min(max(left, SHORTEST_RETRY), LONGEST_RETRY)
        times.append(renewal)
    elif not times and validity is None and not successful and period.goes_by_lifetime:
        # there is no lifetime yet to go by, and nothing else would ever ask again
        times.append(ended_at + RETRY_WITHOUT_CERTIFICATE)
    return max(min(times), ended_at) if times else None


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
