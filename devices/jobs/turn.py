"""A worker's turn at a job: the lease that it holds, and what every kind of job needs while it is worked on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils.translation import gettext as _

from devices import audit, secrets
from devices.audit import Actor
from devices.jobs import service
from devices.jobs.kinds import Kind
from devices.models import AuditEvent, Job
from devices.models.choices import JobStateChoices
from devices.models.job import Progress

LEASE = timedelta(seconds=60)
"""How long a job may wait in the queue for the worker that was rung, before another one is."""

SILENCE = timedelta(seconds=15)
"""How long a worker may say nothing of the job that it works on, before another one takes the job over.

Far more than the work between two words takes. Whoever says nothing for longer loses the job, and nothing of it.
"""

TURN = timedelta(seconds=15)
"""How long a worker stays with one job before it lets others have their turn."""


class LeaseLost(Exception):
    """The job was canceled, or somebody else took it over."""


@dataclass(slots=True)
class Turn:
    """One worker's turn at one job."""

    job: Job
    kind: Kind
    lease: uuid.UUID
    clock: Callable[[], datetime]

    def take(self) -> bool:
        """Work until the turn is over; True when nothing is left. Raises LeaseLost."""
        raise NotImplementedError

    def parameters(self) -> Mapping[str, Any]:
        """The job's, with the secret ones in clear. Raises devices.secrets.SecretUnreadable."""
        stored = self.job.secrets_encrypted
        found: Mapping[str, Any] = json.loads(secrets.decrypt(stored)) if stored else {}
        return {**self.job.parameters, **found}

    def hold(self, **fields: Any) -> None:
        """Compare-and-swap on the lease, which is renewed. Raises LeaseLost."""
        values = {"next_action_at": self.clock() + SILENCE, **fields}
        if not Job.objects.filter(pk=self.job.pk, lease=self.lease).update(**values):
            raise LeaseLost

    def begin(self, **fields: Any) -> None:
        """Say that the job is worked on. Raises LeaseLost."""
        self.hold(state=JobStateChoices.RUNNING, started_at=self.job.started_at or self.clock(), **fields)

    def actor(self) -> Actor:
        """Whoever started the job: what they may do is asked anew while it runs. Raises PermissionDenied."""
        job = self.job
        nobody = (AuditEvent.Source.SYSTEM, AuditEvent.Source.COMMAND)
        if job.actor is None and job.source not in nobody:
            raise PermissionDenied(_("The user who started the job was removed."))
        return Actor(job.actor, job.actor_name, AuditEvent.Source(job.source), job.address)

    @transaction.atomic
    def finish(
        self,
        state: JobStateChoices = JobStateChoices.FINISHED,
        progress: Progress | None = None,
        *,
        message: str = "",
    ) -> None:
        """End the job, audited. Raises LeaseLost."""
        job = Job.objects.select_for_update().filter(pk=self.job.pk, lease=self.lease).first()
        if job is None:
            raise LeaseLost
        job.message = message
        service.end(job, state, self.clock(), progress)
        facts = {"kind": job.kind, "done": job.done, "refused": job.refused}
        reason = {"reason": message} if message else {}
        audit.record(audit.SYSTEM, f"job.{state.value}", job, facts | reason, at=job.completed_at)
