"""Claiming due requests and ringing workers for them (F2).

Any number of dispatchers may run at once. Per SCEP server one at a time claims: it locks the server's
row, and whoever finds it locked leaves that server to the other. A claim is a lease: the row's
`next_action_at` moves to the lease's end, so that a request whose ring was lost comes due by itself.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from devices import doorbell
from devices.enrollment.log import OPEN
from devices.models import AllowanceUse, IssuanceRequest, ScepServer

logger = logging.getLogger(__name__)

MOST_CLAIMED_AT_ONCE = 1000
"""Claimed and not ended, per server without an allowance of its own: more would only wait in the queue
until its lease runs out."""

_MINUTE = timedelta(minutes=1)
_RINGS = 8
_MOST_PER_RING = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """Requests of one SCEP server that wait under one lease for a worker."""

    lease: uuid.UUID
    request_ids: tuple[int, ...]


def dispatch_due(now: datetime) -> int:
    """Claim what is due at `now`, within each server's allowance, and ring. Returns how many were claimed."""
    claimed = 0
    for server_id in [*ScepServer.objects.order_by("pk").values_list("pk", flat=True), None]:
        claim = claim_due(server_id, now)
        if claim is None:
            continue
        claimed += len(claim.request_ids)
        for ids in chunks(claim.request_ids):
            if not doorbell.ring_workers(claim.lease, ids):
                release(claim, now)
                return claimed
    if claimed:
        logger.info("%d due requests claimed", claimed)
    return claimed


@transaction.atomic
def claim_due(server_id: int | None, now: datetime) -> Claim | None:
    """Lease the longest-due requests of one server; None when there are none, or no allowance is left.

    `server_id` None takes the requests whose server was removed: the runner ends them.
    """
    requests = IssuanceRequest.objects.filter(server=server_id, state__in=OPEN)
    due = requests.filter(next_action_at__lte=now).order_by("next_action_at", "pk")
    if not due.exists():
        return None
    allowance = MOST_CLAIMED_AT_ONCE
    if server_id is not None:
        # on SQLite the transaction itself is exclusive (BEGIN IMMEDIATE), and there is nothing to skip
        server = (
            ScepServer.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=server_id).first()
        )
        if server is None:
            return None
        allowance = _allowance(server, now)
    ids = tuple(due.values_list("pk", flat=True)[: max(0, allowance)])
    if not ids:
        return None
    lease = uuid.uuid4()
    # the condition again: a request may have moved between the two statements
    requests.filter(pk__in=ids, next_action_at__lte=now).update(
        lease=lease,
        claimed_at=now,
        next_action_at=now + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS),
    )
    return Claim(lease, ids)


def _allowance(server: ScepServer, now: datetime) -> int:
    """How many more requests of `server` may be claimed now.

    Within a minute count those that workers took up (`runner` notes each), and those that still wait for one:
    so however long rings are on their way, the server meets no more in any minute than it is allowed to.
    """
    claimed = IssuanceRequest.objects.filter(server=server, lease__isnull=False, next_action_at__gt=now)
    allowance = (server.max_requests_at_once or MOST_CLAIMED_AT_ONCE) - claimed.count()
    if server.max_requests_per_minute is not None:
        uses = AllowanceUse.objects.filter(server=server)
        uses.filter(at__lte=now - _MINUTE).delete()
        used = uses.count() + claimed.filter(claimed_at__isnull=False).count()
        allowance = min(allowance, server.max_requests_per_minute - used)
    return allowance


def release(claim: Claim, now: datetime) -> None:
    """Give back what nobody could be rung for. Rows that a worker has begun keep that worker's lease."""
    IssuanceRequest.objects.filter(pk__in=claim.request_ids, lease=claim.lease).update(
        lease=None, claimed_at=None, next_action_at=now
    )


def chunks(request_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """The ids of each ring: few enough to keep several workers busy, many enough to cost little."""
    size = min(max(math.ceil(len(request_ids) / _RINGS), 1), _MOST_PER_RING)
    for start in range(0, len(request_ids), size):
        yield request_ids[start : start + size]
