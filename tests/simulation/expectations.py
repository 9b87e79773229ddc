"""What R9 to R12, R16 and R17 want of one line, derived from the requirements and the recorded decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.simulation.records import Line, Settings

_DETAILS = re.compile(
    r"Deferred"
    r"|Key and Certificate Registration Limit Error"
    r"|Communication Error \(TOP ERROR\)"
    r"|Communication Error \(TOP ERROR [1-5][0-9][0-9]\)"
    r"|Communication Error \(SCEP ERROR Fail Info [0-4]\)"
)
_A_HAIR = timedelta(milliseconds=1)
"""Halves and quarters of a lifetime may be rounded."""


@dataclass(frozen=True, slots=True)
class Next:
    """What has to wait: a line in [To Be Processed]."""

    trigger: str
    request_at: datetime
    offset: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step has to come to, by `rule`."""

    rule: str
    status: str
    details: str = ""


def first(settings: Settings, offset: int) -> Next:
    """R9, R10: the request of a timer that was just set."""
    start = datetime.fromisoformat(settings.start).replace(tzinfo=ZoneInfo(settings.zone))
    # in UTC: seconds are added to a moment, not to a clock on a wall
    return Next("timer", start.astimezone(UTC) + timedelta(seconds=offset), offset)


def period_differs(before: Settings, after: Settings) -> bool:
    """True when what the next periodic request depends on was changed."""
    return (before.interval_days, before.renew_at_percent, before.renew_days_before) != (
        after.interval_days,
        after.renew_at_percent,
        after.renew_days_before,
    )


def following(ended: Line, settings: Settings, validity: tuple[datetime, datetime] | None) -> Next | None:
    """R12: the request after the automatic one that ended; None: nothing follows.

    After a success one interval later, after a failure one interval after the time it was set for (decision 6).
    Renewal by `validity`, where that is earlier; one whose time has passed is tried after a quarter of what is
    left, but not sooner than in an hour nor later than in a week; without a certificate after a day (decision 7).
    """
    ended_at = ended.completed_at
    if ended_at is None:
        raise ValueError(f"line {ended.sequence} of {ended.device} has not ended")
    times = []
    if settings.interval_days:
        counted_from = ended_at if ended.status == "successful" else ended.request_at
        times.append(counted_from + timedelta(hours=24 * settings.interval_days))
    if validity is not None:
        begins, ends = validity
        renewals = []
        if settings.renew_at_percent:
            renewals.append(
                begins + timedelta(seconds=(ends - begins).total_seconds() * settings.renew_at_percent / 100)
            )
        if settings.renew_days_before:
            renewals.append(ends - timedelta(hours=24 * settings.renew_days_before))
        if renewals and min(renewals) > ended_at:
            times.append(min(renewals))
        elif renewals:
            quarter = (ends - ended_at).total_seconds() / 4
            times.append(ended_at + timedelta(seconds=min(max(quarter, 3600), 7 * 24 * 3600)))
    elif not times and ended.status == "error" and (settings.renew_at_percent or settings.renew_days_before):
        times.append(ended_at + timedelta(hours=24))
    return Next("periodic", max(min(times), ended_at), 0) if times else None


def differs(wanted: Next | None, waits: Line | None) -> Iterator[tuple[str, str]]:
    """Rule and text of each difference between what has to wait and what does."""
    if wanted is None or waits is None:
        if waits is not None:
            yield "R12", f"a {waits.trigger} request waits for {waits.request_at}; nothing should"
        if wanted is not None:
            yield "R12", f"nothing waits; a {wanted.trigger} request should, for {wanted.request_at}"
        return
    rule = "R9" if wanted.trigger == "timer" else "R12"
    if waits.trigger != wanted.trigger:
        yield rule, f"a {waits.trigger} request waits; expected: {wanted.trigger}"
    if abs(waits.request_at - wanted.request_at) > _A_HAIR:
        yield (
            rule,
            f"the request is set for {waits.request_at}; expected: {wanted.request_at.astimezone(UTC)}",
        )
    if waits.offset != wanted.offset:
        yield "R10", f"the line's offset is {waits.offset} s; expected: {wanted.offset}"
    if waits.due_at is not None and waits.due_at < waits.request_at:
        yield "R9", f"somebody looks at it at {waits.due_at}, before its time"


def outcome(answers: Sequence[str], polls_left: int, room: bool) -> Outcome:
    """R11, R16, R17: what a step comes to whose messages got these answers."""
    if not room:
        return Outcome("R11", "error", "Key and Certificate Registration Limit Error")
    if not answers:
        return Outcome("R11", "processing")
    kind, _, number = answers[-1].partition(" ")
    if kind in ("issued", "again"):
        return Outcome("R16", "successful")
    if kind in ("pending", "unreachable"):
        if polls_left > 0:
            return Outcome("R11", "processing")
        return Outcome("R17", "error", "Deferred" if kind == "pending" else "Communication Error (TOP ERROR)")
    if kind == "failure":
        return Outcome("R17", "error", f"Communication Error (SCEP ERROR Fail Info {number})")
    if kind == "forged":
        return Outcome("R17", "error", "Communication Error (SCEP ERROR Fail Info 1)")
    if kind == "http":
        return Outcome("R17", "error", f"Communication Error (TOP ERROR {number})")
    # GetCACaps and GetCACert went well, and no message came after: only for somebody who is gone
    return Outcome("R11", "processing")


def wrong_in(line: Line) -> Iterator[tuple[str, str]]:
    """Rule and text of what is wrong with a line by itself (R10, R16, R17)."""
    if line.status == "error":
        if not _DETAILS.fullmatch(line.details):
            yield "R17", f"no such [Details]: {line.details!r}"
    elif line.details:
        yield "R17", f"[Details] of a line that is {line.status}: {line.details!r}"
    if line.status not in ("to_be_processed", "processing", "error", "successful"):
        yield "R16", f"no such [Status]: {line.status!r}"
    if not 0 <= line.offset <= 600:
        yield "R10", f"the offset {line.offset} is not 0 to 600 s"
    ended = line.status in ("error", "successful")
    if ended != (line.completed_at is not None):
        yield "R16", f"{line.status} and completed at {line.completed_at}"
    if line.completed_at is not None and line.completed_at < line.request_at:
        yield "R16", "completed before its [Request Date/Time]"
    if line.started_at is not None and line.started_at < line.request_at:
        yield "R9", f"started at {line.started_at}, before its [Request Date/Time]"
