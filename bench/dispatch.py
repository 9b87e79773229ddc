"""The dispatcher at scale (F2): a tick with 1,000 and with 100,000 devices, and ringing in batches.

On a private PostgreSQL and Redis. The two fleets lie in two databases of one server and are measured in turns.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from bench import fleet
from bench.figures import Figure
from bench.fleet import LARGE, SMALL

DUE = 60
"""Requests that are due in each measured tick."""
TICKS = 40
RINGS = 10_000


def run() -> dict[str, Figure]:
    """Ratios; takes about a minute."""
    fleet.start_peers()
    return _tick_ratio() | _ring_speedup()


def _silent(lease: uuid.UUID, request_ids: Sequence[int]) -> bool:
    """A bell without a sound: the queue is not part of this figure."""
    return True


def _tick_ratio() -> dict[str, Figure]:
    from django.utils import timezone

    from devices import doorbell
    from devices.enrollment import dispatch

    ring, doorbell.ring_workers = doorbell.ring_workers, _silent
    times: dict[int, list[float]] = {SMALL: [], LARGE: []}
    try:
        for devices in times:
            with fleet.database(f"dispatch_{devices}", create=True):
                fleet.fill(devices)
        for _ in range(TICKS):
            for devices in times:
                with fleet.database(f"dispatch_{devices}"):
                    _make_due(DUE)
                    now = timezone.now()
                    began = time.perf_counter()
                    claimed = dispatch.dispatch_due(now)
                    times[devices].append(time.perf_counter() - began)
                    if claimed != DUE:
                        raise AssertionError(f"{claimed} claimed of {DUE} due")
    finally:
        doorbell.ring_workers = ring
    small, large = (statistics.median(times[devices]) for devices in (SMALL, LARGE))
    remark = f"{1000 * large:.1f} ms at {LARGE:,} devices, {1000 * small:.1f} ms at {SMALL:,}, {DUE} due"
    return {"dispatch_tick_ratio": Figure(large / small, remark, at_most=1.3)}


def _ring_speedup() -> dict[str, Figure]:
    """Claiming and ringing for RINGS due devices, beside as many single delay() calls."""
    from django.utils import timezone

    from devices import tasks
    from devices.enrollment import dispatch

    with fleet.database(f"dispatch_{LARGE}"):
        tasks.dispatch_due.delay()  # the connection is open on both sides
        _make_due(RINGS)
        began = time.perf_counter()
        claimed = dispatch.dispatch_due(timezone.now())
        batched = time.perf_counter() - began
        if claimed != RINGS:
            raise AssertionError(f"{claimed} claimed of {RINGS} due")
    began = time.perf_counter()
    for number in range(RINGS):
        tasks.advance_requests.delay("00000000-0000-0000-0000-000000000000", [number])
    single = time.perf_counter() - began
    remark = f"{batched:.2f} s claimed and rung for {RINGS:,}, {single:.2f} s for as many delay() calls"
    return {"dispatch_ring_speedup": Figure(single / batched, remark, at_least=10)}


def _make_due(number: int) -> None:
    """So many requests are due, the same number of each server; all others are not, and nobody holds any."""
    from django.db import connection
    from django.utils import timezone

    from devices.models import IssuanceRequest, ScepServer

    later: dict[str, Any] = {"lease": None, "claimed_at": None, "takeovers": 0}
    later["next_action_at"] = timezone.now() + timedelta(days=30)
    IssuanceRequest.objects.filter(lease__isnull=False).update(**later)
    for server in ScepServer.objects.all():
        ids = (
            IssuanceRequest.objects.filter(server=server)
            .order_by("pk")
            .values("pk")[: number // fleet.SERVERS]
        )
        IssuanceRequest.objects.filter(pk__in=ids).update(
            next_action_at=timezone.now() - timedelta(seconds=9)
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM devices_issuancerequest")
