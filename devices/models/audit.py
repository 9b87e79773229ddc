"""The audit trail: who did what to what, when, from where."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class AuditEvent(models.Model):
    """One event. Append-only: a stored event is neither changed nor deleted."""

    class Source(models.TextChoices):
        """The way in."""

        DASHBOARD = "dashboard", _("Dashboard")
        API = "api", _("API")
        COMMAND = "command", _("Command")
        SYSTEM = "system", _("System")

    at = models.DateTimeField(_("When"), db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(_("Who"), max_length=150)
    """Kept beside the reference, so that a deleted user's events still say who it was."""
    source = models.CharField(_("From"), max_length=10, choices=Source.choices)
    address = models.GenericIPAddressField(_("Address"), null=True, blank=True)
    action = models.CharField(_("Action"), max_length=50)
    """`<object>.<verb>`, for example `device.create` or `issuance_request.successful`."""
    target_type = models.CharField(max_length=50)
    target_id = models.BigIntegerField(null=True, blank=True)
    target_name = models.CharField(_("What"), max_length=200)
    changes = models.JSONField(_("Changes"), default=dict, blank=True)
    """`{field: [old, new]}`, without secrets; other facts as `{name: value}`."""

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Audit event")
        verbose_name_plural = _("Audit events")
        indexes: ClassVar = [
            models.Index(fields=["target_type", "target_id", "-id"], name="audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a new event. Raises TypeError for a stored one."""
        if not self._state.adding:
            raise TypeError("an audit event is never changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises TypeError, always."""
        raise TypeError("an audit event is never deleted")
