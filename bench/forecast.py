"""The load forecast at scale (F1): 100,000 devices with one start time, before and after they are spread.

On a private PostgreSQL. The spread is applied by one UPDATE in place of the job, and forecast anew.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from bench import fleet
from bench.figures import Figure
from bench.fleet import LARGE, SMALL

if TYPE_CHECKING:
    from devices.forecast import ServerLoad
    from devices.spread import Spread

T = TypeVar("T")

DAYS = 90
HOURS = 2
"""The window: each of the servers has 5,000 devices, and 60 a minute take 84 minutes for them."""
TURNS = 5
PER_MINUTE = 60


def run() -> dict[str, Figure]:
    """Ratios; takes about a minute."""
    fleet.start_peers()
    from django.utils import timezone

    now = timezone.now().replace(second=0, microsecond=0)
    times: dict[int, list[float]] = {SMALL: [], LARGE: []}
    for devices in times:
        with fleet.database(f"forecast_{devices}", create=True):
            fleet.fill(devices)
            _one_start_time(now + timedelta(days=1))
    for _ in range(TURNS):
        for devices in times:
            with fleet.database(f"forecast_{devices}"):
                times[devices].append(_timed(lambda: _forecast(now))[0])
    small, large = (statistics.median(times[devices]) for devices in (SMALL, LARGE))
    cost = f"{large:.2f} s for {DAYS} days at {LARGE:,} devices, {small:.2f} s at {SMALL:,}"
    with fleet.database(f"forecast_{LARGE}"):
        return {
            **_before_and_after(now),
            # a hundred times the devices: counting them in the database costs far less than a hundred times
            "forecast_cost_ratio": Figure(large / small, cost, at_most=LARGE / SMALL / 4),
        }


def _before_and_after(now: datetime) -> dict[str, Figure]:
    before = _forecast(now)
    seconds, spread = _timed(lambda: _propose(now))
    _apply(spread)
    after = _forecast(now)
    again = _propose(now)
    if spread.unplaced or again.moves:
        raise AssertionError(f"{spread.unplaced} do not fit, {len(again.moves)} would move once more")
    proposal = f"{len(spread.moves):,} devices moved, {spread.stay:,} stayed; proposed in {seconds:.1f} s"
    return {
        "forecast_peak_before_spread_ratio": Figure(_busiest(before) / PER_MINUTE, _told(before), at_least=1),
        "forecast_peak_after_spread_ratio": Figure(
            _busiest(after) / PER_MINUTE, f"{_told(after)}; {proposal}", at_most=1
        ),
    }


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def _forecast(now: datetime) -> list[ServerLoad]:
    from devices.forecast import forecast
    from devices.models import ScepServer

    loads = forecast(list(ScepServer.objects.all()), now=now, end=now + timedelta(days=DAYS))
    for load in loads:
        _counted = load.summary
    return loads


def _propose(now: datetime) -> Spread:
    from devices.models import DeviceGroup
    from devices.spread import propose_spread

    start = now + timedelta(days=1)
    return propose_spread(DeviceGroup.objects.get(), window_start=start, window_hours=HOURS, now=now)


def _busiest(loads: list[ServerLoad]) -> int:
    return max(max(load.load.values()) for load in loads)


def _told(loads: list[ServerLoad]) -> str:
    over = sum(load.summary.minutes_over for load in loads)
    late = max(load.summary.latest.minutes_late if load.summary.latest else 0 for load in loads)
    return (
        f"busiest minute of {len(loads)} servers: {_busiest(loads):,} requests, allowance {PER_MINUTE}; "
        f"{over:,} minutes over it, the last request {late} minutes late"
    )


def _one_start_time(start: datetime) -> None:
    """Everybody in one group with one start time, and an offset of 1 to 600 s that is the device's own (R10)."""
    from django.db import connection

    from devices import inventory
    from devices.audit import SYSTEM
    from devices.models import Device, ScepServer

    Device.objects.update(group=inventory.create_group(SYSTEM, name="Everybody"))
    ScepServer.objects.update(max_requests_per_minute=PER_MINUTE)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_scepsettings SET request_start_at = %s, offset_seconds = 1 + device_id * 7919 %% 600",
            [start],
        )
        cursor.execute(
            "UPDATE devices_issuancerequest r SET offset_seconds = s.offset_seconds, "
            "request_at = s.request_start_at + s.offset_seconds * interval '1 second', "
            "next_action_at = s.request_start_at + s.offset_seconds * interval '1 second' "
            "FROM devices_scepsettings s WHERE s.device_id = r.device_id"
        )
        cursor.execute("VACUUM ANALYZE")


def _apply(spread: Spread) -> None:
    """What the job does, for all at once: the start moves, and the request with it by the offset that stays."""
    from django.db import connection

    ids = [move.device for move in spread.moves]
    starts = [move.request_start_at for move in spread.moves]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_scepsettings s SET request_start_at = m.start "
            "FROM unnest(%s::bigint[], %s::timestamptz[]) m(device_id, start) WHERE m.device_id = s.device_id",
            [ids, starts],
        )
        cursor.execute(
            "UPDATE devices_issuancerequest r SET "
            "request_at = s.request_start_at + s.offset_seconds * interval '1 second', "
            "next_action_at = s.request_start_at + s.offset_seconds * interval '1 second' "
            "FROM devices_scepsettings s WHERE s.device_id = r.device_id"
        )
        cursor.execute("VACUUM ANALYZE")
