"""Opening deliveries of keys to their devices (F5): every one starts here, for a new key or because somebody asks.

Every function belongs into a transaction that holds the lock on the device (`devices.restarts.lock`, and R14's in
the end of a request), so that two keys do not take one function at the same moment.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from devices import audit, doorbell
from devices.audit import Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Capability
from devices.keystore import Former
from devices.models import Deployment, Device, KeyAndCertificate
from devices.models.choices import DeploymentStateChoices
from devices.rules.deployment import OPEN_DEPLOYMENT_STATES
from devices.rules.keys import KeyUse

OPEN = sorted(state.value for state in OPEN_DEPLOYMENT_STATES)
"""Values of `Deployment.state` in which something is still to happen."""


def can_install(device: Device, key_use: str) -> bool:
    """True when the device has a connector that can install a key for this use."""
    connector = registry.known().get(device.connector)
    return (
        connector is not None
        and Capability.INSTALL in connector.capabilities
        and KeyUse(key_use) in connector.installs
    )


def after_certificate(
    key: KeyAndCertificate,
    former: Former | None,
    *,
    restart_wanted: bool,
    inherited: Former | None,
    now: datetime,
) -> bool:
    """Have the device get its new key. False when it has no connector that can install it.

    `inherited` is what an unfinished delivery of the former key kept: what the device used when it last served a
    certificate of ours for certain.
    """
    device = key.device
    _supersede(key)
    if not can_install(device, key.key_use):
        return False
    if former is not None and inherited is not None and former.row.get("verified_at") is None:
        former = inherited
    values = _values(key.key_use, key.ipsec_destination, former, now) | {"restart_wanted": restart_wanted}
    Deployment.objects.create(key=key, device=device, created_at=now, **values)
    transaction.on_commit(doorbell.ring_deployment_dispatcher)
    return True


def _supersede(key: KeyAndCertificate) -> None:
    """The deliveries of keys whose function `key` has taken over are none any more: one that came later than this
    one would undo it. What the keys themselves know, delivered and verified, stays."""
    if key.key_use != KeyUse.NONE:
        Deployment.objects.filter(
            device=key.device, key_use=key.key_use, ipsec_destination=key.ipsec_destination
        ).exclude(key=key).delete()


def kept_by(key: KeyAndCertificate | None) -> Former | None:
    """What the unfinished delivery of `key` keeps of the key before it, or None."""
    kept = Deployment.objects.filter(key=key, former__isnull=False).first() if key else None
    if kept is None or kept.former is None or kept.former_private_key_encrypted is None:
        return None
    return Former(kept.former, bytes(kept.former_private_key_encrypted), kept.former_is_overwritten)


def again(
    actor: Actor,
    key: KeyAndCertificate,
    former: Former | None,
    *,
    restart_wanted: bool,
    now: datetime,
    ring: bool = True,
) -> Deployment:
    """Have the key delivered, anew or for the first time, without waiting for a maintenance window. Audited.

    What an earlier try kept of a former key stays, unless there is a later one.
    """
    _supersede(key)
    row = Deployment.objects.filter(key=key).first()
    use, destination = (row.key_use, row.ipsec_destination) if row else (key.key_use, key.ipsec_destination)
    if former is None:
        former = kept_by(key)
    values = _values(use, destination, former, now) | {
        "at_once": True,
        "restart_wanted": restart_wanted,
    }
    if row is None:
        row = Deployment.objects.create(key=key, device=key.device, created_at=now, **values)
    else:
        Deployment.objects.filter(pk=row.pk).update(**values)
        row.refresh_from_db()
    audit.record(
        actor,
        "deployment.create",
        key.device,
        {"key": key.name, "certificate": key.fingerprint_sha256},
        at=now,
    )
    if ring:
        transaction.on_commit(doorbell.ring_deployment_dispatcher)
    return row


def _values(use: str, destination: str, former: Former | None, now: datetime) -> dict[str, Any]:
    """The columns of a delivery that begins."""
    return {
        "state": DeploymentStateChoices.ISSUED,
        "explanation": "",
        "key_use": use,
        "ipsec_destination": destination,
        "tries": 0,
        "looks": 0,
        "restart_opened": False,
        "for_administrator": False,
        "since": now,
        "sent_at": None,
        "completed_at": None,
        "former": former.row if former else None,
        "former_private_key_encrypted": former.private_key_encrypted if former else None,
        "former_is_overwritten": bool(former and former.is_overwritten),
        "next_action_at": now,
        "lease": None,
        "takeovers": 0,
    }


_FAILED_FOR_DATA = Q(state=DeploymentStateChoices.FAILED, for_administrator=True)
_WAITS_FOR_TRY = Q(state__in=OPEN, lease__isnull=True, tries__gt=0)


def of_device_waits() -> Exists:
    """For querysets of devices: true where `data_changed` would find something to try again."""
    waiting = Deployment.objects.filter(_FAILED_FOR_DATA | _WAITS_FOR_TRY)
    return Exists(waiting.filter(device=OuterRef("pk")))


def data_changed(devices: Collection[Device], *, now: datetime) -> int:
    """Try again what waits for somebody to change the devices' data, and what waits for another try."""
    of_devices = Deployment.objects.filter(device__in=devices)
    failed = of_devices.filter(_FAILED_FOR_DATA)
    tried = failed.update(
        state=DeploymentStateChoices.ISSUED,
        explanation="",
        tries=0,
        looks=0,
        restart_opened=False,
        for_administrator=False,
        since=now,
        completed_at=None,
        next_action_at=now,
        lease=None,
        takeovers=0,
    )
    waiting = of_devices.filter(_WAITS_FOR_TRY)
    tried += waiting.update(next_action_at=now)
    if tried:
        transaction.on_commit(doorbell.ring_deployment_dispatcher)
    return tried


def restart_ended(device_id: int, *, now: datetime) -> None:
    """Go on with what waited for the device's restart, and look anew at what was not served before it."""
    waiting = Deployment.objects.filter(device=device_id, lease__isnull=True)
    woken = waiting.filter(state=DeploymentStateChoices.DELIVERED).update(next_action_at=now)
    woken += waiting.filter(state=DeploymentStateChoices.ACTIVE).update(next_action_at=now, looks=0)
    if woken:
        transaction.on_commit(doorbell.ring_deployment_dispatcher)
