"""Events on their way out: a row for each webhook that wants one, in the transaction of what happened."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from devices.models import Device, IssuanceRequest, KeyAndCertificate, Webhook, WebhookDelivery
from devices.models.choices import WebhookEventChoices

_BATCH = 500


def announce(event: WebhookEventChoices, data: Mapping[str, Any], at: datetime) -> None:
    """Write `event` down for every webhook that wants it: one query, and one more when there are any.

    `data` is what JSON holds, and no secret. Called inside the transaction of what happened, so that there is
    neither an event without it nor the reverse.
    """
    # SQLite cannot look into lists; webhooks are few
    enabled = Webhook.objects.filter(is_enabled=True).only("events")
    store([delivery(webhook, event, data, at) for webhook in enabled if event in webhook.events])


def delivery(
    webhook: Webhook, event: WebhookEventChoices, data: Mapping[str, Any], at: datetime
) -> WebhookDelivery:
    """A delivery that is due at once and not stored yet."""
    return WebhookDelivery(
        webhook=webhook,
        message_id=uuid.uuid4(),
        event=event.value,
        # type, timestamp and data, as the specification wants a payload to be
        payload={"type": event.value, "timestamp": at.isoformat(), "data": dict(data)},
        created_at=at,
        next_action_at=at,
    )


def store(deliveries: Iterable[WebhookDelivery]) -> None:
    """Store new deliveries."""
    WebhookDelivery.objects.bulk_create(deliveries, batch_size=_BATCH)


def of_request(request: IssuanceRequest, key: KeyAndCertificate | None) -> dict[str, Any]:
    """What is told of a request that has ended."""
    return {
        "device": of_device(request.device),
        "request": {
            "id": request.pk,
            "status": request.status.value,
            "details": request.details,
            "explanation": request.explanation,
            "trigger": request.trigger,
            "transaction_id": request.transaction_id,
            "request_at": request.request_at.isoformat(),
            "completed_at": request.completed_at and request.completed_at.isoformat(),
        },
        "certificate": of_certificate(key) if key else None,
    }


def of_device(device: Device) -> dict[str, Any]:
    """How a receiver finds the device again."""
    return {
        "id": device.pk,
        "name": device.name,
        "host": device.host,
        "serial_number": device.serial_number,
    }


def of_certificate(key: KeyAndCertificate) -> dict[str, Any]:
    """The certificate, by what identifies it."""
    return {
        "key": key.pk,
        "key_name": key.name,
        "key_use": key.key_use,
        "subject": key.subject,
        "issuer": key.issuer,
        "serial_number": key.serial_number,
        "fingerprint_sha256": key.fingerprint_sha256,
        "not_before": key.not_before.isoformat(),
        "not_after": key.not_after.isoformat(),
    }
