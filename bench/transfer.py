"""Imports at scale (R19): beside django-import-export, and with ten times the rows in the same memory.

On a private PostgreSQL. Each measured part is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure
from tests.peers import postgres

ROWS, MANY = 10_000, 100_000
BESIDE = 2_000
"""Rows for the comparison: the other one takes minutes for more."""


def run() -> dict[str, Figure]:
    """A ratio to django-import-export, and one of peak memories; takes some minutes."""
    with tempfile.TemporaryDirectory(prefix="fleetseal-bench-") as folder, contextlib.ExitStack() as stack:
        directory = Path(folder)
        server = stack.enter_context(postgres.running_server(directory))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "FLEETSEAL_DATA_DIR": str(directory / "data"),
            "FLEETSEAL_LOG_LEVEL": "ERROR",
            "DATABASE_URL": server,
            # nobody listens there, and nobody is needed: this process works on the jobs itself
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }

        def measured(part: str, rows: int, file_format: str = "csv") -> dict[str, Any]:
            command = [sys.executable, "-m", "bench.transfer", part, str(rows), file_format]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, timeout=3600)
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found

        measured("migrate", 0)
        ours, theirs = measured("ours", BESIDE), measured("theirs", BESIDE)
        csv, xml = measured("fleet", ROWS), measured("fleet", ROWS, "xml")
        many = measured("fleet", MANY)
    seconds = [ours["check"] + ours["apply"], theirs["check"] + theirs["apply"]]
    return {
        "import_speedup": Figure(
            seconds[1] / seconds[0],
            f"{BESIDE:,} devices checked and applied in {seconds[0]:.1f} s, "
            f"by django-import-export in {seconds[1]:.1f} s",
            at_least=10,
        ),
        "import_memory_ratio": Figure(
            many["memory"] / csv["memory"],
            f"peak {many['memory']:.0f} MiB for {MANY:,} rows, {csv['memory']:.0f} MiB for {ROWS:,}; "
            f"{MANY:,} devices with all settings: check {many['check']:.0f} s, apply {many['apply']:.0f} s; "
            f"{ROWS:,}: CSV {csv['check']:.1f} and {csv['apply']:.1f} s, "
            f"XML {xml['check']:.1f} and {xml['apply']:.1f} s",
            at_most=1.2,
        ),
    }


def _device(number: int) -> dict[str, Any]:
    """What both can do: a device's own data."""
    return {
        "name": f"mfp-{number:06}",
        "host": f"10.{number // 62500 + 1}.{number // 250 % 250}.{number % 250 + 1}",
        "serial_number": f"SN{number:06}",
        "vendor": "Example",
        "model": "MFP 300",
        "firmware": "1.10",
        "location": "2nd floor",
        "group": "Head office",
        "key_limit": 10,
        "tls_enabled": "true",
    }


_SETTINGS = {
    "server": "CA",
    "timer_enabled": "true",
    "request_start_at": "2099-01-11T07:00:00Z",
    "auto_adjust": "true",
    "polling_count": 3,
    "polling_interval_seconds": 60,
    "request_interval_days": 90,
    "renew_at_percent": "",
    "renew_days_before": "",
    "auto_restart": "false",
    "delete_old_key": "true",
    "key_name": "SCEP",
    "signature_algorithm": "SHA-256",
    "key_length": 2048,
    "organization": "Example",
    "common_name": "",
    "key_use": "tls",
    "ipsec_destination": "",
    "ipsec_enabled": "false",
    "ipsec_destinations": "",
    "ieee_802_1x_enabled": "false",
}


def _rows(count: int, *, with_settings: bool) -> Iterator[dict[str, Any]]:
    more = _SETTINGS if with_settings else {}
    return ({**_device(number), **more} for number in range(count))


def _write(path: Path, rows: Iterator[dict[str, Any]], file_format: str) -> None:
    """Row by row: a list of them would be what is measured."""
    import csv

    with path.open("w", newline="") as file:
        if file_format == "xml":
            file.write("<fleetseal_devices>")
            for row in rows:
                inside = "".join(f"<{name}>{value}</{name}>" for name, value in row.items())
                file.write(f"<device>{inside}</device>\n")
            file.write("</fleetseal_devices>")
            return
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, [*row])
                writer.writeheader()
            writer.writerow(row)


def _empty_fleet() -> None:
    from django.db import connection

    from devices import inventory
    from devices.audit import SYSTEM
    from devices.models import AuditEvent, Device, DeviceGroup, Import, Job, ScepServer

    with connection.cursor() as cursor:
        tables = ", ".join(model._meta.db_table for model in (Import, Job, Device, AuditEvent))
        cursor.execute(f"TRUNCATE {tables} CASCADE")
    if not DeviceGroup.objects.exists():
        inventory.create_group(SYSTEM, name="Head office", time_zone="Asia/Tokyo")
    if not ScepServer.objects.exists():
        inventory.create_server(SYSTEM, name="CA", url="http://ca.example.com/scep")


def _ours(path: Path, rows: int) -> dict[str, float]:
    from devices import doorbell, imports
    from devices.audit import SYSTEM
    from devices.jobs import run as jobs
    from devices.models import Device, Import

    doorbell.ring_jobs = lambda: True
    began = time.perf_counter()
    with path.open("rb") as file:
        found = imports.receive(SYSTEM, file, file_name=path.name)
    _work(jobs, found.check_job)
    checked = time.perf_counter()
    found = Import.objects.get(pk=found.pk)
    if found.added != rows:
        raise AssertionError(f"{found.added} of {rows} rows are good: {found.problem}")
    _work(jobs, imports.apply(SYSTEM, found, good_rows_only=True))
    applied = time.perf_counter()
    if Device.objects.count() != rows:
        raise AssertionError(f"{Device.objects.count()} devices of {rows} are there")
    return {"check": checked - began, "apply": applied - checked}


def _work(jobs: Any, job: Any) -> None:
    jobs.work_here(job, lambda _progress: None)


def _theirs(path: Path, rows: int) -> dict[str, float]:
    """As its guide has it: a dry run that validates, then the import; devices only."""
    import tablib
    from import_export import fields, resources, widgets

    from devices.models import Device, DeviceGroup

    class DeviceResource(resources.ModelResource):  # type: ignore[misc]
        group = fields.Field("group", "group", widgets.ForeignKeyWidget(DeviceGroup, "name"))

        class Meta:
            model = Device
            import_id_fields = ("name",)
            fields = tuple(_device(0))
            clean_model_instances = True
            skip_unchanged = True

    resource = DeviceResource()
    data = tablib.Dataset().load(path.read_text(), format="csv")
    began = time.perf_counter()
    if resource.import_data(data, dry_run=True).has_errors():
        raise AssertionError("the dry run has errors")
    checked = time.perf_counter()
    resource.import_data(data, dry_run=False, raise_errors=True)
    applied = time.perf_counter()
    if Device.objects.count() != rows:
        raise AssertionError(f"{Device.objects.count()} devices of {rows} are there")
    return {"check": checked - began, "apply": applied - checked}


def _part(part: str, rows: int, file_format: str) -> dict[str, float]:
    """In a process of its own."""
    import resource

    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    if part == "migrate":
        call_command("migrate", verbosity=0)
        return {}
    _empty_fleet()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fleet.{file_format}"
        _write(path, _rows(rows, with_settings=part == "fleet"), file_format)
        seconds = _theirs(path, rows) if part == "theirs" else _ours(path, rows)
    connections.close_all()
    return seconds | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(_part(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
