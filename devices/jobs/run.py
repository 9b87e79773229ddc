"""Working on jobs: whoever holds the lease takes device after device, each in a transaction of its own."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from devices import doorbell
from devices.errors import Conflict, sentences
from devices.jobs import selection, service
from devices.jobs.kinds import KINDS
from devices.jobs.steps import StepsTurn
from devices.jobs.turn import LEASE, TURN, LeaseLost, Turn
from devices.models import Job, JobItem
from devices.models.choices import JobItemStateChoices, JobStateChoices
from devices.models.job import Progress
from devices.secrets import SecretUnreadable

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
"""How often a command looks at a job that somebody else works on."""

_CHUNK = 50
"""Devices that are read at once, and after which the progress is told."""

_REFUSALS = (ValidationError, Conflict, PermissionDenied, SecretUnreadable)


def ring_for_due(now: datetime) -> None:
    """Claim what is due and ring workers for it."""
    for job_id, lease in claim_due(now):
        if not doorbell.ring_job(job_id, lease):
            Job.objects.filter(pk=job_id, lease=lease).update(lease=None, next_action_at=now)


def claim_due(now: datetime) -> list[tuple[int, uuid.UUID]]:
    """Lease every job that is due at `now`; id and lease of each. Of several dispatchers one gets a job."""
    due = Job.objects.filter(next_action_at__lte=now).values_list("pk", flat=True)
    return [(job_id, lease) for job_id in due if (lease := claim(job_id, now)) is not None]


@transaction.atomic
def claim(job_id: int, now: datetime) -> uuid.UUID | None:
    """The lease of one job, when it is due at `now` and nobody else was faster."""
    lease = uuid.uuid4()
    due = Job.objects.filter(pk=job_id, next_action_at__lte=now)
    # whoever is in the middle of a long step holds the row, and is not silent: nobody waits for that step's end.
    # On SQLite the transaction itself is exclusive (BEGIN IMMEDIATE), and there is nothing to skip.
    if due.select_for_update(skip_locked=True).first() is None:
        return None
    return lease if due.update(lease=lease, next_action_at=now + LEASE) else None


def advance(
    job_id: int,
    lease: uuid.UUID,
    *,
    clock: Callable[[], datetime] = timezone.now,
    tell: Callable[[Progress], object] = lambda _progress: None,
) -> None:
    """Work on the job held under `lease` for one turn; then end it, or give it back and have it rung for again.

    `tell` hears of the steps of a job that goes by steps.
    """
    job = Job.objects.select_related("actor").filter(pk=job_id, lease=lease).first()
    if job is None:
        return
    kind = KINDS[job.kind]
    try:
        with translation.override(job.language):
            turn = (
                _ItemsTurn(job, kind, lease, clock)
                if kind.steps is None
                else StepsTurn(job, kind, lease, clock, tell)
            )
            finished = turn.take()
    except LeaseLost:
        logger.info("job %d was canceled or taken over by another worker", job_id)
    else:
        if not finished:
            doorbell.ring_jobs()


def work_here(job: Job, tell: Callable[[Progress], object]) -> None:
    """Work on `job` in this process until it has ended, or watch whoever else does; for commands."""
    while job.is_open:
        lease = claim(job.pk, timezone.now())
        if lease is not None:
            advance(job.pk, lease, tell=tell)
        else:
            time.sleep(_WATCH_SECONDS)
        job.refresh_from_db()
        tell(Progress(job.done, job.refused, job.total))


@dataclass(slots=True)
class _ItemsTurn(Turn):
    """One worker's turn at one job that goes device by device."""

    def take(self) -> bool:
        """Device after device; True when none is left. Raises LeaseLost."""
        ends = self.clock() + TURN
        self.begin()
        try:
            common = self.parameters()
        except SecretUnreadable as error:
            self._refuse(str(error))
            return True
        while not selection.is_listed(self.job):
            self._list_part()
            if self.clock() >= ends:
                self.hold(lease=None, next_action_at=self.clock())
                return False
        while items := self._next_items():
            for item in items:
                self._take(item, {**common, **item.parameters})
                if self.clock() >= ends:
                    self._tell_progress(lease=None, next_action_at=self.clock())
                    return False
            self._tell_progress()
        self.finish()
        return True

    @transaction.atomic
    def _refuse(self, message: str) -> None:
        """End the job; nothing is done to the devices that are left. Raises LeaseLost."""
        self.hold()
        service.leave_out(self.job)
        self.finish(JobStateChoices.REFUSED, message=message)

    def _list_part(self) -> None:
        """Rows for some of the devices; whoever cancels the job or takes it over waits until then."""
        try:
            with transaction.atomic():
                self.hold()
                selection.list_part(self.job)
        except IntegrityError:
            # a device was deleted in this very moment: the next try finds it gone
            logger.info("job %d lists a part of its devices again", self.job.pk)

    def _next_items(self) -> list[JobItem]:
        waiting = self.job.items.filter(state=JobItemStateChoices.WAITING)
        return list(waiting.select_related("device__group").order_by("position")[:_CHUNK])

    def _tell_progress(self, **fields: Any) -> None:
        done, refused = service.counts(self.job)
        self.hold(done=done, refused=refused, **fields)

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
        except Exception:  # a fault of ours at one device: its row says so, the other devices go on
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
        if self.kind.perform is None:
            raise AssertionError(f"{self.job.kind} goes by steps")
        return self.kind.perform(self.actor(), item.device, parameters)

    def _mark(self, item: JobItem, state: JobItemStateChoices) -> None:
        """Raises LeaseLost when the item is no longer ours to do."""
        mine = JobItem.objects.filter(pk=item.pk, state=JobItemStateChoices.WAITING, job__lease=self.lease)
        if not mine.update(state=state):
            raise LeaseLost

    def _say(self, item: JobItem, state: JobItemStateChoices, message: str) -> None:
        JobItem.objects.filter(pk=item.pk).update(state=state, message=message)
