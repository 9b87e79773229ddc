"""The figures of a simulated year."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from tests.simulation.records import Began, Deleted, Done, Final, Line, Lost, Message, Saved
from tests.simulation.simulation import Simulation
from tests.simulation.walk_state import Breach


def report(simulation: Simulation, breaches: Sequence[Breach], *, days: int) -> str:
    """A table, a figure a line."""
    return "\n".join(f"{name:34}{value}" for name, value in _figures(simulation, breaches, days))


def _figures(simulation: Simulation, breaches: Sequence[Breach], days: int) -> Iterator[tuple[str, str]]:
    log = simulation.log
    devices = {record.device for record in log if isinstance(record, Saved)}
    deleted = {record.device for record in log if isinstance(record, Deleted)}
    ended = [record for record in log if isinstance(record, Line) and record.completed_at is not None]
    yield "devices", f"{len(devices)}, {len(deleted)} of them removed on the way"
    yield "simulated days", str(days)
    yield "requests ended", str(len(ended))
    for (status, details), number in sorted(Counter((e.status, e.details) for e in ended).items()):
        yield f"  {status}", f"{number:6} {details}"
    for trigger, number in sorted(Counter(line.trigger for line in ended).items()):
        yield f"  {trigger}", f"{number:6}"
    yield "steps of workers", str(simulation.steps)
    messages = [record for record in log if isinstance(record, Message)]
    for kind, number in sorted(Counter(message.kind for message in messages).items()):
        yield f"  {kind}", f"{number:6}"
    yield "polls", str(_polls(simulation))
    yield (
        "workers killed, rings lost",
        (f"{sum(isinstance(r, Done) and r.killed for r in log)}, {sum(isinstance(r, Lost) for r in log)}"),
    )
    issued = Counter(line.device for line in ended if line.status == "successful")
    renewals = sorted(max(0, issued[device] - 1) for device in devices - deleted)
    yield (
        "renewals per device",
        (f"{renewals[0]} min, {statistics.median(renewals):g} median, {renewals[-1]} max"),
    )
    yield "latest start after its time", str(_latest(simulation))
    yield "refused: a request was under way", str(simulation.administrator.refused)
    yield "new starts by an administrator", str(simulation.administrator.restarts)
    finals = {record.device for record in log if isinstance(record, Final) and not record.key.is_default}
    yield "devices with keys at the end", str(len(finals))
    yield "breaches", str(len(breaches))
    for rule, number in sorted(Counter(breach.rule for breach in breaches).items()):
        yield f"  {rule}", f"{number:6}"


def _polls(simulation: Simulation) -> int:
    """Steps after the first one of a request."""
    steps = Counter((r.device, r.sequence) for r in simulation.log if isinstance(r, Began))
    return sum(number - 1 for number in steps.values())


def _latest(simulation: Simulation) -> timedelta:
    """How long after its time, or after a change that made it due, a request was begun, at most."""
    saved: dict[str, datetime] = {}
    latest = timedelta()
    for record in simulation.log:
        if isinstance(record, Saved):
            saved[record.device] = record.at
        elif isinstance(record, Line) and record.status == "processing" and record.started_at is not None:
            since = max(record.request_at, saved.get(record.device, record.request_at))
            latest = max(latest, record.started_at - since)
    return latest
