"""Claiming due restarts and deliveries and ringing workers for them. A claim is a lease, as with requests.

Any number of dispatchers may run at once: a row that one is claiming is skipped by the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import QuerySet

from devices import doorbell
from devices.models import Deployment, Device, Restart

MOST_CLAIMED_AT_ONCE = 200
"""Claimed and not ended: devices that do not answer keep workers waiting, and more would only wait in the queue."""

_PER_RING = 5
"""Few, because each may take as long as its device is silent."""


def dispatch_due(now: datetime) -> int:
    """Claim the restarts that are due at `now` and ring for them. Returns how many were claimed."""
    lease, ids = claim_due(now)
    _ring(Restart, lease, ids, doorbell.ring_restart_workers, now)
    return len(ids)


def dispatch_deployments(now: datetime) -> int:
    """Claim the deliveries that are due at `now` and ring for them. Returns how many were claimed."""
    lease, ids = claim_deployments(now)
    _ring(Deployment, lease, ids, doorbell.ring_deployment_workers, now)
    return len(ids)


def claim_due(now: datetime) -> tuple[uuid.UUID, list[int]]:
    """Lease the longest-due restarts; the lease and their ids, the longest-due first."""
    return _claim(Restart.objects.all(), now, _free_restarts)


def claim_deployments(now: datetime) -> tuple[uuid.UUID, list[int]]:
    """Lease the longest-due deliveries, one per device: small web servers are not asked two things at once."""
    return _claim(Deployment.objects.all(), now, _free_deployments)


def _free_restarts(due: QuerySet[Any], now: datetime, most: int) -> list[int]:
    # on SQLite the transaction itself is exclusive (BEGIN IMMEDIATE), and there is nothing to skip
    locked = due.select_for_update(skip_locked=True).order_by("next_action_at", "pk")
    return list(locked.values_list("pk", flat=True)[:most])


def _free_deployments(due: QuerySet[Any], now: datetime, most: int) -> list[int]:
    # who holds the device is the only one who claims for it, so what is leased is known
    candidates = due.order_by("next_action_at", "pk").values_list("device_id", flat=True)
    devices = Device.objects.select_for_update(skip_locked=True, no_key=True).filter(
        pk__in=list(dict.fromkeys(candidates[: 2 * most]))
    )
    held = list(devices.values_list("pk", flat=True))
    busy = Deployment.objects.filter(device__in=held, lease__isnull=False, next_action_at__gt=now)
    taken = set(busy.values_list("device_id", flat=True))
    free: list[int] = []
    for pk, device_id in (
        due.filter(device__in=held).order_by("next_action_at", "pk").values_list("pk", "device_id")
    ):
        if device_id not in taken:
            taken.add(device_id)
            free.append(pk)
    return free[:most]


@transaction.atomic
def _claim(
    rows: QuerySet[Any], now: datetime, free: Callable[[QuerySet[Any], datetime, int], list[int]]
) -> tuple[uuid.UUID, list[int]]:
    """Lease what `free` finds among the rows that are due; only those in which something is to happen ever are."""
    lease = uuid.uuid4()
    due = rows.filter(next_action_at__lte=now)
    if not due.exists():
        return lease, []
    in_flight = rows.filter(lease__isnull=False, next_action_at__gt=now).count()
    ids = free(due, now, max(0, MOST_CLAIMED_AT_ONCE - in_flight))
    rows.filter(pk__in=ids).update(
        lease=lease, next_action_at=now + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS)
    )
    return lease, ids


def _ring(
    model: type[models.Model],
    lease: uuid.UUID,
    ids: Sequence[int],
    bell: Callable[[uuid.UUID, Sequence[int]], bool],
    now: datetime,
) -> None:
    for start in range(0, len(ids), _PER_RING):
        if not bell(lease, ids[start : start + _PER_RING]):
            # whoever has begun one already keeps a lease of its own
            unrung = model._default_manager.filter(pk__in=ids[start:], lease=lease)
            unrung.update(lease=None, next_action_at=now)
            break
