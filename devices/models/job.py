"""Jobs: one action over many devices, done by workers, with progress and a result for each device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.audit import AuditEvent
from devices.models.choices import JobItemStateChoices, JobKindChoices, JobStateChoices
from devices.models.device import Device
from devices.models.fields import BytesField

_OPEN = [JobStateChoices.WAITING.value, JobStateChoices.RUNNING.value]
_IS_OPEN = models.Q(state__in=_OPEN)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is that goes by steps of its own, not device by device."""

    done: int
    refused: int
    total: int
    refusals: Mapping[int, str] = field(default_factory=dict)
    """What this step refused and why, by ids that the kind knows."""


class Job(models.Model):
    """One action over a selection of devices.

    As with requests, the row is the truth and the queue a doorbell: `next_action_at` says when somebody has to
    look at it again, and whoever works on it holds `lease`.
    """

    kind = models.CharField(_("Kind"), max_length=30, choices=JobKindChoices.choices)
    state = models.CharField(
        _("State"), max_length=10, choices=JobStateChoices.choices, default=JobStateChoices.WAITING
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(_("Who"), max_length=150)
    source = models.CharField(_("From"), max_length=10, choices=AuditEvent.Source.choices)
    address = models.GenericIPAddressField(_("Address"), null=True, blank=True)
    parameters = models.JSONField(_("Parameters"), default=dict, blank=True)
    """What is done to each device; holds no secret."""
    secrets_encrypted = BytesField(null=True, editable=False)
    """Secret parameters as JSON, encrypted; gone when the job has ended."""
    language = models.CharField(max_length=10, default="en", editable=False)
    """In which the results are written: that of whoever started it."""
    total = models.PositiveIntegerField(_("Devices"), default=0)
    done = models.PositiveIntegerField(_("Done"), default=0)
    refused = models.PositiveIntegerField(_("Refused"), default=0)
    message = models.TextField(_("Message"), blank=True)
    """Why it ended as it did, where the results do not say it."""
    created_at = models.DateTimeField(_("Created"))
    started_at = models.DateTimeField(_("Started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)
    next_action_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Job")
        verbose_name_plural = _("Jobs")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(_IS_OPEN & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (
                    ~_IS_OPEN
                    & models.Q(
                        next_action_at__isnull=True,
                        lease__isnull=True,
                        completed_at__isnull=False,
                        secrets_encrypted__isnull=True,
                    )
                ),
                name="job_open_is_due_ended_is_not",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["next_action_at"], condition=_IS_OPEN, name="job_due")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.pk})"

    @property
    def is_open(self) -> bool:
        """True until it has finished or was canceled."""
        return self.state in _OPEN

    @property
    def percent(self) -> int:
        """How much of it was looked at, 0 to 100."""
        return 100 if not self.total else (self.done + self.refused) * 100 // self.total


class JobPart(models.Model):
    """A part of a job's selection whose devices have no rows yet; gone when a worker has made them."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="parts")
    position = models.PositiveIntegerField()
    """That of its first device."""
    count = models.PositiveIntegerField()
    """How many devices."""
    devices_packed = BytesField()
    """They, as devices/jobs/selection.py packs them."""

    class Meta:
        ordering = ["job", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "position"], name="job_part_position"),
        ]

    def __str__(self) -> str:
        return f"part {self.position} of job {self.job_id}"


class JobItem(models.Model):
    """One device of a job, and what came of it."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField()
    """From 0, in the order of the selection."""
    device = models.ForeignKey(
        Device, on_delete=models.SET_NULL, null=True, blank=True, related_name="job_items"
    )
    device_name = models.CharField(_("Device"), max_length=100)
    parameters = models.JSONField(default=dict, blank=True)
    """What is done to this device alone, on top of the job's parameters."""
    state = models.CharField(
        _("State"), max_length=10, choices=JobItemStateChoices.choices, default=JobItemStateChoices.WAITING
    )
    message = models.TextField(_("Message"), blank=True)
    """Why it was refused, in the words that a form would have shown."""

    class Meta:
        ordering = ["job", "position"]
        verbose_name = _("Device of a job")
        verbose_name_plural = _("Devices of a job")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "position"], name="job_item_position"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["job", "position"],
                condition=models.Q(state=JobItemStateChoices.WAITING.value),
                name="job_item_waiting",
            ),
            models.Index(fields=["job", "state", "position"], name="job_item_state"),
        ]

    def __str__(self) -> str:
        return f"{self.device_name} of job {self.job_id}"
