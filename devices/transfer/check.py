"""The first step of an import: what would be added, changed and refused; nothing of the fleet changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from devices import secrets
from devices.access import Permission, require
from devices.audit import Actor
from devices.delivery.connectors.registry import secret_names
from devices.models import Import, ImportRow
from devices.models.choices import FileFormatChoices, JobItemStateChoices, RowOutcomeChoices
from devices.models.job import Job, Progress
from devices.transfer import csv_format, rows, storage, xml_format
from devices.transfer.columns import columns
from devices.transfer.rows import PlannedRow
from devices.transfer.source import MOST_ROWS, FileUnusable, Problem, SourceRow, too_many_rows

CHUNK = 500
"""Rows that are checked in one transaction."""

APPLIED = (RowOutcomeChoices.ADDED, RowOutcomeChoices.CHANGED)
"""Outcomes of rows that are applied; locked ones are when their timers may be suspended."""


def steps(actor: Actor, parameters: Mapping[str, Any]) -> Iterator[Progress]:
    """Check the import `parameters["import"]`, chunk by chunk; what was checked before is not checked again.

    Each step is the caller's transaction.
    """
    found = Import.objects.get(pk=parameters["import"])
    try:
        if found.total is None:
            _survey(found)
            yield _progress(found)
        source = _format(found).read(storage.pieces(found))
        rest = islice(source, found.checked, None)
        while chunk := list(islice(rest, CHUNK)):
            _check(actor, found, chunk)
            yield _progress(found)
    except FileUnusable as unusable:
        found.problem, found.total = str(unusable), found.total or 0
        found.rows.all().delete()
        found.save()
    yield _progress(found)


def _format(found: Import) -> Any:
    return xml_format if found.format == FileFormatChoices.XML else csv_format


def _progress(found: Import) -> Progress:
    return Progress(found.checked - found.refused, found.refused, found.total or 0)


def _survey(found: Import) -> None:
    """Read the file once from end to end: its rows are counted. Raises FileUnusable."""
    total = _format(found).count(storage.pieces(found), MOST_ROWS)
    if total > MOST_ROWS:
        raise too_many_rows()
    if not total:
        raise FileUnusable(_("There is no device in the file."))
    found.total = total
    found.save(update_fields=["total"])


def _check(actor: Actor, found: Import, chunk: Sequence[SourceRow]) -> None:
    """Check a chunk and store what it comes to."""
    names = set(found.columns).union(*(row.cells for row in chunk))
    require_for(actor, names)
    found.columns = [name for name in columns() if name in names]
    chunk = [_without_secrets(row) for row in chunk]
    for row in chunk:
        _check_columns(found, row)
    planned = rows.plan(actor, chunk, now=timezone.now(), suspend_timers=True)
    _check_doubles(found, planned)
    first = found.checked
    ImportRow.objects.bulk_create(
        [_stored(found, number, one) for number, one in enumerate(planned, start=first)]
    )
    for one in planned:
        name = one.outcome.value
        setattr(found, name, getattr(found, name) + 1)
    found.save(update_fields=["columns", *(outcome.value for outcome in RowOutcomeChoices)])


def _without_secrets(row: SourceRow) -> SourceRow:
    """Take secret settings of a connector out of the column of those that may be seen: nothing of them is kept."""
    cell = row.cells.get("connector_settings", "")
    if not any(f'"{name}"' in cell for name in secret_names()):
        return row
    reason = _("Secret settings belong into the column “connector_secrets” of an encrypted file.")
    problem = Problem("connector_settings", "", reason)
    return SourceRow(row.line, {**row.cells, "connector_settings": ""}, [*row.problems, problem])


def _check_columns(found: Import, row: SourceRow) -> None:
    """Secrets come in encrypted files only, so that nobody gets used to writing them into others."""
    if found.may_hold_secrets:
        return
    for name in [name for name in row.cells if columns()[name].secret]:
        if row.cells[name]:
            reason = _(
                "Secrets belong into a file that is encrypted with a password, as the export makes it."
            )
            row.problems.append(Problem(name, "", reason))


def _check_doubles(found: Import, planned: Sequence[PlannedRow]) -> None:
    """Refuse rows whose name, serial number or device an earlier row of the file has; three queries."""
    for column, key in (("name", _name), ("serial_number", _serial), ("", _device)):
        wanted = {value for one in planned if (value := key(one))}
        field = column or "device"
        earlier = ImportRow.objects.filter(of=found, **{f"{field}__in": wanted})
        seen = dict(earlier.order_by("-number").values_list(field, "line")) if wanted else {}
        for one in planned:
            value = key(one)
            if not value:
                continue
            if value in seen:
                reasons = {
                    "name": _("Line %(line)d has the same name."),
                    "serial_number": _("Line %(line)d has the same serial number."),
                    "": _("Line %(line)d is about the same device."),
                }
                if column or not {"name", "serial_number"} & {problem.column for problem in one.problems}:
                    one.refuse(column, reasons[column] % {"line": seen[value]})
            else:
                seen[value] = one.row.line


def _name(one: PlannedRow) -> Any:
    return one.row.cells.get("name", "")[:100]


def _serial(one: PlannedRow) -> Any:
    return one.row.cells.get("serial_number", "")[:100]


def _device(one: PlannedRow) -> Any:
    return one.device_id


def _stored(found: Import, number: int, one: PlannedRow) -> ImportRow:
    secret = {name: cell for name, cell in one.row.cells.items() if columns()[name].secret and cell}
    may_apply = one.outcome in (*APPLIED, RowOutcomeChoices.LOCKED)
    return ImportRow(
        of=found,
        number=number,
        line=one.row.line,
        name=_name(one),
        serial_number=_serial(one),
        device_id=one.device_id,
        outcome=one.outcome,
        cells={name: cell for name, cell in one.row.cells.items() if not columns()[name].secret},
        secrets_encrypted=secrets.encrypt(json.dumps(secret).encode()) if secret and may_apply else None,
        changes=one.changes,
        problems=[[problem.column, problem.value, problem.reason] for problem in one.problems],
        state=JobItemStateChoices.WAITING if one.outcome in APPLIED else "",
    )


def ended(job: Job) -> None:
    """The file's bytes are not needed any more; of a check that was canceled nothing is left."""
    for found in Import.objects.filter(check_job=job):
        storage.drop(found)


def require_for(actor: Actor, names: Iterable[str]) -> None:
    """Raise PermissionDenied unless `actor` may import a file with these columns (R1)."""
    require(actor, Permission.ADD_DEVICE)
    require(actor, Permission.CHANGE_DEVICE)
    if any(columns()[name].of_settings for name in names):
        require(actor, Permission.CHANGE_SCEP_SETTINGS)
