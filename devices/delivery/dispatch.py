"""Claiming due restarts and ringing workers for them. A claim is a lease, as with requests.

Any number of dispatchers may run at once: a row that one is claiming is skipped by the others.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from devices import doorbell
from devices.models import Restart
from devices.restarts import OPEN

MOST_CLAIMED_AT_ONCE = 200
"""Claimed and not ended: devices that do not answer keep workers waiting, and more would only wait in the queue."""

_PER_RING = 5
"""Few, because each may take as long as its device is silent."""


def dispatch_due(now: datetime) -> int:
    """Claim what is due at `now` and ring for it. Returns how many were claimed."""
    lease, ids = claim_due(now)
    for start in range(0, len(ids), _PER_RING):
        if not doorbell.ring_restart_workers(lease, ids[start : start + _PER_RING]):
            # whoever has begun one already keeps a lease of its own
            Restart.objects.filter(pk__in=ids[start:], lease=lease).update(lease=None, next_action_at=now)
            break
    return len(ids)


@transaction.atomic
def claim_due(now: datetime) -> tuple[uuid.UUID, list[int]]:
    """Lease the longest-due restarts; the lease and their ids, the longest-due first."""
    lease, rows = uuid.uuid4(), Restart.objects.filter(state__in=OPEN)
    due = rows.filter(next_action_at__lte=now)
    if not due.exists():
        return lease, []
    in_flight = rows.filter(lease__isnull=False, next_action_at__gt=now).count()
    most = max(0, MOST_CLAIMED_AT_ONCE - in_flight)
    # on SQLite the transaction itself is exclusive (BEGIN IMMEDIATE), and there is nothing to skip
    locked = due.select_for_update(skip_locked=True).order_by("next_action_at", "pk")
    ids = list(locked.values_list("pk", flat=True)[:most])
    rows.filter(pk__in=ids).update(
        lease=lease, next_action_at=now + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS)
    )
    return lease, ids
