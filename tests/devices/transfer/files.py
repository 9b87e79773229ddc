"""Files for tests, and importing them as the product does: handed in, checked by a job, applied by a job."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from devices import imports
from devices.audit import SYSTEM, Actor
from devices.jobs import run
from devices.models import Import


def csv_file(rows: Sequence[Mapping[str, Any]], *, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    """A CSV file with the columns of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def work() -> None:
    """As the workers do, until nothing is due."""
    while claimed := run.claim_due(timezone.now()):
        for job_id, lease in claimed:
            run.advance(job_id, lease)


def checked(content: bytes, actor: Actor = SYSTEM, **options: Any) -> Import:
    """The file, handed in and checked."""
    found = imports.receive(actor, io.BytesIO(content), file_name="fleet.csv", **options)
    work()
    return Import.objects.get(pk=found.pk)


def applied(content: bytes, actor: Actor = SYSTEM, *, good_rows_only: bool = False, **options: Any) -> Import:
    """The same, and applied."""
    found = checked(content, actor, **options)
    imports.apply(actor, found, good_rows_only=good_rows_only)
    work()
    return Import.objects.select_related("apply_job").get(pk=found.pk)


def problems(found: Import) -> list[tuple[int, str, str]]:
    """Line, column and reason of everything that is wrong."""
    return [
        (row.line, column, reason)
        for row in found.rows.filter(outcome="refused").order_by("number")
        for column, _value, reason in row.problems
    ]


TIMER = {"server": "CA", "timer_enabled": "TRUE", "request_start_at": "2099-01-11T07:00:00Z"}
"""The cells of a device whose timer is on."""


def new(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Rows of devices that there are not."""
    return [{"name": f"new-{n:05}", "host": f"10.2.{n // 250}.{n % 250}", **fields} for n in range(count)]


def outcome(found: Import) -> tuple[int, int, int, int, int]:
    """What the check came to: added, changed, unchanged, locked, refused."""
    return found.added, found.changed, found.unchanged, found.locked, found.refused
