"""Ringing the workers. The queue is only a doorbell: what is due stands in the database.

Therefore nothing here may fail the caller: a lost ring costs one tick of beat, not a request.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from celery import current_app
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

_DISPATCH = "devices.tasks.dispatch_due"
_ADVANCE = "devices.tasks.advance_requests"
_JOBS = "devices.tasks.claim_due_jobs"
_ADVANCE_JOB = "devices.tasks.advance_job"
_SEARCHES = "devices.tasks.claim_due_searches"
_ADVANCE_SEARCH = "devices.tasks.advance_search"
_RESTARTS = "devices.tasks.dispatch_restarts"
_ADVANCE_RESTARTS = "devices.tasks.advance_restarts"
_WEBHOOKS = "devices.tasks.claim_due_webhooks"
_DELIVER = "devices.tasks.deliver_webhook"
_DEPLOYMENTS = "devices.tasks.dispatch_deployments"
_ADVANCE_DEPLOYMENTS = "devices.tasks.advance_deployments"


def ring_dispatcher() -> bool:
    """Have somebody look for due requests now instead of at the next tick."""
    return _ring(_DISPATCH, [])


def ring_workers(lease: UUID, request_ids: Sequence[int]) -> bool:
    """Have a worker take one step for each of the requests claimed under `lease`.

    False when the broker cannot be reached. A task's arguments are numbers and the lease; never a secret.
    """
    return _ring(_ADVANCE, [str(lease), list(request_ids)])


def ring_jobs() -> bool:
    """Have somebody look for due jobs now instead of at the next tick."""
    return _ring(_JOBS, [])


def ring_job(job_id: int, lease: UUID) -> bool:
    """Have a worker go on with the job claimed under `lease`; False when the broker cannot be reached."""
    return _ring(_ADVANCE_JOB, [job_id, str(lease)])


def ring_searches() -> bool:
    """Have somebody look for due searches for devices now instead of at the next tick."""
    return _ring(_SEARCHES, [])


def ring_search(search_id: int, lease: UUID) -> bool:
    """Have a worker go on with the search claimed under `lease`; False when the broker cannot be reached."""
    return _ring(_ADVANCE_SEARCH, [search_id, str(lease)])


def ring_restart_dispatcher() -> bool:
    """Have somebody look for due restarts now instead of at the next tick."""
    return _ring(_RESTARTS, [])


def ring_restart_workers(lease: UUID, restart_ids: Sequence[int]) -> bool:
    """Have a worker take one step for each of the restarts claimed under `lease`; False as with `ring_workers`."""
    return _ring(_ADVANCE_RESTARTS, [str(lease), list(restart_ids)])


def ring_webhooks() -> bool:
    """Have somebody look for events to send now instead of at the next tick."""
    return _ring(_WEBHOOKS, [])


def ring_webhook(webhook_id: int, lease: UUID) -> bool:
    """Have a worker send what was claimed under `lease`; False when the broker cannot be reached."""
    return _ring(_DELIVER, [webhook_id, str(lease)])


def ring_deployment_dispatcher() -> bool:
    """Have somebody look for due deliveries now instead of at the next tick."""
    return _ring(_DEPLOYMENTS, [])


def ring_deployment_workers(lease: UUID, deployment_ids: Sequence[int]) -> bool:
    """Have a worker take one step for each of the deliveries claimed under `lease`; False as with `ring_workers`."""
    return _ring(_ADVANCE_DEPLOYMENTS, [str(lease), list(deployment_ids)])


def _ring(task: str, args: list[object]) -> bool:
    try:
        # argsrepr: nobody reads the arguments in events, and quoting a hundred ids takes longer than sending them
        current_app.send_task(task, args=args, argsrepr="(...)", retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("The broker cannot be reached; the next tick tries again: %s", error)
        return False
    return True
