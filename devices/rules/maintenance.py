"""The maintenance window of a device group: times of the day in the group's own time zone.

Pure. A window goes over midnight when its second time is the earlier one; two equal times are the whole day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo


def is_open(at: time, *, opens: time, closes: time) -> bool:
    """True when the wall clock's `at` lies between `opens` (included) and `closes` (not included)."""
    return opens <= at < closes if opens < closes else at >= opens or at < closes


@dataclass(frozen=True, slots=True)
class Maintenance:
    """When devices of a group may be worked on."""

    opens: time
    closes: time
    zone: tzinfo

    def is_open(self, moment: datetime) -> bool:
        """True when the clocks of the group stand within the window at `moment` (aware)."""
        return is_open(moment.astimezone(self.zone).time(), opens=self.opens, closes=self.closes)

    def next_open(self, now: datetime) -> datetime:
        """`now` when the window is open, else when it opens next, in UTC.

        Where the clocks skip its beginning it opens as much later; where they show it twice, at the first time. A
        window that the clocks skip as a whole opens on the next day.
        """
        if self.is_open(now):
            return now
        today = now.astimezone(self.zone).date()
        for days in range(4):
            for fold in (0, 1):
                wall = datetime.combine(today + timedelta(days=days), self.opens, tzinfo=self.zone)
                opening = wall.replace(fold=fold).astimezone(UTC)
                if opening > now and self.is_open(opening):
                    return opening
        raise AssertionError("no clock skips the same time of the day three days running")


URGENT_DAYS = 7
"""Days before the certificate in use expires from which on the window counts no longer, unless a group says else."""


def is_urgent(*, now: datetime, in_use_until: datetime | None, days: int) -> bool:
    """True when a new certificate must not wait for the window.

    `in_use_until` is when the certificate expires that the device uses; None: it has none of ours, and has not been
    reachable safely yet.
    """
    return in_use_until is None or in_use_until - now <= timedelta(days=days)
