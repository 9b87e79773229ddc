"""Files that were handed in to be imported: their bytes until they are checked, and what each row comes to."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.audit import AuditEvent
from devices.models.choices import (
    FileFormatChoices,
    JobItemStateChoices,
    JobStateChoices,
    RowOutcomeChoices,
)
from devices.models.device import Device
from devices.models.fields import BytesField
from devices.models.job import Job


class Import(models.Model):
    """One file. Two jobs work on it: one checks it, and, when somebody says so, one applies it."""

    file_name = models.CharField(_("File"), max_length=255, blank=True)
    format = models.CharField(_("Format"), max_length=3, choices=FileFormatChoices.choices)
    may_hold_secrets = models.BooleanField(default=False, editable=False)
    """True for a file that came encrypted with a password."""
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(_("Who"), max_length=150)
    source = models.CharField(_("From"), max_length=10, choices=AuditEvent.Source.choices)
    created_at = models.DateTimeField(_("Created"))
    check_job = models.ForeignKey(Job, on_delete=models.SET_NULL, null=True, related_name="+")
    apply_job = models.ForeignKey(Job, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    problem = models.TextField(_("Problem"), blank=True)
    """Why the file cannot be used at all; empty when it can."""
    total = models.PositiveIntegerField(_("Rows"), null=True)
    """Null until the rows were counted."""
    columns = models.JSONField(default=list)
    """The names of those that the rows have, as far as they were checked."""
    added = models.PositiveIntegerField(_("Added"), default=0)
    changed = models.PositiveIntegerField(_("Changed"), default=0)
    unchanged = models.PositiveIntegerField(_("Unchanged"), default=0)
    locked = models.PositiveIntegerField(_("Locked by their timers"), default=0)
    refused = models.PositiveIntegerField(_("Refused"), default=0)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Import")
        verbose_name_plural = _("Imports")
        indexes: ClassVar = [models.Index(fields=["created_at"], name="import_created")]

    def __str__(self) -> str:
        return self.file_name or f"{self._meta.verbose_name} {self.pk}"

    @property
    def state(self) -> str:
        """Where it stands: checking, unusable, checked, applying, applied, or ended without (see the jobs)."""
        if self.problem:
            return "unusable"
        if self.apply_job is not None:
            states = {JobStateChoices.FINISHED: "applied", JobStateChoices.CANCELED: "canceled"}
            if self.apply_job.is_open:
                return "applying"
            return states.get(JobStateChoices(self.apply_job.state), "nothing_applied")
        if self.check_job is None or self.check_job.state == JobStateChoices.FINISHED:
            return "checked"
        return "checking" if self.check_job.is_open else "check_ended"

    @property
    def checked(self) -> int:
        """How many rows were looked at."""
        return self.added + self.changed + self.unchanged + self.locked + self.refused

    @property
    def is_checked(self) -> bool:
        """True when the report is whole, so that the file may be applied."""
        job = self.check_job
        return job is not None and job.state == JobStateChoices.FINISHED and not self.problem


class ImportPart(models.Model):
    """A piece of a file's bytes; gone once the file is checked. In the database, so any worker can read it."""

    of = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    content_encrypted = BytesField(editable=False)
    """Compressed (zlib), then encrypted."""

    class Meta:
        ordering = ["of", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["of", "number"], name="import_part_number"),
        ]

    def __str__(self) -> str:
        return f"part {self.number} of import {self.of_id}"


class ImportRow(models.Model):
    """One device of a file: what it comes to, and what became of it."""

    of = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField()
    """From 0, in the order of the file."""
    line = models.PositiveIntegerField(_("Line"))
    name = models.CharField(_("Device"), max_length=100, blank=True)
    serial_number = models.CharField(_("Serial number"), max_length=100, blank=True)
    """Name and serial number as the row has them, cut to the length of the columns: what is longer is refused."""
    device = models.ForeignKey(Device, on_delete=models.SET_NULL, null=True, related_name="+")
    """The stored device that it is about."""
    outcome = models.CharField(_("Outcome"), max_length=10, choices=RowOutcomeChoices.choices)
    cells = models.JSONField(default=dict)
    """`{column: text}`, without secrets."""
    secrets_encrypted = BytesField(null=True, editable=False)
    """Secret cells as JSON, encrypted; gone when the import was applied."""
    changes = models.JSONField(default=dict)
    """`{column: [old, new]}` of a device that is changed."""
    problems = models.JSONField(default=list)
    """`[column, value, reason]` each."""
    state = models.CharField(
        _("State"), max_length=10, choices=JobItemStateChoices.choices, blank=True, default=""
    )
    """What came of it: waiting until it is applied, empty for a row that changes nothing."""
    message = models.TextField(_("Message"), blank=True)
    """Why it was refused when it was to be applied."""

    class Meta:
        ordering = ["of", "number"]
        verbose_name = _("Row of an import")
        verbose_name_plural = _("Rows of an import")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["of", "number"], name="import_row_number"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["of", "outcome", "number"], name="import_row_outcome"),
            models.Index(fields=["of", "name"], name="import_row_name"),
            models.Index(fields=["of", "serial_number"], name="import_row_serial"),
            models.Index(
                fields=["of", "number"],
                condition=models.Q(state=JobItemStateChoices.WAITING.value),
                name="import_row_waiting",
            ),
        ]

    def __str__(self) -> str:
        return f"line {self.line} of import {self.of_id}"

    @property
    def shown_changes(self) -> dict[str, Any]:
        """`{column: [old, new]}`; of a device that is added, what its row has, with null for old."""
        if self.outcome != RowOutcomeChoices.ADDED:
            return dict(self.changes)
        return {name: [None, cell] for name, cell in self.cells.items() if cell}
