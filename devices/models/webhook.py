"""Webhooks: who is told what happens, and every delivery of it (Standard Webhooks)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices import secrets
from devices.models.choices import DeliveryStateChoices, WebhookEventChoices
from devices.models.fields import BytesField
from devices.models.keystore import KeyAndCertificate
from devices.models.validators import validate_webhook_url

_IS_WAITING = models.Q(state=DeliveryStateChoices.WAITING.value)


def validate_events(value: Any) -> None:
    """Raise ValidationError unless `value` is a list of different events, at least one."""
    known = [event for event in WebhookEventChoices.values if event != WebhookEventChoices.TEST]
    if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
        usable = False
    else:
        usable = all(event in known for event in value)
    if not usable:
        raise ValidationError(
            _("Choose at least one of the events %(known)s, each once."), params={"known": ", ".join(known)}
        )


class Webhook(models.Model):
    """An address that is told of events, by POST and signed with a secret that both sides know."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    url = models.CharField(
        _("URL"),
        max_length=500,
        validators=[validate_webhook_url],
        help_text=_("http or https. Addresses of your own network are fine; redirects are not followed."),
    )
    secret_encrypted = BytesField(editable=False)
    """`whsec_` and the key in base64, encrypted."""
    events = models.JSONField(_("Events"), validators=[validate_events])
    days_before_expiry = models.PositiveSmallIntegerField(
        _("Days before a certificate expires"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_("1 to 365; when certificate.expiring is sent, once for each certificate."),
    )
    is_enabled = models.BooleanField(_("Enabled"), default=True)
    created_at = models.DateTimeField(_("Created"))

    class Meta:
        ordering = ["name"]
        verbose_name = _("Webhook")
        verbose_name_plural = _("Webhooks")

    def __str__(self) -> str:
        return self.name

    def set_secret(self, secret: str) -> None:
        """Store `secret` encrypted."""
        self.secret_encrypted = secrets.encrypt(secret.encode())

    def reveal_secret(self) -> str:
        """The secret in clear, for signing alone. Raises devices.secrets.SecretUnreadable."""
        return secrets.decrypt(self.secret_encrypted).decode()


class WebhookDelivery(models.Model):
    """One event for one webhook: to be sent, sent, or given up.

    Written in the transaction of the event (an outbox). As with requests the row is the truth and the queue a
    doorbell: `next_action_at` says when it is to be sent, and whoever sends it holds `lease`.
    """

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    message_id = models.UUIDField(editable=False)
    """The same for every try, so that the receiver knows what it has already."""
    event = models.CharField(_("Event"), max_length=40, choices=WebhookEventChoices.choices)
    payload = models.JSONField(_("Content"))
    """What is sent, without any secret."""
    created_at = models.DateTimeField(_("When"))
    state = models.CharField(
        _("State"), max_length=10, choices=DeliveryStateChoices.choices, default=DeliveryStateChoices.WAITING
    )
    attempts = models.PositiveSmallIntegerField(_("Tries"), default=0)
    status_code = models.PositiveSmallIntegerField(_("HTTP status"), null=True, blank=True)
    """Of the last answer; null while there was none."""
    answer = models.TextField(_("Answer"), blank=True)
    """The first bytes of it, or why there was none."""
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)
    next_action_at = models.DateTimeField(_("Next try"), null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Webhook delivery")
        verbose_name_plural = _("Webhook deliveries")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(_IS_WAITING & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (
                    ~_IS_WAITING
                    & models.Q(next_action_at__isnull=True, lease__isnull=True, completed_at__isnull=False)
                ),
                name="webhook_delivery_waiting_is_due_ended_is_not",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["webhook", "next_action_at"], condition=_IS_WAITING, name="delivery_due"),
            models.Index(fields=["completed_at"], name="delivery_completed"),
        ]

    def __str__(self) -> str:
        return f"{self.event} ({self.message_id})"


class ExpiryNotice(models.Model):
    """That a webhook was told of a certificate's end, so that it is told once."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="+")
    certificate = models.ForeignKey(KeyAndCertificate, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["webhook", "certificate"], name="expiry_notice_once"),
        ]

    def __str__(self) -> str:
        return f"certificate {self.certificate_id} to webhook {self.webhook_id}"
