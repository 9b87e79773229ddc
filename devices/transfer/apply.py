"""The second step of an import: what the check found is done, unless the fleet has changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import inventory, secrets
from devices.audit import Actor
from devices.enrollment import bulk
from devices.models import Import, ImportRow
from devices.models.bulk import overwrite
from devices.models.choices import JobItemStateChoices, RowOutcomeChoices
from devices.models.job import Job, Progress
from devices.transfer import rows
from devices.transfer.rows import PlannedRow
from devices.transfer.source import SourceRow

CHUNK = 200
"""Rows that are applied in one transaction."""

_DONE, _REFUSED = JobItemStateChoices.DONE, JobItemStateChoices.REFUSED


def steps(actor: Actor, parameters: Mapping[str, Any]) -> Iterator[Progress]:
    """Apply the import `parameters["import"]`, chunk by chunk; what is done is not done again.

    Each step is the caller's transaction, or all of them are one. Raises PermissionDenied.
    """
    found = Import.objects.get(pk=parameters["import"])
    states = found.rows.aggregate(
        total=Count("pk", filter=~Q(state="")),
        done=Count("pk", filter=Q(state=_DONE)),
        refused=Count("pk", filter=Q(state=_REFUSED)),
    )
    done, refused, total = states["done"], states["refused"], states["total"]
    while chunk := list(found.rows.filter(state=JobItemStateChoices.WAITING).order_by("number")[:CHUNK]):
        refusals = _apply(actor, chunk, suspend_timers=bool(parameters["suspend_timers"]))
        done, refused = done + len(chunk) - len(refusals), refused + len(refusals)
        yield Progress(done, refused, total, refusals)


def begin(found: Import, *, suspend_timers: bool) -> int:
    """Say which rows are to be applied; how many they are."""
    if suspend_timers:
        found.rows.filter(outcome=RowOutcomeChoices.LOCKED).update(state=JobItemStateChoices.WAITING)
    return found.added + found.changed + (found.locked if suspend_timers else 0)


def refuse(refusals: Mapping[int, str]) -> None:
    """Mark rows as refused, and say why, by their ids."""
    marked = list(ImportRow.objects.filter(pk__in=refusals))
    for row in marked:
        row.state, row.message = _REFUSED, refusals[row.pk]
    overwrite(marked, ["state", "message"])


def ended(job: Job) -> None:
    """Nothing of the import waits any more, and its secrets are gone."""
    mine = ImportRow.objects.filter(of__apply_job=job)
    mine.filter(state=JobItemStateChoices.WAITING).update(state=JobItemStateChoices.CANCELED)
    mine.filter(secrets_encrypted__isnull=False).update(secrets_encrypted=None)


def _apply(actor: Actor, chunk: Sequence[ImportRow], *, suspend_timers: bool) -> dict[int, str]:
    """Apply a chunk and mark its rows; why rows were refused, by their ids."""
    try:
        with transaction.atomic():
            refusals = _store(actor, chunk, suspend_timers)
    except IntegrityError:
        # somebody took a name or a serial number between our look and our writing: find the row
        refusals = {}
        for row in chunk:
            refusals |= _apply_one(actor, row, suspend_timers)
    ImportRow.objects.filter(pk__in=[row.pk for row in chunk if row.pk not in refusals]).update(state=_DONE)
    refuse(refusals)
    return refusals


def _apply_one(actor: Actor, row: ImportRow, suspend_timers: bool) -> dict[int, str]:
    try:
        with transaction.atomic():
            return _store(actor, [row], suspend_timers)
    except IntegrityError:
        return {row.pk: _("Another device took this name or serial number meanwhile.")}


def _store(actor: Actor, chunk: Sequence[ImportRow], suspend_timers: bool) -> dict[int, str]:
    now = timezone.now()
    sources = [SourceRow(row.line, row.cells | _secrets(row)) for row in chunk]
    planned = rows.plan(actor, sources, now=now, suspend_timers=suspend_timers, lock=True)
    refusals = {
        row.pk: reason for row, one in zip(chunk, planned, strict=True) if (reason := _refusal(row, one))
    }
    good = [one for row, one in zip(chunk, planned, strict=True) if row.pk not in refusals]
    inventory.store_devices(actor, [(one.device, one.device_changes) for one in good if one.device])
    bulk.save(
        actor,
        [
            bulk.Planned(
                one.device,
                one.standing.current if one.standing else None,
                one.plan,
                rows.challenge_password(one.row),
            )
            for one in good
            if one.device and one.plan
        ],
        at=now,
    )
    return refusals


def _secrets(row: ImportRow) -> dict[str, str]:
    stored = row.secrets_encrypted
    found: dict[str, str] = json.loads(secrets.decrypt(stored)) if stored else {}
    return found


def _refusal(row: ImportRow, one: PlannedRow) -> str:
    """Why a row cannot be applied as it was checked; empty when it can."""
    if one.problems:
        return " ".join(f"{problem.column}: {problem.reason}".removeprefix(": ") for problem in one.problems)
    if one.outcome is RowOutcomeChoices.UNCHANGED and row.outcome != RowOutcomeChoices.ADDED:
        return ""  # somebody else did it meanwhile
    if row.outcome == RowOutcomeChoices.ADDED and one.outcome is not RowOutcomeChoices.ADDED:
        return _("A device with this name or serial number was added meanwhile. Check the file anew.")
    if row.outcome != RowOutcomeChoices.ADDED and one.outcome is RowOutcomeChoices.ADDED:
        return _("The device was deleted or renamed meanwhile. Check the file anew.")
    if one.changes != row.changes or (row.device_id and one.device_id != row.device_id):
        return _("The device was changed meanwhile. Check the file anew.")
    return ""
