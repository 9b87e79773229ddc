"""The Celery tasks, all of them. Lost, late or doubled ones do no harm: the database is the truth."""

from __future__ import annotations

import uuid

from celery import shared_task
from django.utils import timezone

from devices.enrollment import dispatch, runner
from devices.jobs import run as jobs


@shared_task(name="devices.tasks.dispatch_due")
def dispatch_due() -> None:
    """Look for due requests; beat calls it every few seconds."""
    dispatch.dispatch_due(timezone.now())


@shared_task(name="devices.tasks.advance_requests")
def advance_requests(lease: str, request_ids: list[int]) -> None:
    """Take one step for each request claimed under `lease`, then claim what that made room for."""
    token = uuid.UUID(lease)
    for request_id in request_ids:
        runner.advance(request_id, token)
    dispatch.dispatch_due(timezone.now())


@shared_task(name="devices.tasks.claim_due_jobs")
def claim_due_jobs() -> None:
    """Look for due jobs; beat calls it every few seconds."""
    jobs.ring_for_due(timezone.now())


@shared_task(name="devices.tasks.advance_job")
def advance_job(job_id: int, lease: str) -> None:
    """Work on the job claimed under `lease` for one turn."""
    jobs.advance(job_id, uuid.UUID(lease))
