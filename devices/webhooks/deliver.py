"""Sending what is due: whoever holds the lease sends one webhook's deliveries, one after the other.

Delivered at least once: a worker that dies after the receiver's answer sends again, under the same `webhook-id`. Of
each webhook one worker sends at a time, so that a receiver that hangs holds up nobody but itself.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
import urllib3
from django.db import transaction
from django.utils import timezone

from devices import doorbell
from devices.models import Webhook, WebhookDelivery
from devices.models.choices import DeliveryStateChoices
from devices.secrets import SecretUnreadable
from devices.webhooks import signing
from scep.transport import answer_by, new_session

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
"""For connecting, and then for the answer as a whole, however slowly it comes."""

TURN = timedelta(seconds=20)
"""How long a worker stays with one webhook before it gives the rest back."""

LEASE = TURN + timedelta(seconds=4 * TIMEOUT_SECONDS)
"""How long a worker may be silent before another one takes over; a turn ends with at most one slow answer."""

BREATHER = timedelta(seconds=60)
"""How long the rest waits after a receiver could not be reached."""

RETRY_AFTER: Sequence[timedelta] = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800)
)
"""Between one try and the next; together just under a day, then it is given up."""

KEPT = timedelta(days=30)
"""How long deliveries that have ended can be looked at."""

_CHUNK = 50
_ANSWER_BYTES = 1_000


def ring_for_due(now: datetime) -> None:
    """Claim what is due and ring workers for it, one for each webhook."""
    for webhook_id, lease in claim_due(now):
        if not doorbell.ring_webhook(webhook_id, lease):
            WebhookDelivery.objects.filter(webhook=webhook_id, lease=lease).update(
                lease=None, next_action_at=now
            )


def claim_due(now: datetime) -> list[tuple[int, uuid.UUID]]:
    """Lease what is due at `now`: webhook and lease of each claim. One query when nothing is."""
    due = WebhookDelivery.objects.filter(
        state=DeliveryStateChoices.WAITING, next_action_at__lte=now, webhook__is_enabled=True
    )
    claims = []
    for webhook_id in list(due.order_by().values_list("webhook", flat=True).distinct()):
        lease = _claim(webhook_id, now)
        if lease is not None:
            claims.append((webhook_id, lease))
    return claims


@transaction.atomic
def _claim(webhook_id: int, now: datetime) -> uuid.UUID | None:
    # the webhook's row keeps dispatchers from claiming for it at once; on SQLite the transaction itself is exclusive
    held = Webhook.objects.select_for_update(skip_locked=True, no_key=True).filter(
        pk=webhook_id, is_enabled=True
    )
    if not held.values_list("pk").first():
        return None
    waiting = WebhookDelivery.objects.filter(webhook=webhook_id, state=DeliveryStateChoices.WAITING)
    if waiting.filter(lease__isnull=False, next_action_at__gt=now).exists():
        return None
    ids = list(
        waiting.filter(next_action_at__lte=now).order_by("next_action_at", "pk").values_list("pk")[:_CHUNK]
    )
    lease = uuid.uuid4()
    taken = waiting.filter(pk__in=[pk for (pk,) in ids]).update(lease=lease, next_action_at=now + LEASE)
    return lease if taken else None


def deliver(webhook_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Send what is held under `lease`, for one turn at most; then have the next looked for."""
    webhook = Webhook.objects.filter(pk=webhook_id).first()
    rows = WebhookDelivery.objects.filter(webhook=webhook_id, lease=lease).order_by("pk")
    if webhook is None:
        return
    ends = clock() + TURN
    for row in list(rows):
        outcome = _send(webhook, row, clock())
        _record(row, lease, outcome, clock())
        if outcome.status_code is None:
            rows.update(lease=None, next_action_at=clock() + BREATHER)
            return
        if clock() >= ends:
            break
    rows.update(lease=None, next_action_at=clock())
    doorbell.ring_webhooks()


def forget(now: datetime) -> int:
    """Remove deliveries that ended long ago; returns how many."""
    return WebhookDelivery.objects.filter(completed_at__lte=now - KEPT).delete()[0]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one try."""

    status_code: int | None
    """None when there was no answer."""
    answer: str

    @property
    def is_delivered(self) -> bool:
        """Anything but 2xx is a refusal; a redirect too, since it is not followed."""
        return self.status_code is not None and 200 <= self.status_code < 300


def _record(row: WebhookDelivery, lease: uuid.UUID, outcome: _Outcome, now: datetime) -> None:
    """Compare-and-swap on the lease: who lost it has sent once too often, and changes nothing."""
    fields: dict[str, Any] = {
        "attempts": row.attempts + 1,
        "status_code": outcome.status_code,
        "answer": outcome.answer,
        "lease": None,
    }
    if outcome.is_delivered or row.attempts >= len(RETRY_AFTER):
        state = DeliveryStateChoices.DELIVERED if outcome.is_delivered else DeliveryStateChoices.FAILED
        fields |= {"state": state, "completed_at": now, "next_action_at": None}
    else:
        fields["next_action_at"] = now + RETRY_AFTER[row.attempts]
    WebhookDelivery.objects.filter(pk=row.pk, lease=lease).update(**fields)
    if not outcome.is_delivered:
        logger.info(
            "webhook %d: delivery %d failed: %s", row.webhook_id, row.pk, outcome.status_code or "no answer"
        )


def _send(webhook: Webhook, row: WebhookDelivery, now: datetime) -> _Outcome:
    """One POST. Whatever goes wrong is an outcome."""
    body = json.dumps(row.payload, separators=(",", ":")).encode()
    try:
        secret = webhook.reveal_secret()
    except SecretUnreadable as error:
        return _Outcome(None, str(error))
    signature = signing.headers(secret, f"msg_{row.message_id.hex}", int(now.timestamp()), body)
    answer_by(time.monotonic() + TIMEOUT_SECONDS)
    try:
        with (
            new_session() as session,
            session.post(
                webhook.url,
                data=body,
                headers={"Content-Type": "application/json", **signature},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            return _Outcome(response.status_code, _beginning(response))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
        return _Outcome(None, _reason(error))


def _reason(error: Exception) -> str:
    """Why there was no answer, without the URL, which may hold what only its owner should know."""
    match error:
        case requests.exceptions.SSLError():
            return "The TLS connection failed: check the receiver's certificate, and who vouches for it."
        case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError():
            return f"No answer within {TIMEOUT_SECONDS} s: check whether the receiver runs, and firewalls in between."
        case _:
            return "No connection: check the URL, the port, and whether the receiver runs."


def _beginning(response: requests.Response) -> str:
    """The first bytes of the answer as text that the database takes."""
    try:
        answer: bytes = response.raw.read1(_ANSWER_BYTES) or b""
    except (urllib3.exceptions.HTTPError, OSError):
        # the status has come, and it is what counts
        answer = b""
    return answer[:_ANSWER_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
