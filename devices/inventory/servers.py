"""SCEP servers: added, changed and removed, checked and audited."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices.audit import Actor
from devices.errors import Conflict
from devices.inventory.common import create, delete, require, update
from devices.models import (
    ScepServer,
    ScepSettings,
    SettingsTemplate,
)

SERVER_FIELDS = (
    "name",
    "url",
    "port",
    "timeout",
    "ca_identifier",
    "ca_fingerprint",
    "allow_sha1",
    "allow_3des",
    "allow_des_replies",
    "renewal_form",
    "tls_ca_certificates",
    "proxy",
    "max_requests_per_minute",
    "max_requests_at_once",
)
"""What people enter about a SCEP server."""


COMMUNICATION_FIELDS = ("url", "port", "timeout")
"""[Communication Settings] that R3 locks."""


def create_server(actor: Actor, **fields: Any) -> ScepServer:
    """A new SCEP server. Raises ValidationError with a dict of fields."""
    return create(actor, ScepServer(), fields)


@transaction.atomic
def update_server(
    actor: Actor, server: ScepServer, *, suspend_timers: bool = False, **fields: Any
) -> ScepServer:
    """Change `fields`, and forget what the server said of itself under its old address.

    With `suspend_timers` the timers that use the server stand still while its communication settings change,
    and resume with the schedule that they had: one operation, one audit event (R3).
    Raises ValidationError with a dict of fields, and Conflict while R3 locks the communication settings.
    """
    require(actor, "change", server)
    # dispatchers leave a locked server alone: nothing is sent while it changes
    ScepServer.objects.select_for_update().get(pk=server.pk)
    locked = [
        name for name in COMMUNICATION_FIELDS if name in fields and fields[name] != getattr(server, name)
    ]
    timers_on = ScepSettings.objects.filter(server=server, timer_enabled=True).count() if locked else 0
    if timers_on and not suspend_timers:
        raise Conflict(
            "timer_enabled",
            ngettext(
                "[Communication Settings] cannot be updated while the timer of %(count)d device that uses "
                "this server is on. Suspend this timer, update, and resume in one go (suspend_timers).",
                "[Communication Settings] cannot be updated while the timers of %(count)d devices that use "
                "this server are on. Suspend these timers, update, and resume in one go (suspend_timers).",
                timers_on,
            )
            % {"count": timers_on},
        )
    update(actor, server, fields, {"suspended_timers": timers_on} if timers_on else None)
    ScepServer.objects.filter(pk=server.pk).update(profile=None, profile_fetched_at=None)
    return server


def delete_server(actor: Actor, server: ScepServer) -> None:
    """Remove a server that no device uses and no template names. Raises Conflict otherwise."""
    try:
        delete(actor, server)
    except ProtectedError as error:
        templates = [row for row in error.protected_objects if isinstance(row, SettingsTemplate)]
        if len(templates) == len(error.protected_objects):
            raise Conflict(
                "server_in_use",
                _("Templates name this SCEP server: %(names)s. Choose another server in them first.")
                % {"names": ", ".join(sorted(map(str, templates)))},
            ) from None
        raise Conflict(
            "server_in_use",
            _("Devices use this SCEP server. Choose another server in their settings first."),
        ) from None
