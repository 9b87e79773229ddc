"""Imports: a file is handed in, checked by a job, and applied by another when somebody says so (R19).

Every function that writes raises PermissionDenied when `actor` may not (R1): device data alone is for whoever
cares for devices, files with SCEP settings are for administrators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import IO, Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices import audit
from devices.audit import Actor
from devices.errors import Conflict
from devices.jobs import service
from devices.models import Import, Job
from devices.models.choices import FileFormatChoices, JobKindChoices
from devices.transfer import archive, csv_format, storage
from devices.transfer.apply import begin
from devices.transfer.check import require_for

KEPT_UNAPPLIED = timedelta(days=1)
"""How long a checked file may wait to be applied; what it holds is of the moment."""

KEPT = timedelta(days=30)
"""How long the report of an applied file is kept; the audit trail keeps what was done."""

_PIECE = 1 << 16


@transaction.atomic
def receive(
    actor: Actor,
    file: IO[bytes],
    *,
    file_name: str = "",
    file_format: FileFormatChoices | None = None,
    password: str = "",
) -> Import:
    """Take a file in, and have it checked. `file` can be read twice; a ZIP is opened with `password`.

    The format is seen from the content unless it is given. Raises FileUnusable for what is no such file at all;
    what is wrong inside comes with the check.
    """
    secret = archive.is_archive(file)
    pieces = archive.read(file, password) if secret else _pieces(file)
    first = next(pieces, b"")
    chosen = file_format or _format(first)
    # one look at the header, so that a file that is none does not wait for a worker
    names = csv_format.header_of([first]) if chosen == FileFormatChoices.CSV else []
    require_for(actor, names)
    found = Import.objects.create(
        file_name=file_name[-255:],
        format=chosen,
        may_hold_secrets=secret,
        actor=actor.user,
        actor_name=actor.name,
        source=actor.source,
        created_at=timezone.now(),
    )
    storage.keep(found, _again(first, pieces))
    found.check_job = service.start_steps(actor, JobKindChoices.CHECK_IMPORT, _job_of(found))
    found.save(update_fields=["check_job"])
    audit.record(actor, "import.create", found, {"file": found.file_name, "format": found.format})
    return found


def _job_of(found: Import) -> dict[str, Any]:
    """What its jobs are about; the file's name is for whoever reads the list of jobs."""
    return {"import": found.pk, "file": found.file_name}


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _again(first: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _format(start: bytes) -> FileFormatChoices:
    """XML begins with a tag, in any encoding; everything else is CSV."""
    text = start[:200].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return FileFormatChoices.XML if text.startswith(b"<") else FileFormatChoices.CSV


@transaction.atomic
def apply(actor: Actor, found: Import, *, good_rows_only: bool = False, suspend_timers: bool = False) -> Job:
    """Have a checked file applied: all of it or nothing, or with `good_rows_only` the rows that are not refused.

    With `suspend_timers` the SCEP server of a locked row changes under its timer, which keeps its schedule (R3);
    without it such rows are refused.

    Raises Conflict while the file is not checked, when it was applied already, when it is too old, and for
    refused rows unless `good_rows_only`.
    """
    found = (
        Import.objects.select_for_update(of=("self",))
        .select_related("check_job", "apply_job")
        .get(pk=found.pk)
    )
    require_for(actor, found.columns)
    if found.problem or not found.is_checked:
        raise Conflict("import_not_checked", found.problem or _("The file has not been checked to the end."))
    if found.apply_job_id is not None:
        raise Conflict("import_applied", _("This import was started already. Hand the file in again."))
    if found.created_at <= timezone.now() - KEPT_UNAPPLIED:
        raise Conflict("import_expired", _("The check is older than a day. Hand the file in again."))
    refused = found.refused + (0 if suspend_timers else found.locked)
    if refused and not good_rows_only:
        raise Conflict(
            "rows_refused",
            ngettext(
                "%(count)d row is refused, so the file cannot be applied as a whole. Correct it and hand the file "
                "in again, or choose the good rows only (good_rows_only).",
                "%(count)d rows are refused, so the file cannot be applied as a whole. Correct them and hand the "
                "file in again, or choose the good rows only (good_rows_only).",
                refused,
            )
            % {"count": refused},
        )
    total = begin(found, suspend_timers=suspend_timers)
    if not total:
        raise Conflict("nothing_to_apply", _("The file changes nothing."))
    parameters = {**_job_of(found), "good_rows_only": good_rows_only, "suspend_timers": suspend_timers}
    found.apply_job = service.start_steps(actor, JobKindChoices.APPLY_IMPORT, parameters, total=total)
    found.save(update_fields=["apply_job"])
    return found.apply_job


def clean(now: datetime) -> None:
    """Forget files that nobody applied within a day, and old reports; but none that a job works on."""
    unapplied = Import.objects.filter(apply_job__isnull=True, created_at__lte=now - KEPT_UNAPPLIED)
    old = Import.objects.filter(created_at__lte=now - KEPT)
    for found in [*unapplied.select_related("check_job"), *old.select_related("check_job", "apply_job")]:
        if not any(job is not None and job.is_open for job in (found.check_job, found.apply_job)):
            found.delete()
