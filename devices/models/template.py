"""Templates: named sets of settings that are applied to a selection of devices."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.parameters import ChallengePassword
from devices.models.scep_server import ScepServer


class SettingsTemplate(ChallengePassword):
    """A name, and the settings that it sets; a device keeps what a template does not name.

    devices/templates.py checks and writes it.
    """

    name = models.CharField(_("Name"), max_length=100, unique=True)
    description = models.CharField(_("Description"), max_length=500, blank=True)
    settings = models.JSONField(_("Settings"), default=dict, blank=True)
    """Values by the field names of ScepSettings, the server left out: that is a reference.

    `request_start_at` is a local date and time without a zone, for example "2027-01-11T07:00:00": each device
    takes it in the time zone of its group.
    """
    server = models.ForeignKey(
        ScepServer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="templates",
        verbose_name=_("SCEP server"),
    )
    """Null: each device keeps its own."""

    class Meta:
        ordering = ["name"]
        verbose_name = _("Settings template")
        verbose_name_plural = _("Settings templates")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~models.Q(settings={})
                | models.Q(server__isnull=False)
                | models.Q(challenge_password_encrypted__isnull=False),
                name="settings_template_sets_something",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def values(self) -> dict[str, Any]:
        """What it sets beside the challenge password, by field name: as JSON, the server by its id."""
        server = {} if self.server_id is None else {"server": self.server_id}
        return {**server, **self.settings}
