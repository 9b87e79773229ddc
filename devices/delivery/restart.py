"""Who may have a device restarted, and when (R7)."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, restarts
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors.registry import NO_CONNECTOR
from devices.errors import Conflict
from devices.models import Device, Restart
from devices.models.choices import RestartTriggerChoices


def obstacle(device: Device, open_restart: Restart | None) -> Conflict | None:
    """Why the device cannot be asked to restart now, or None."""
    if device.connector == NO_CONNECTOR:
        return Conflict(
            "no_connector",
            _("This device has no connector. Choose one in the device's data, or restart it by hand."),
        )
    if not restarts.can_restart(device):
        return Conflict(
            "connector_cannot_restart",
            _("The connector of this device cannot restart it. Restart it by hand."),
        )
    if open_restart is not None:
        return Conflict("restart_open", _("A restart of this device is under way. Wait until it has ended."))
    return None


@transaction.atomic
def request_restart(actor: Actor, device: Device, *, ring: bool = True) -> Restart:
    """Have `device` restart soon; what comes of it stands in the row. Audited.

    Without `ring` it waits for the next tick: for many at once.
    Raises PermissionDenied, and Conflict without a connector that can, or while a restart is open.
    """
    access.require(actor, Permission.RESTART_DEVICE)
    restarts.lock(device.pk)
    if problem := obstacle(device, restarts.open_restart(device.pk)):
        raise problem
    return restarts.append(actor, device, RestartTriggerChoices.MANUAL, now=timezone.now(), ring=ring)
