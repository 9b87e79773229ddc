"""The Celery tasks, all of them. Lost, late or doubled ones do no harm: the database is the truth."""

from __future__ import annotations

import uuid

from celery import shared_task
from django.utils import timezone

from devices import idempotency, imports
from devices.delivery import discovery, sweep
from devices.delivery import dispatch as delivery_dispatch
from devices.delivery import runner as delivery_runner
from devices.delivery.deployment import runner as deployment_runner
from devices.enrollment import dispatch, runner
from devices.jobs import run as jobs
from devices.webhooks import deliver, expiring


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


@shared_task(name="devices.tasks.clean_imports")
def clean_imports() -> None:
    """Forget files that nobody applied, and old reports; beat calls it every hour."""
    imports.clean(timezone.now())


@shared_task(name="devices.tasks.advance_job")
def advance_job(job_id: int, lease: str) -> None:
    """Work on the job claimed under `lease` for one turn."""
    jobs.advance(job_id, uuid.UUID(lease))


@shared_task(name="devices.tasks.claim_due_searches")
def claim_due_searches() -> None:
    """Look for due searches for devices; beat calls it every few seconds."""
    discovery.ring_for_due(timezone.now())


@shared_task(name="devices.tasks.advance_search")
def advance_search(search_id: int, lease: str) -> None:
    """Go on with the search claimed under `lease` for one turn."""
    discovery.advance(search_id, uuid.UUID(lease))


@shared_task(name="devices.tasks.dispatch_restarts")
def dispatch_restarts() -> None:
    """Look for due restarts; beat calls it every few seconds."""
    delivery_dispatch.dispatch_due(timezone.now())


@shared_task(name="devices.tasks.advance_restarts")
def advance_restarts(lease: str, restart_ids: list[int]) -> None:
    """Take one step for each restart claimed under `lease`, then claim what that made room for."""
    token = uuid.UUID(lease)
    for restart_id in restart_ids:
        delivery_runner.advance(restart_id, token)
    delivery_dispatch.dispatch_due(timezone.now())


@shared_task(name="devices.tasks.claim_due_webhooks")
def claim_due_webhooks() -> None:
    """Look for events to send; beat calls it every few seconds."""
    deliver.ring_for_due(timezone.now())


@shared_task(name="devices.tasks.deliver_webhook")
def deliver_webhook(webhook_id: int, lease: str) -> None:
    """Send what was claimed under `lease` for one turn."""
    deliver.deliver(webhook_id, uuid.UUID(lease))


@shared_task(name="devices.tasks.announce_expiring")
def announce_expiring() -> None:
    """Tell webhooks of certificates that will expire; beat calls it every few minutes."""
    expiring.announce_expiring(timezone.now())


@shared_task(name="devices.tasks.clean_up")
def clean_up() -> None:
    """Remove what is kept for a time only; beat calls it every hour."""
    now = timezone.now()
    idempotency.forget(now)
    deliver.forget(now)


@shared_task(name="devices.tasks.dispatch_deployments")
def dispatch_deployments() -> None:
    """Look for due deliveries; beat calls it every few seconds."""
    delivery_dispatch.dispatch_deployments(timezone.now())


@shared_task(name="devices.tasks.advance_deployments")
def advance_deployments(lease: str, deployment_ids: list[int]) -> None:
    """Take one step for each delivery claimed under `lease`, then claim what that made room for."""
    token = uuid.UUID(lease)
    for deployment_id in deployment_ids:
        deployment_runner.advance(deployment_id, token)
    delivery_dispatch.dispatch_deployments(timezone.now())


@shared_task(name="devices.tasks.sweep_certificates")
def sweep_certificates() -> None:
    """Look at the certificates that devices serve, where that is due; beat calls it now and then."""
    sweep.sweep_due(timezone.now())
