"""Starting, canceling and ending jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices import access, audit, doorbell, secrets
from devices.audit import Actor
from devices.errors import Conflict
from devices.jobs import selection
from devices.jobs.kinds import KINDS
from devices.jobs.selection import Selected
from devices.models import Device, Job, JobItem
from devices.models.choices import JobItemStateChoices, JobKindChoices, JobStateChoices
from devices.models.job import Progress


@transaction.atomic
def start(
    actor: Actor,
    kind: JobKindChoices,
    devices: QuerySet[Device] | Iterable[Device | Selected],
    parameters: Mapping[str, Any],
) -> Job:
    """A job that does `kind` with `parameters` to each of `devices`; workers are rung for it.

    Which devices a queryset finds is decided here and now. Raises PermissionDenied, and ValidationError with a dict
    of fields for parameters that no device could take, or when `devices` is empty.
    """
    job = _create(actor, kind, parameters)
    job.total = selection.keep(job, devices)
    if not job.total:
        raise ValidationError({"devices": _("No device is selected.")})
    job.save(update_fields=["total"])
    _announce(actor, job)
    return job


@transaction.atomic
def start_steps(actor: Actor, kind: JobKindChoices, parameters: Mapping[str, Any], *, total: int = 0) -> Job:
    """A job of a kind that goes by steps of its own; `total` is what its progress counts up to, 0 while unknown.

    Raises PermissionDenied, and ValidationError with a dict of fields.
    """
    job = _create(actor, kind, parameters)
    job.total = total
    job.save(update_fields=["total"])
    _announce(actor, job)
    return job


def _create(actor: Actor, kind: JobKindChoices, parameters: Mapping[str, Any]) -> Job:
    definition = KINDS[kind]
    access.require(actor, definition.permission)
    definition.check(parameters)
    parameters = definition.freeze(parameters)
    secret = {name: value for name, value in parameters.items() if name in definition.secret and value}
    plain = {name: value for name, value in parameters.items() if name not in definition.secret}
    now = timezone.now()
    return Job.objects.create(
        kind=kind,
        actor=actor.user,
        actor_name=actor.name,
        source=actor.source,
        address=actor.address,
        parameters=plain,
        secrets_encrypted=secrets.encrypt(json.dumps(secret).encode()) if secret else None,
        language=translation.get_language() or "en",
        created_at=now,
        next_action_at=now,
    )


def _announce(actor: Actor, job: Job) -> None:
    facts = {"kind": job.kind, "devices": job.total, **job.parameters}
    audit.record(actor, "job.create", job, facts, at=job.created_at)
    transaction.on_commit(doorbell.ring_jobs)


@transaction.atomic
def cancel(actor: Actor, job: Job) -> Job:
    """Leave the devices that wait alone; what was done stays done. Raises PermissionDenied and Conflict.

    Devices that no worker has listed yet get no row any more; the job's message says how many.
    """
    access.require(actor, KINDS[job.kind].permission)
    locked = Job.objects.select_for_update().get(pk=job.pk)
    if not locked.is_open:
        raise Conflict("job_ended", _("The job has ended already."))
    left, unlisted = leave_out(locked)
    if unlisted:
        locked.message = ngettext(
            "%(count)d device was not listed yet, and nothing was done to it.",
            "%(count)d devices were not listed yet, and nothing was done to them.",
            unlisted,
        ) % {"count": unlisted}
    end(locked, JobStateChoices.CANCELED, timezone.now())
    if KINDS[locked.kind].steps is not None:
        left = locked.total - locked.done - locked.refused
    audit.record(actor, "job.cancel", locked, {"done": locked.done, "canceled": left})
    return locked


def leave_out(job: Job) -> tuple[int, int]:
    """Do nothing to the devices that wait, in the transaction that holds `job`; how many they are, and how many of
    them have no row."""
    waiting = job.items.filter(state=JobItemStateChoices.WAITING)
    listed, unlisted = waiting.update(state=JobItemStateChoices.CANCELED), selection.drop(job)
    return listed + unlisted, unlisted


def end(job: Job, state: JobStateChoices, now: datetime, progress: Progress | None = None) -> None:
    """Close `job`, which the caller's transaction holds: counted, unless by `progress`, and its secrets gone."""
    kind = KINDS[job.kind]
    if progress is not None:
        job.done, job.refused, job.total = progress.done, progress.refused, progress.total
    elif kind.steps is None:
        job.done, job.refused = counts(job)
    job.state, job.completed_at = state, now
    job.next_action_at = job.lease = job.secrets_encrypted = None
    job.save()
    kind.ended(job)


def counts(job: Job) -> tuple[int, int]:
    """How many of the job's devices are done, and how many were refused."""
    found = JobItem.objects.filter(job=job).aggregate(
        done=Count("pk", filter=Q(state=JobItemStateChoices.DONE)),
        refused=Count("pk", filter=Q(state=JobItemStateChoices.REFUSED)),
    )
    return found["done"], found["refused"]
