"""The dispatcher at scale (F2): a tick with 1,000 and with 100,000 devices, and ringing in batches.

On a private PostgreSQL and Redis. The two fleets lie in two databases of one server and are measured in turns.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import Figure
from tests.peers import postgres, redis

if TYPE_CHECKING:
    from django.db.models import Model

SMALL, LARGE = 1_000, 100_000
SERVERS = 20
DUE = 60
"""Requests that are due in each measured tick."""
TICKS = 40
RINGS = 10_000


def run() -> dict[str, Figure]:
    """Ratios; takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="fleetseal-bench-") as folder, contextlib.ExitStack() as stack:
        directory = Path(folder)
        url = stack.enter_context(postgres.running_server(directory))
        broker = stack.enter_context(redis.running_server(directory))
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "FLEETSEAL_DATA_DIR": str(directory / "data"),
            "FLEETSEAL_LOG_LEVEL": "WARNING",
            "DATABASE_URL": url,
            "REDIS_URL": broker.url,
        }
        import django

        django.setup()
        try:
            return _tick_ratio() | _ring_speedup()
        finally:
            from django.db import connections

            connections.close_all()


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
            with _database(devices, create=True):
                _fill(devices)
        for _ in range(TICKS):
            for devices in times:
                with _database(devices):
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

    with _database(LARGE):
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


@contextlib.contextmanager
def _database(devices: int, *, create: bool = False) -> Iterator[None]:
    """Make the database with so many devices the default one."""
    from django.core.management import call_command
    from django.db import connection

    name, home = f"fleet_{devices}", connection.settings_dict["NAME"]
    if create:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        connection.ensure_connection()
        if create:
            call_command("migrate", verbosity=0)
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = home


def _fill(devices: int) -> None:
    """One device of each server by the services, and the others as their copies in the database."""
    from django.db import connection
    from django.utils import timezone

    from devices import inventory
    from devices.audit import SYSTEM
    from devices.enrollment import requests
    from devices.models import Device, IssuanceRequest, ScepSettings

    later = timezone.now() + timedelta(days=30)
    timer: dict[str, Any] = {"timer_enabled": True, "request_start_at": later, "request_interval_days": 90}
    for number in range(SERVERS):
        server = inventory.create_server(
            SYSTEM, name=f"CA {number}", url=f"http://ca{number}.example.com/scep"
        )
        device = inventory.create_device(SYSTEM, name=f"mfp-{number}", host="10.0.0.1")
        requests.save_settings(SYSTEM, device, server=server, **timer)
        copies = devices // SERVERS - 1
        # ids far apart for each template, so that copies of one table find those of the other
        base = (number + 1) * 1_000_000
        _copy(Device, device.pk, copies, {"id": f"{base} + n", "name": f"'mfp-{number}-' || n"})
        of_device = {"id": f"{base} + n", "device_id": f"{base} + n"}
        _copy(ScepSettings, device.scep_settings.pk, copies, of_device)
        _copy(IssuanceRequest, IssuanceRequest.objects.get(device=device).pk, copies, of_device)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _copy(model: type[Model], template: int, copies: int, changes: dict[str, str]) -> None:
    """`copies` rows like the one with the id `template`; `changes` are SQL expressions over n = 1, 2, ..."""
    from django.db import connection

    columns = [str(field.column) for field in model._meta.local_concrete_fields]
    values = [changes.get(column, f"t.{column}") for column in columns]
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
            f"FROM {table} t, generate_series(1, {int(copies)}) n WHERE t.id = {int(template)}"
        )


def _make_due(number: int) -> None:
    """So many requests are due, the same number of each server; all others are not, and nobody holds any."""
    from django.db import connection
    from django.utils import timezone

    from devices.models import IssuanceRequest, ScepServer

    later: dict[str, Any] = {"lease": None, "claimed_at": None, "takeovers": 0}
    later["next_action_at"] = timezone.now() + timedelta(days=30)
    IssuanceRequest.objects.filter(lease__isnull=False).update(**later)
    for server in ScepServer.objects.all():
        ids = IssuanceRequest.objects.filter(server=server).order_by("pk").values("pk")[: number // SERVERS]
        IssuanceRequest.objects.filter(pk__in=ids).update(
            next_action_at=timezone.now() - timedelta(seconds=9)
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM devices_issuancerequest")
