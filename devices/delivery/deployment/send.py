"""What is committed before the first byte of a key goes out, the new one or the former."""

from __future__ import annotations

import logging

from django.db import transaction

from devices import restarts
from devices.delivery.connectors.base import Material
from devices.delivery.turn import DeploymentTurn
from devices.models import Device
from devices.rules.deployment import DeploymentEvent

logger = logging.getLogger(__name__)

FINGERPRINTS_KEPT = 20
"""Of certificates that were sent to a device, by which it is recognized."""


@transaction.atomic
def about_to_send(turn: DeploymentTurn, event: DeploymentEvent, material: Material) -> None:
    """Commit that `material` is sent, and the fingerprint by which the device may be recognized from now on."""
    restarts.lock(turn.deployment.device_id)
    turn.write(event, next_action_at=turn.lease_end(), sent_at=turn.clock())
    _recognize(turn.deployment.device, material)
    logger.info(
        "the key %s is sent to %s",
        material.name,
        turn.deployment.device,
        extra={"deployment": turn.deployment.pk},
    )


def _recognize(device: Device, material: Material) -> None:
    """The device is locked."""
    known = Device.objects.values_list("installed_fingerprints", flat=True).get(pk=device.pk)
    fingerprint = material.fingerprint_sha256
    known = [each for each in known if each != fingerprint] + [fingerprint]
    Device.objects.filter(pk=device.pk).update(installed_fingerprints=known[-FINGERPRINTS_KEPT:])
