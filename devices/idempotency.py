"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again is not done again.

A key is claimed in a transaction of its own, so that others see that the request is under way. What is done and the
answer to it then stand or fall together: `answered` is called inside the transaction of what was done, and raises
when somebody else took the key over meanwhile. So even after a crash, and with any number of callers at once, it is
done once.

What waits for a device holds no transaction meanwhile: the claim is one, and the answer another. It changes nothing
that could double, and a claim whose process died is free after CLAIM_WHILE_ASKING.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from devices.models import IdempotentRequest

KEPT = timedelta(hours=24)
"""How long an answer can be had again."""

CLAIM = timedelta(seconds=60)
"""How long a request may be under way before the same one, sent again, takes it over."""

CLAIM_WHILE_ASKING = timedelta(minutes=5)
"""The same for a request that asks a device meanwhile: longer than any device is waited for."""


class KeyReused(Exception):
    """The key stands for another request."""


class UnderWay(Exception):
    """The same request is being worked on."""


class ClaimLost(Exception):
    """Somebody else took the request over; what was done for it here must not stand."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the request and to write its answer down."""

    row_id: int
    token: uuid.UUID


def begin(
    user_id: int, key: str, digest: str, now: datetime, *, claimed_for: timedelta = CLAIM
) -> Claim | IdempotentRequest:
    """A claim on the request, or the row with the answer that it got. Raises KeyReused and UnderWay."""
    claim = uuid.uuid4()
    fresh = {"claim": claim, "claimed_until": now + claimed_for, "expires_at": now + KEPT, "digest": digest}
    rows = IdempotentRequest.objects.filter(user=user_id, key=key)
    rows.filter(expires_at__lte=now).delete()
    try:
        with transaction.atomic():
            return Claim(IdempotentRequest.objects.create(user_id=user_id, key=key, **fresh).pk, claim)
    except IntegrityError:
        found = rows.first()
    if found is None:
        # whoever had it failed and gave it up in this moment
        raise UnderWay
    if found.digest != digest:
        raise KeyReused
    if found.status is not None:
        return found
    silent = rows.filter(status=None, claim=found.claim, claimed_until__lte=now)
    if not silent.update(**fresh):
        raise UnderWay
    return Claim(found.pk, claim)


def answered(claim: Claim, status: int, content_type: str, body: str | None) -> None:
    """Write the answer down; `body` is None when it held a secret. Raises ClaimLost."""
    mine = IdempotentRequest.objects.filter(pk=claim.row_id, claim=claim.token, status=None)
    if not mine.update(status=status, content_type=content_type, body=body or "", is_kept=body is not None):
        raise ClaimLost


def give_up(claim: Claim) -> None:
    """Nothing was done: the key is free again."""
    IdempotentRequest.objects.filter(pk=claim.row_id, claim=claim.token, status=None).delete()


def forget(now: datetime) -> int:
    """Remove what has expired; returns how many."""
    return IdempotentRequest.objects.filter(expires_at__lte=now).delete()[0]
