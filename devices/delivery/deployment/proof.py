"""The proof of a delivery: a handshake that shows the certificate, and what follows from one that does not."""

from __future__ import annotations

from django.db import transaction

from devices import restarts
from devices.delivery import sweep
from devices.delivery.connectors.base import Connector, Material
from devices.delivery.deployment.end import CLOSED, WITHOUT_FORMER, audit_outcome, end
from devices.delivery.deployment.material import served_by
from devices.delivery.deployment.texts import (
    AWAY_SINCE,
    NEVER_SEEN_AGAIN,
    NO_FORMER,
    NOT_SERVED,
    RESTART_BY_HAND,
    SERVED_IN_PART,
    SERVES_ANOTHER,
    USED_AFTER_RESTART,
)
from devices.delivery.turn import DeploymentTurn
from devices.models import Deployment, KeyAndCertificate, Restart
from devices.models.choices import RestartStateChoices
from devices.rules.deployment import DeploymentEvent, next_look, next_try
from devices.rules.keys import KeyUse

_NOT_RESTARTED = (RestartStateChoices.REFUSED, RestartStateChoices.FAILED)


def verify(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
    """Whether the device serves the certificate."""
    row = turn.deployment
    if row.key_use != KeyUse.TLS:
        note = USED_AFTER_RESTART if _wants_restart_by_hand(row) else ""
        end(turn, DeploymentEvent.CANNOT_BE_SEEN, note, **WITHOUT_FORMER)
        return
    served = served_by(connector)
    if served.all_are(material.fingerprint_sha256):
        seen(turn, connector)
    elif not served.fingerprints:
        tries = row.tries + 1
        at = next_try(now=turn.clock(), tries=tries, since=row.since)
        if at is None:
            end(turn, DeploymentEvent.GIVEN_UP, NEVER_SEEN_AGAIN + "\n" + served.problem, tries=tries)
        else:
            explanation = AWAY_SINCE + "\n" + served.problem
            turn.rest(DeploymentEvent.NOT_SEEN, at, explanation=explanation, tries=tries)
    else:
        _serves_another(turn, connector, material.fingerprint_sha256 in served.fingerprints)


def _serves_another(turn: DeploymentTurn, connector: Connector, in_part: bool) -> None:
    row = turn.deployment
    looks = row.looks + 1
    by_hand = _wants_restart_by_hand(row)
    at = next_look(now=turn.clock(), looks=looks, by_hand_since=row.since if by_hand else None)
    if at is not None:
        explanation = RESTART_BY_HAND if by_hand else SERVED_IN_PART if in_part else SERVES_ANOTHER
        turn.rest(DeploymentEvent.NOT_SEEN, at, explanation=explanation, looks=looks)
    elif in_part:
        end(turn, DeploymentEvent.GIVEN_UP, SERVED_IN_PART, looks=looks)
    elif row.former is None:
        end(turn, DeploymentEvent.GIVEN_UP, NO_FORMER, looks=looks)
    else:
        now = turn.clock()
        turn.rest(
            DeploymentEvent.TAKE_BACK,
            now,
            explanation=NOT_SERVED,
            looks=looks,
            tries=0,
            since=now,
            sent_at=None,
        )


def _wants_restart_by_hand(row: Deployment) -> bool:
    """True when the device is to restart (R13), and nothing here can make it, or what was tried came to nothing."""
    if not row.restart_wanted:
        return False
    if not restarts.can_restart(row.device):
        return True
    last = Restart.objects.filter(device=row.device_id).first()
    return row.restart_opened and last is not None and last.state in _NOT_RESTARTED


@transaction.atomic
def seen(turn: DeploymentTurn, connector: Connector) -> None:
    """The handshake showed the certificate: the end, unless a former key is to be deleted from the device."""
    row, now = turn.deployment, turn.clock()
    restarts.lock(row.device_id)
    removes = (
        row.former is not None
        and row.former_is_overwritten
        and connector.leaves(row.former["name"], row.key.name)
    )
    after = {**CLOSED, "next_action_at": now} if removes else {**CLOSED, **WITHOUT_FORMER}
    turn.write(DeploymentEvent.SEEN, **after, explanation="", tries=0, since=now, completed_at=now)
    key = KeyAndCertificate.objects.filter(pk=row.key_id)
    key.filter(delivered_at__isnull=True).update(delivered_at=now)
    key.update(verified_at=now)
    sweep.expect(row.device, now=now)
    audit_outcome(turn, row.state, now)
