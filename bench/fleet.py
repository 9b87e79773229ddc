"""Fleets of any size for benchmarks, on a private PostgreSQL and Redis."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers import postgres, redis

if TYPE_CHECKING:
    from django.db.models import Model

SMALL, LARGE = 1_000, 100_000
SERVERS = 20


@functools.cache
def start_peers() -> None:
    """Django on a PostgreSQL and a Redis of its own until the program ends; however often it is called.

    Once per process, because Django reads its settings once.
    """
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetseal-bench-")))
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
    from django.db import connections

    stack.callback(connections.close_all)


@contextlib.contextmanager
def database(name: str, *, create: bool = False) -> Iterator[None]:
    """Make the database `name` the default one."""
    from django.core.management import call_command
    from django.db import connection

    home = connection.settings_dict["NAME"]
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


def fill(devices: int) -> None:
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
