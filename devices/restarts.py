"""Opening restarts of devices: every one starts here, asked for by a person or by R13.

Every function but `open_restart` belongs into a transaction that holds the lock on the device (`lock`), so that a
device never gets two open restarts.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from devices import audit, doorbell
from devices.audit import Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Capability, Connector
from devices.models import RESTARTS_KEPT, Device, Restart, RestartSettings
from devices.models.choices import RestartStateChoices, RestartTriggerChoices
from devices.rules.restart import OPEN_RESTART_STATES

OPEN = sorted(state.value for state in OPEN_RESTART_STATES)
"""Values of `Restart.state` of which a device has at most one."""


def settings_of(device: Device) -> RestartSettings:
    """The device's restart settings; the defaults, not stored, where it has none."""
    found = RestartSettings.objects.filter(device=device).first() or RestartSettings()
    found.device = device
    return found


def can_restart(device: Device) -> bool:
    """True when the device has a connector that can restart it, or is restarted over SNMP."""
    if registry.can(device.connector, Capability.RESTART):
        return True
    return RestartSettings.objects.filter(device=device, restart_over_snmp=True).exists()


def connect(device: Device) -> Connector:
    """What restarts the device: its connector where that can, else SNMP where that is permitted.

    Raises NotConnected and devices.secrets.SecretUnreadable.
    """
    if not registry.can(device.connector, Capability.RESTART):
        settings = RestartSettings.objects.filter(device=device, restart_over_snmp=True).first()
        if settings is not None:
            settings.device = device
            return settings.snmp_device()
    return device.connect()


def open_restart(device_id: int) -> Restart | None:
    """The device's restart that has not ended, or None."""
    return Restart.objects.filter(device=device_id, state__in=OPEN).first()


def lock(device_id: int) -> None:
    """Hold the device until the end of the transaction. No lock on its key: rows that refer to it may come in."""
    Device.objects.select_for_update(no_key=True).filter(pk=device_id).values_list("pk").first()


def append(
    actor: Actor, device: Device, trigger: RestartTriggerChoices, *, now: datetime, ring: bool = True
) -> Restart:
    """A new restart of a device that has no open one; the oldest beyond RESTARTS_KEPT go. Audited."""
    restart = Restart.objects.create(
        device=device, trigger=trigger, asked_by=actor.name, created_at=now, next_action_at=now
    )
    of_device = Restart.objects.filter(device=device)
    kept = of_device.order_by("-pk").values_list("pk", flat=True)[:RESTARTS_KEPT]
    of_device.exclude(pk__in=list(kept)).delete()
    audit.record(actor, "restart.create", device, {"trigger": trigger.value}, at=now)
    if ring:
        transaction.on_commit(doorbell.ring_restart_dispatcher)
    return restart


def after_certificate(device: Device, *, now: datetime) -> bool:
    """R13: have the device restart, because a certificate came. False when it must be restarted by hand."""
    if not can_restart(device):
        return False
    lock(device.pk)
    # held, so that a worker that is about to ask the device waits until the certificate is there
    current = Restart.objects.select_for_update().filter(device=device, state__in=OPEN).first()
    if current is None:
        append(audit.SYSTEM, device, RestartTriggerChoices.AUTOMATIC, now=now)
    elif current.state != RestartStateChoices.WAITING:
        # that one began before the certificate came
        Restart.objects.filter(pk=current.pk).update(again=True)
    return True
