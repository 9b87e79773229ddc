"""Having the device use a key that it has taken: told to, and restarted where R13 wants it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from devices import restarts
from devices.delivery.connectors.base import Connector, Material
from devices.delivery.deployment.end import end
from devices.delivery.deployment.proof import verify
from devices.delivery.deployment.texts import RESTARTING, SETTLES
from devices.delivery.errors import DeliveryError
from devices.delivery.turn import DeploymentTurn
from devices.rules.deployment import DeploymentEvent, next_try
from devices.rules.keys import KeyUse


def activate(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
    """Have the device use the key, restart it where that is wanted, and look when it is back."""
    row = turn.deployment
    if not row.restart_opened:
        try:
            connector.activate(material)
        except DeliveryError as error:
            _not_ready(turn, error)
            return
        if row.restart_wanted and restarts.can_restart(row.device):
            _open_restart(turn)
            return
    elif restarts.open_restart(row.device_id) is not None:
        # its end wakes us; this is for the case that the wake-up is lost
        turn.rest(DeploymentEvent.NOT_READY, _soon(turn), explanation=RESTARTING)
        return
    now, settles = turn.clock(), timedelta(seconds=connector.settle_seconds)
    if settles and row.key_use == KeyUse.TLS:
        # nobody waits for it: the row is due again then
        turn.rest(DeploymentEvent.ACTIVATED, now + settles, explanation=SETTLES, tries=0, looks=0, since=now)
        return
    turn.write(
        DeploymentEvent.ACTIVATED,
        next_action_at=turn.lease_end(),
        explanation="",
        tries=0,
        looks=0,
        since=now,
    )
    verify(turn, connector, material)


@transaction.atomic
def _open_restart(turn: DeploymentTurn) -> None:
    """R13: the device has the key and restarts."""
    restarts.after_certificate(turn.deployment.device, now=turn.clock())
    turn.rest(DeploymentEvent.NOT_READY, _soon(turn), explanation=RESTARTING, restart_opened=True)


def _soon(turn: DeploymentTurn) -> datetime:
    at = next_try(now=turn.clock(), tries=2, since=turn.clock())
    if at is None:
        raise AssertionError("the time has just begun")
    return at


def _not_ready(turn: DeploymentTurn, error: DeliveryError) -> None:
    tries = turn.deployment.tries + 1
    at = next_try(now=turn.clock(), tries=tries, since=turn.deployment.since)
    if at is None or not error.worth_another_try:
        event = DeploymentEvent.GIVEN_UP if error.worth_another_try else DeploymentEvent.REFUSED
        end(turn, event, str(error), tries=tries, for_administrator=error.for_administrator)
    else:
        turn.rest(DeploymentEvent.NOT_READY, at, explanation=str(error), tries=tries)
