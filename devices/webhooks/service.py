"""Webhooks added, changed, removed and tried: checked and audited. Administrators' business alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, doorbell
from devices.access import Permission
from devices.audit import Actor
from devices.models import Webhook, WebhookDelivery
from devices.models.choices import WebhookEventChoices
from devices.webhooks import outbox, signing
from devices.webhooks.signing import PREFIX, NoSecret

WEBHOOK_FIELDS = ("name", "url", "events", "days_before_expiry", "is_enabled")
"""What people enter about a webhook, beside its secret."""


@transaction.atomic
def create(actor: Actor, *, secret: str = "", **fields: Any) -> tuple[Webhook, str]:
    """A new webhook, and the secret that was drawn for it when none was given; else the empty text.

    Raises PermissionDenied, and ValidationError with a dict of fields.
    """
    access.require(actor, Permission.ADD_WEBHOOK)
    drawn = "" if secret else signing.draw_secret()
    webhook = Webhook(created_at=timezone.now())
    _set(webhook, fields, secret or drawn)
    webhook.save(force_insert=True)
    audit.record(actor, "webhook.create", webhook, _shown(fields))
    return webhook, drawn


@transaction.atomic
def update(actor: Actor, webhook: Webhook, *, secret: str = "", **fields: Any) -> Webhook:
    """Change `fields`, and the secret unless it is empty. Raises as `create` does."""
    access.require(actor, Permission.CHANGE_WEBHOOK)
    before = {name: getattr(webhook, name) for name in fields}
    _set(webhook, fields, secret)
    changes: dict[str, Any] = {**audit.difference(_shown(before), _shown(fields))}
    if "url" in fields and fields["url"] != before["url"]:
        changes.setdefault("url", "changed")
    if secret:
        changes["secret"] = "changed"  # noqa: S105 (not the secret)
    if changes:
        webhook.save()
        audit.record(actor, "webhook.update", webhook, changes)
    return webhook


@transaction.atomic
def delete(actor: Actor, webhook: Webhook) -> None:
    """Remove the webhook and what was still to be sent to it. Raises PermissionDenied."""
    access.require(actor, Permission.DELETE_WEBHOOK)
    audit.record(actor, "webhook.delete", webhook)
    webhook.delete()


@transaction.atomic
def send_test(actor: Actor, webhook: Webhook) -> WebhookDelivery:
    """An event of type `webhook.test` on its way, whatever events the webhook wants. Raises PermissionDenied."""
    access.require(actor, Permission.CHANGE_WEBHOOK)
    now = timezone.now()
    test = outbox.delivery(webhook, WebhookEventChoices.TEST, {"webhook": webhook.name}, now)
    outbox.store([test])
    audit.record(actor, "webhook.test", webhook)
    transaction.on_commit(doorbell.ring_webhooks)
    return test


def _set(webhook: Webhook, fields: Mapping[str, Any], secret: str) -> None:
    """Raise TypeError for unknown names, and ValidationError with a dict of fields."""
    if unknown := set(fields) - set(WEBHOOK_FIELDS):
        raise TypeError(f"Webhook has no {', '.join(sorted(unknown))}")
    for name, value in fields.items():
        setattr(webhook, name, value)
    errors: dict[str, Any] = {}
    if secret:
        try:
            signing.key_of(secret)
        except NoSecret:
            errors["secret"] = _("Write 24 to 64 bytes in base64, with or without “%(prefix)s” before.") % {
                "prefix": PREFIX
            }
        else:
            webhook.set_secret(PREFIX + secret.removeprefix(PREFIX))
    try:
        webhook.full_clean()
    except ValidationError as error:
        errors |= error.error_dict
    if errors:
        raise ValidationError(errors)


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` for the audit trail: everybody reads it, and a URL may hold what only its owner should know."""
    return {
        name: f"{urlsplit(value).scheme}://{urlsplit(value).hostname}" if name == "url" else value
        for name, value in fields.items()
    }
