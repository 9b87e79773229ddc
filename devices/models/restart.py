"""Restarts of devices (R7, R13)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.choices import RestartStateChoices, RestartTriggerChoices
from devices.models.device import Device
from devices.rules.restart import CLOSED_RESTART_STATES, OPEN_RESTART_STATES

RESTARTS_KEPT = 20
"""Per device; the audit trail keeps the whole history."""

# plain strings, so that migrations do not depend on the enumeration
_IS_OPEN = models.Q(state__in=sorted(state.value for state in OPEN_RESTART_STATES))
_IS_CLOSED = models.Q(state__in=sorted(state.value for state in CLOSED_RESTART_STATES))


class Restart(models.Model):
    """One restart of a device, from the wish to its end.

    As with requests, the row is the truth and the queue a doorbell: `next_action_at` says when somebody has to
    look at it again, and `state` is written by devices/delivery alone, with a compare-and-swap on state and lease.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="restarts")
    trigger = models.CharField(_("Trigger"), max_length=10, choices=RestartTriggerChoices.choices)
    state = models.CharField(
        _("State"), max_length=12, choices=RestartStateChoices.choices, default=RestartStateChoices.WAITING
    )
    explanation = models.TextField(_("Explanation"), blank=True)
    """What was expected, what came, and what the reader can do. Holds no secret."""
    asked_by = models.CharField(_("Who"), max_length=150)
    created_at = models.DateTimeField(_("Created"))
    requested_at = models.DateTimeField(_("Device asked"), null=True, blank=True)
    """When the device was asked last: committed before the request goes out."""
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)

    boot_count = models.PositiveBigIntegerField(null=True, editable=False)
    """How often the device had started when it was asked, as it counts itself."""
    seen_away = models.BooleanField(default=False, editable=False)
    """It was away at least once since it was asked."""
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    """Tries to ask the device that did not succeed."""
    again = models.BooleanField(default=False, editable=False)
    """A certificate came while the device was restarting already: another restart follows this one (R13)."""

    next_action_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    """Who may act on the row until `next_action_at`; null: nobody does."""
    takeovers = models.PositiveSmallIntegerField(default=0, editable=False)
    """How often in a row somebody took this up and was not heard of again."""

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Restart")
        verbose_name_plural = _("Restarts")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device"], condition=_IS_OPEN, name="restart_one_open_per_device"
            ),
            models.CheckConstraint(
                condition=(_IS_OPEN & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (
                    _IS_CLOSED
                    & models.Q(next_action_at__isnull=True, lease__isnull=True, completed_at__isnull=False)
                ),
                name="restart_open_is_due_closed_is_not",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["requested", "coming_back", "done"])
                | models.Q(requested_at__isnull=False),
                name="restart_requested_has_its_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_action_at"], condition=_IS_OPEN, name="restart_due"),
            models.Index(fields=["device", "-id"], name="restart_of_device"),
        ]

    def __str__(self) -> str:
        return f"restart {self.pk} of device {self.device_id}"

    @property
    def seconds_away(self) -> int | None:
        """Between being asked and being seen again; None before."""
        if self.requested_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.requested_at).total_seconds())
