"""Getting a key to its device: within the maintenance window, and again until the device says that it took it."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from devices.delivery.connectors.base import Connector, Material
from devices.delivery.deployment.end import audit_outcome, end
from devices.delivery.deployment.material import served_by
from devices.delivery.deployment.proof import seen
from devices.delivery.deployment.send import about_to_send
from devices.delivery.deployment.texts import LOST, OUTSIDE_WINDOW
from devices.delivery.deployment.use import activate
from devices.delivery.errors import AwaitsPerson, DeliveryError
from devices.delivery.turn import DeploymentTurn
from devices.models import Deployment, KeyAndCertificate
from devices.rules.deployment import DeploymentEvent, next_try
from devices.rules.keys import KeyUse
from devices.rules.maintenance import is_urgent


def install(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
    """Send the key, unless the device has it already or must not be worked on now."""
    row = turn.deployment
    if row.key_use == KeyUse.TLS and served_by(connector).all_are(material.fingerprint_sha256):
        # looked at before every try: the answer to the last one may have been lost
        seen(turn, connector)
        return
    opening = _next_opening(row, turn.clock())
    if opening is not None:
        turn.rest(DeploymentEvent.NOT_TAKEN, opening, explanation=OUTSIDE_WINDOW)
        return
    about_to_send(turn, DeploymentEvent.SEND, material)
    try:
        connector.install(material)
    except DeliveryError as error:
        _not_taken(turn, error)
        return
    now = turn.clock()
    with transaction.atomic():
        turn.write(
            DeploymentEvent.TAKEN,
            next_action_at=turn.lease_end(),
            explanation="",
            tries=0,
            since=now,
        )
        KeyAndCertificate.objects.filter(pk=row.key_id).update(delivered_at=now)
        audit_outcome(turn, "delivered", now)
    activate(turn, connector, material)


def _next_opening(row: Deployment, now: datetime) -> datetime | None:
    """When the maintenance window opens, or None: now."""
    group = row.device.group
    window = group.maintenance if group else None
    if row.at_once or group is None or window is None:
        return None
    in_use_until = row.former and row.former.get("not_after")
    until = datetime.fromisoformat(in_use_until) if in_use_until else None
    if is_urgent(now=now, in_use_until=until, days=group.urgent_days):
        return None
    opening = window.next_open(now)
    return opening if opening > now else None


def _not_taken(turn: DeploymentTurn, error: DeliveryError) -> None:
    """Try again later, or end it: at once for what another try would not change."""
    row, now = turn.deployment, turn.clock()
    tries = row.tries + 1
    explanation = LOST + "\n" + str(error) if error.may_have_arrived else str(error)
    if not error.worth_another_try:
        end(
            turn,
            DeploymentEvent.REFUSED,
            str(error),
            tries=tries,
            for_administrator=error.for_administrator,
        )
        return
    if isinstance(error, AwaitsPerson):
        # nobody is hurried: it is looked at now and then, for as long as the certificate is any good
        at = next_try(now=now, tries=tries, since=now)
    else:
        at = next_try(now=now, tries=tries, since=row.since)
    if at is None:
        end(turn, DeploymentEvent.GIVEN_UP, str(error), tries=tries, for_administrator=True)
    else:
        turn.rest(DeploymentEvent.NOT_TAKEN, at, explanation=explanation, tries=tries)
