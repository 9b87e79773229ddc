"""Deliveries of keys to their devices (F5)."""

from __future__ import annotations

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.choices import DeploymentStateChoices, KeyUseChoices
from devices.models.device import Device
from devices.models.fields import BytesField
from devices.models.keystore import KeyAndCertificate
from devices.rules.deployment import CLOSED_DEPLOYMENT_STATES, OPEN_DEPLOYMENT_STATES

# plain strings, so that migrations do not depend on the enumeration
_IS_OPEN = models.Q(state__in=sorted(state.value for state in OPEN_DEPLOYMENT_STATES))
_IS_CLOSED = models.Q(state__in=sorted(state.value for state in CLOSED_DEPLOYMENT_STATES))
_HAS_NO_FORMER = models.Q(former__isnull=True, former_private_key_encrypted__isnull=True)


class Deployment(models.Model):
    """How far a key is on its way to its device: one row for each key that is to get there.

    As with requests, the row is the truth and the queue a doorbell: `next_action_at` says when somebody has to look
    at it again, and `state` is written by devices/delivery alone, with a compare-and-swap on state and lease.
    """

    key = models.OneToOneField(KeyAndCertificate, on_delete=models.CASCADE, related_name="deployment")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="deployments")
    state = models.CharField(
        _("State"),
        max_length=14,
        choices=DeploymentStateChoices.choices,
        default=DeploymentStateChoices.ISSUED,
    )
    explanation = models.TextField(_("Explanation"), blank=True)
    """What was expected, what came, and what the reader can do. Holds no secret."""
    key_use = models.CharField(_("Key Use Location"), max_length=12, choices=KeyUseChoices.choices)
    ipsec_destination = models.CharField(_("IPSec destination"), max_length=100, blank=True)
    """What the key is delivered for; the key itself loses its function when the former one comes back."""

    tries = models.PositiveSmallIntegerField(_("Tries"), default=0)
    """Tries that did not succeed, since the state was reached."""
    looks = models.PositiveSmallIntegerField(default=0, editable=False)
    """How often the device was seen with another certificate since it was told to use this one."""
    at_once = models.BooleanField(default=False, editable=False)
    """Somebody asked for it: the maintenance window does not count."""
    restart_wanted = models.BooleanField(default=False, editable=False)
    """R13: the device restarts when it has taken the key."""
    restart_opened = models.BooleanField(default=False, editable=False)
    """It was, after this delivery."""
    for_administrator = models.BooleanField(default=False, editable=False)
    """It failed for something that somebody can change: it is tried again when the device's data was changed."""

    created_at = models.DateTimeField(_("Created"))
    since = models.DateTimeField(editable=False)
    """When the tries began that are counted now."""
    sent_at = models.DateTimeField(_("Sent"), null=True, blank=True)
    """When it was sent last: committed before the first byte goes out."""
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)

    former = models.JSONField(null=True, editable=False, encoder=DjangoJSONEncoder)
    """The key that the device used before, as its row was (`devices.keystore.snapshot`); kept until the new one is
    verified, and with it what brings it back."""
    former_private_key_encrypted = BytesField(null=True, editable=False)
    former_is_overwritten = models.BooleanField(default=False, editable=False)
    """R14 overwrote it: it is deleted from the device when the new one is verified."""

    next_action_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    """Who may act on the row until `next_action_at`; null: nobody does."""
    takeovers = models.PositiveSmallIntegerField(default=0, editable=False)
    """How often in a row somebody took this up and was not heard of again."""

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Delivery")
        verbose_name_plural = _("Deliveries")
        default_permissions = ()
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(_IS_OPEN & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (_IS_CLOSED & models.Q(completed_at__isnull=False)),
                name="deployment_open_is_due",
            ),
            models.CheckConstraint(
                # after it is verified the former key may still have to be deleted from the device
                condition=_IS_OPEN
                | models.Q(next_action_at__isnull=True, lease__isnull=True)
                | models.Q(state="verified", former__isnull=False),
                name="deployment_closed_is_not_due",
            ),
            models.CheckConstraint(
                condition=_HAS_NO_FORMER
                | models.Q(former__isnull=False, former_private_key_encrypted__isnull=False),
                name="deployment_former_is_whole",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["verified", "not_verifiable", "rolled_back"])
                | models.Q(next_action_at__isnull=False)
                | _HAS_NO_FORMER,
                name="deployment_ended_keeps_no_former_key",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_action_at"],
                condition=models.Q(next_action_at__isnull=False),
                name="deployment_due",
            ),
            models.Index(fields=["state", "device"], name="deployment_state"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk} of key {self.key_id}"
