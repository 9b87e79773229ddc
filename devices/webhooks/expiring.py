"""`certificate.expiring`: each webhook is told once of each certificate that will expire."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from devices.models import ExpiryNotice, KeyAndCertificate, Webhook
from devices.models.choices import WebhookEventChoices
from devices.webhooks import outbox

BATCH = 500
"""Certificates that one look tells one webhook of: a new webhook on a large fleet hears of the rest next time."""


def announce_expiring(now: datetime) -> int:
    """Tell every webhook that wants it of what will expire within its days; returns how many deliveries."""
    event = WebhookEventChoices.CERTIFICATE_EXPIRING
    wanting = [
        hook.pk for hook in Webhook.objects.filter(is_enabled=True).only("events") if event in hook.events
    ]
    return sum(_tell(webhook_id, now) for webhook_id in wanting)


@transaction.atomic
def _tell(webhook_id: int, now: datetime) -> int:
    """A constant number of queries. The webhook's row keeps two of us from telling the same."""
    webhook = Webhook.objects.select_for_update(no_key=True).filter(pk=webhook_id, is_enabled=True).first()
    if webhook is None:
        return 0
    told = ExpiryNotice.objects.filter(webhook=webhook, certificate=OuterRef("pk"))
    # the certificate that counts for the device: one that was replaced may expire in peace
    keys = list(
        KeyAndCertificate.objects.select_related("device")
        .filter(
            ~Exists(told),
            not_after=F("device__expires_at"),
            not_after__gt=now,
            not_after__lte=now + timedelta(days=webhook.days_before_expiry),
        )
        .order_by("not_after", "pk")[:BATCH]
    )
    ExpiryNotice.objects.bulk_create(
        [ExpiryNotice(webhook=webhook, certificate=key) for key in keys], batch_size=BATCH
    )
    outbox.store(
        outbox.delivery(
            webhook,
            WebhookEventChoices.CERTIFICATE_EXPIRING,
            {"device": outbox.of_device(key.device), "certificate": outbox.of_certificate(key)},
            now,
        )
        for key in keys
    )
    return len(keys)
