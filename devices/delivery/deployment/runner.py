"""Taking one step of one delivery (F5): the key on its way to the device, and the handshake that proves it.

Rules of the house, those of devices/enrollment/runner.py and:
- That a key is sent is committed before the first byte goes out, and with it the fingerprint by which the device is
  recognized from then on.
- Installing does no harm twice. So whatever became of a try, the device is looked at first and the key sent again.
- What a device says proves nothing: only a handshake that shows the certificate ends in VERIFIED.
- The former key is kept until then. It comes back when the new one is not served, and is deleted from the device
  after it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from devices.delivery.deployment.end import give_up
from devices.delivery.deployment.former import bring_back, remove_former
from devices.delivery.deployment.install import install
from devices.delivery.deployment.material import material_of
from devices.delivery.deployment.proof import verify
from devices.delivery.deployment.texts import NEVER_ENDED
from devices.delivery.deployment.use import activate
from devices.delivery.errors import NotConnected
from devices.delivery.turn import MOST_TAKEOVERS, DeploymentTurn, take_step
from devices.rules.deployment import DeploymentState
from devices.secrets import SecretUnreadable


def advance(deployment_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Take one step for the delivery claimed under `lease`; nothing happens when it no longer is.

    Never raises, see `turn.take_step`.
    """
    take_step(DeploymentTurn, deployment_id, lease, clock, _take)


def _take(turn: DeploymentTurn) -> None:
    row = turn.deployment
    state = DeploymentState(row.state)
    if row.takeovers >= MOST_TAKEOVERS:
        give_up(turn, NEVER_ENDED)
        return
    try:
        connector = row.device.connect()
        material = material_of(row.key, row.key_use, row.ipsec_destination)
    except (NotConnected, SecretUnreadable) as error:
        give_up(turn, str(error), for_administrator=True)
        return
    match state:
        case DeploymentState.ISSUED:
            install(turn, connector, material)
        case DeploymentState.DELIVERED:
            activate(turn, connector, material)
        case DeploymentState.ACTIVE:
            verify(turn, connector, material)
        case DeploymentState.ROLLING_BACK:
            bring_back(turn, connector)
        case _:
            remove_former(turn, connector)
