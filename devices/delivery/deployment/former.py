"""The former key: brought back when the new one is not served, deleted from the device when it is."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from devices import keystore, restarts
from devices.delivery import sweep
from devices.delivery.connectors.base import Connector
from devices.delivery.deployment.end import CLOSED, WITHOUT_FORMER, end, give_up
from devices.delivery.deployment.material import former_material, served_by
from devices.delivery.deployment.send import about_to_send
from devices.delivery.deployment.texts import (
    BROUGHT_BACK,
    NO_FORMER,
    NOT_BROUGHT_BACK,
    NOT_REMOVED,
    NOT_SERVED,
)
from devices.delivery.errors import DeliveryError
from devices.delivery.turn import DeploymentTurn
from devices.models import KeyAndCertificate, summary
from devices.rules.deployment import MOST_REMOVALS, DeploymentEvent, next_look, next_try
from devices.secrets import SecretUnreadable


def bring_back(turn: DeploymentTurn, connector: Connector) -> None:
    """Install the former key again, and see whether it is served."""
    row = turn.deployment
    try:
        former = former_material(row)
    except SecretUnreadable as error:
        give_up(turn, f"{NOT_BROUGHT_BACK}\n{error}")
        return
    if former is None:
        give_up(turn, NO_FORMER)
        return
    tries, now = row.tries + 1, turn.clock()
    served = served_by(connector) if row.tries else None
    if served and served.all_are(former.fingerprint_sha256):
        # what the last try sent is in use by now: nothing is sent again
        _brought_back(turn)
        return
    try:
        about_to_send(turn, DeploymentEvent.NOT_BACK_YET, former)
        connector.install(former)
        connector.activate(former)
    except DeliveryError as error:
        at = next_try(now=now, tries=tries, since=row.since) if error.worth_another_try else None
        if at is None:
            end(turn, DeploymentEvent.GIVEN_UP, f"{NOT_BROUGHT_BACK}\n{error}", tries=tries)
        else:
            explanation = f"{NOT_SERVED}\n{error}"
            turn.rest(DeploymentEvent.NOT_BACK_YET, at, explanation=explanation, tries=tries)
        return
    settles = timedelta(seconds=connector.settle_seconds)
    at = next_look(now=now, looks=tries)
    if at is None or not settles:
        served = served_by(connector)
        if served.all_are(former.fingerprint_sha256):
            _brought_back(turn)
            return
    if served and not served.fingerprints:
        at = next_try(now=now, tries=tries, since=row.since) or at
    if at is None:
        end(turn, DeploymentEvent.GIVEN_UP, NOT_BROUGHT_BACK, tries=tries)
        return
    at = max(at, now + settles)
    with transaction.atomic():
        if tries == 1 and row.restart_wanted:
            # it did not take the new key without a restart, and may not take the old one without
            restarts.after_certificate(row.device, now=now)
        turn.rest(DeploymentEvent.NOT_BACK_YET, at, explanation=NOT_SERVED, tries=tries)


@transaction.atomic
def _brought_back(turn: DeploymentTurn) -> None:
    """The former key is in use again, on the device and in the key store."""
    row, now = turn.deployment, turn.clock()
    if row.former is None or row.former_private_key_encrypted is None:
        raise AssertionError("there was one to bring back")
    restarts.lock(row.device_id)
    key = KeyAndCertificate.objects.select_related("device").get(pk=row.key_id)
    former = keystore.bring_back(key, row.former, bytes(row.former_private_key_encrypted))
    KeyAndCertificate.objects.filter(pk=former.pk).update(verified_at=now)
    summary.refresh([row.device_id])
    sweep.expect(row.device, now=now)
    end(turn, DeploymentEvent.BROUGHT_BACK, BROUGHT_BACK, tries=0, **WITHOUT_FORMER)


def remove_former(turn: DeploymentTurn, connector: Connector) -> None:
    """R14 on the device: the old key is deleted once the new one is verified."""
    row, now = turn.deployment, turn.clock()
    tries = row.tries + 1
    try:
        former = former_material(row)
        if former is not None:
            connector.remove(former)
    except (DeliveryError, SecretUnreadable) as error:
        worth = isinstance(error, DeliveryError) and error.worth_another_try and tries < MOST_REMOVALS
        at = next_try(now=now, tries=tries, since=row.since) if worth else None
        if at is not None:
            turn.rest(DeploymentEvent.NOT_REMOVED, at, tries=tries)
            return
        turn.write(
            DeploymentEvent.NOT_REMOVED,
            **CLOSED,
            **WITHOUT_FORMER,
            explanation=f"{NOT_REMOVED}\n{error}",
        )
    else:
        turn.write(DeploymentEvent.REMOVED, **CLOSED, **WITHOUT_FORMER)
