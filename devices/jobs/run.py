"""Working on jobs: whoever holds the lease takes device after device, each in a transaction of its own."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from devices import audit, doorbell, secrets
from devices.audit import Actor
from devices.errors import Conflict, sentences
from devices.jobs import service
from devices.jobs.kinds import KINDS
from devices.models import AuditEvent, Job, JobItem
from devices.models.choices import JobItemStateChoices, JobStateChoices
from devices.secrets import SecretUnreadable

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""How long a worker may be silent about a job before another one takes it over; a device takes far less."""

TURN = timedelta(seconds=15)
"""How long a worker stays with one job before it lets others have their turn."""

_CHUNK = 50
"""Devices that are read at once, and after which the progress is told."""

_REFUSALS = (ValidationError, Conflict, PermissionDenied, SecretUnreadable)


class LeaseLost(Exception):
    """The job was canceled, or somebody else took it over."""


def ring_for_due(now: datetime) -> None:
    """Claim what is due and ring workers for it."""
    for job_id, lease in claim_due(now):
        if not doorbell.ring_job(job_id, lease):
            Job.objects.filter(pk=job_id, lease=lease).update(lease=None, next_action_at=now)


def claim_due(now: datetime) -> list[tuple[int, uuid.UUID]]:
    """Lease every job that is due at `now`; id and lease of each. Of several dispatchers one gets a job."""
    claimed = []
    for job_id, held in Job.objects.filter(next_action_at__lte=now).values_list("pk", "lease"):
        lease = uuid.uuid4()
        if Job.objects.filter(pk=job_id, lease=held, next_action_at__lte=now).update(
            lease=lease, next_action_at=now + LEASE
        ):
            claimed.append((job_id, lease))
    return claimed


def advance(job_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Work on the job held under `lease` for one turn; then end it, or give it back and have it rung for again."""
    job = Job.objects.select_related("actor").filter(pk=job_id, lease=lease).first()
    if job is None:
        return
    try:
        with translation.override(job.language):
            finished = _Turn(job, lease, clock).take()
    except LeaseLost:
        logger.info("job %d was canceled or taken over by another worker", job_id)
    else:
        if not finished:
            doorbell.ring_jobs()


@dataclass(slots=True)
class _Turn:
    """One worker's turn at one job."""

    job: Job
    lease: uuid.UUID
    clock: Callable[[], datetime]

    def take(self) -> bool:
        """Device after device; True when none is left. Raises LeaseLost."""
        ends = self.clock() + TURN
        common = {**self.job.parameters, **self._secrets()}
        self._hold(state=JobStateChoices.RUNNING, started_at=self.job.started_at or self.clock())
        while items := self._next_items():
            for item in items:
                self._take(item, {**common, **item.parameters})
                if self.clock() >= ends:
                    self._tell_progress(lease=None, next_action_at=self.clock())
                    return False
            self._tell_progress()
        self._finish()
        return True

    def _secrets(self) -> Mapping[str, Any]:
        stored = self.job.secrets_encrypted
        found: Mapping[str, Any] = json.loads(secrets.decrypt(stored)) if stored else {}
        return found

    def _next_items(self) -> list[JobItem]:
        waiting = self.job.items.filter(state=JobItemStateChoices.WAITING)
        return list(waiting.select_related("device__group").order_by("position")[:_CHUNK])

    def _hold(self, **fields: Any) -> None:
        """Compare-and-swap on the lease, which is renewed. Raises LeaseLost."""
        values = {"next_action_at": self.clock() + LEASE, **fields}
        if not Job.objects.filter(pk=self.job.pk, lease=self.lease).update(**values):
            raise LeaseLost

    def _tell_progress(self, **fields: Any) -> None:
        done, refused = service.counts(self.job)
        self._hold(done=done, refused=refused, **fields)

    def _take(self, item: JobItem, parameters: Mapping[str, Any]) -> None:
        """One device: the mark and what is done stand or fall together."""
        try:
            with transaction.atomic():
                self._mark(item, JobItemStateChoices.DONE)
                try:
                    with transaction.atomic():
                        note = self._perform(item, parameters)
                except _REFUSALS as error:
                    self._say(item, JobItemStateChoices.REFUSED, sentences(error))
                else:
                    if note:
                        self._say(item, JobItemStateChoices.DONE, note)
        except (LeaseLost, OperationalError, InterfaceError):
            # the database is away: the job comes due again by itself
            raise
        except Exception:
            logger.exception("job %d failed at %s", self.job.pk, item.device_name)
            with transaction.atomic():
                self._mark(item, JobItemStateChoices.REFUSED)
                self._say(
                    item,
                    JobItemStateChoices.REFUSED,
                    _("An error of Fleetseal itself; see the worker's log."),
                )

    def _perform(self, item: JobItem, parameters: Mapping[str, Any]) -> str:
        if item.device is None:
            raise Conflict("device_deleted", _("The device was deleted meanwhile."))
        return KINDS[self.job.kind].perform(self._actor(), item.device, parameters)

    def _actor(self) -> Actor:
        """Whoever started the job: what they may do is asked anew for each device. Raises PermissionDenied."""
        job = self.job
        if job.actor is None and job.source != AuditEvent.Source.SYSTEM:
            raise PermissionDenied(_("The user who started the job was removed."))
        return Actor(job.actor, job.actor_name, AuditEvent.Source(job.source), job.address)

    def _mark(self, item: JobItem, state: JobItemStateChoices) -> None:
        """Raises LeaseLost when the item is no longer ours to do."""
        mine = JobItem.objects.filter(pk=item.pk, state=JobItemStateChoices.WAITING, job__lease=self.lease)
        if not mine.update(state=state):
            raise LeaseLost

    def _say(self, item: JobItem, state: JobItemStateChoices, message: str) -> None:
        JobItem.objects.filter(pk=item.pk).update(state=state, message=message)

    @transaction.atomic
    def _finish(self) -> None:
        job = Job.objects.select_for_update().filter(pk=self.job.pk, lease=self.lease).first()
        if job is None:
            raise LeaseLost
        service.end(job, JobStateChoices.FINISHED, self.clock())
        facts = {"kind": job.kind, "done": job.done, "refused": job.refused}
        audit.record(audit.SYSTEM, "job.finished", job, facts, at=job.completed_at)
