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

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from devices import audit, keystore, restarts
from devices.delivery import sweep
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Capability, Connector, Material
from devices.delivery.deploy_material import former_material, material_of, served_by
from devices.delivery.deploy_texts import (
    AWAY_SINCE,
    BROUGHT_BACK,
    LOST,
    NEVER_ENDED,
    NEVER_SEEN_AGAIN,
    NO_FORMER,
    NOT_BROUGHT_BACK,
    NOT_REMOVED,
    NOT_SERVED,
    OUTSIDE_WINDOW,
    RESTARTING,
    SERVED_IN_PART,
    SERVES_ANOTHER,
)
from devices.delivery.errors import AwaitsPerson, DeliveryError, NotConnected
from devices.delivery.turn import MOST_TAKEOVERS, DeploymentTurn, take_step
from devices.models import Deployment, Device, KeyAndCertificate, summary
from devices.models.choices import DeploymentStateChoices
from devices.rules.deployment import (
    MOST_REMOVALS,
    DeploymentEvent,
    DeploymentState,
    next_look,
    next_try,
)
from devices.rules.keys import KeyUse
from devices.rules.maintenance import is_urgent
from devices.secrets import SecretUnreadable

logger = logging.getLogger(__name__)

FINGERPRINTS_KEPT = 20
"""Of certificates that were sent to a device, by which it is recognized."""


def advance(deployment_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Take one step for the delivery claimed under `lease`; nothing happens when it no longer is.

    Never raises, see `turn.take_step`.
    """
    take_step(DeploymentTurn, deployment_id, lease, clock, _take)


def _take(turn: DeploymentTurn) -> None:
    row = turn.deployment
    state = DeploymentState(row.state)
    if row.takeovers >= MOST_TAKEOVERS:
        _give_up(turn, NEVER_ENDED)
        return
    try:
        connector = row.device.connect()
        material = material_of(row.key, row.key_use, row.ipsec_destination)
    except (NotConnected, SecretUnreadable) as error:
        _give_up(turn, str(error), for_administrator=True)
        return
    match state:
        case DeploymentState.ISSUED:
            _install(turn, connector, material)
        case DeploymentState.DELIVERED:
            _activate(turn, connector, material)
        case DeploymentState.ACTIVE:
            _verify(turn, connector, material)
        case DeploymentState.ROLLING_BACK:
            _bring_back(turn, connector)
        case _:
            _remove_former(turn, connector)


# --- getting the key there --------------------------------------------------------------------------------


def _install(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
    """Send the key, unless the device has it already or must not be worked on now."""
    row = turn.deployment
    if row.key_use == KeyUse.TLS and served_by(connector).all_are(material.fingerprint_sha256):
        # looked at before every try: the answer to the last one may have been lost
        _seen(turn)
        return
    opening = _next_opening(row, turn.clock())
    if opening is not None:
        turn.rest(DeploymentEvent.NOT_TAKEN, opening, explanation=OUTSIDE_WINDOW)
        return
    _send(turn, material)
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
        _audit(turn, "delivered", now)
    _activate(turn, connector, material)


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


@transaction.atomic
def _send(turn: DeploymentTurn, material: Material) -> None:
    """Commit that the key is sent, and the fingerprint by which the device may be recognized from now on."""
    restarts.lock(turn.deployment.device_id)
    turn.write(DeploymentEvent.SEND, next_action_at=turn.lease_end(), sent_at=turn.clock())
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


def _not_taken(turn: DeploymentTurn, error: DeliveryError) -> None:
    """Try again later, or end it: at once for what another try would not change."""
    row, now = turn.deployment, turn.clock()
    tries = row.tries + 1
    explanation = LOST + "\n" + str(error) if error.may_have_arrived else str(error)
    if not error.worth_another_try:
        _end(
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
        _end(turn, DeploymentEvent.GIVEN_UP, str(error), tries=tries, for_administrator=True)
    else:
        turn.rest(DeploymentEvent.NOT_TAKEN, at, explanation=explanation, tries=tries)


# --- having it used ---------------------------------------------------------------------------------------


def _activate(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
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
    turn.write(
        DeploymentEvent.ACTIVATED,
        next_action_at=turn.lease_end(),
        explanation="",
        tries=0,
        looks=0,
        since=turn.clock(),
    )
    _verify(turn, connector, material)


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
        _end(turn, event, str(error), tries=tries, for_administrator=error.for_administrator)
    else:
        turn.rest(DeploymentEvent.NOT_READY, at, explanation=str(error), tries=tries)


# --- the proof --------------------------------------------------------------------------------------------


def _verify(turn: DeploymentTurn, connector: Connector, material: Material) -> None:
    """Whether the device serves the certificate."""
    row = turn.deployment
    if row.key_use != KeyUse.TLS:
        _end(turn, DeploymentEvent.CANNOT_BE_SEEN, "", **_WITHOUT_FORMER)
        return
    served = served_by(connector)
    if served.all_are(material.fingerprint_sha256):
        _seen(turn)
    elif not served.fingerprints:
        tries = row.tries + 1
        at = next_try(now=turn.clock(), tries=tries, since=row.since)
        if at is None:
            _end(turn, DeploymentEvent.GIVEN_UP, NEVER_SEEN_AGAIN + "\n" + served.problem, tries=tries)
        else:
            explanation = AWAY_SINCE + "\n" + served.problem
            turn.rest(DeploymentEvent.NOT_SEEN, at, explanation=explanation, tries=tries)
    else:
        _serves_another(turn, connector, material.fingerprint_sha256 in served.fingerprints)


def _serves_another(turn: DeploymentTurn, connector: Connector, in_part: bool) -> None:
    row = turn.deployment
    looks = row.looks + 1
    at = next_look(now=turn.clock(), looks=looks)
    if at is not None:
        explanation = SERVED_IN_PART if in_part else SERVES_ANOTHER
        turn.rest(DeploymentEvent.NOT_SEEN, at, explanation=explanation, looks=looks)
    elif in_part:
        _end(turn, DeploymentEvent.GIVEN_UP, SERVED_IN_PART, looks=looks)
    elif row.former is None:
        _end(turn, DeploymentEvent.GIVEN_UP, NO_FORMER, looks=looks)
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


@transaction.atomic
def _seen(turn: DeploymentTurn) -> None:
    """The handshake showed the certificate: the end, unless a former key is to be deleted from the device."""
    row, now = turn.deployment, turn.clock()
    restarts.lock(row.device_id)
    removes = (
        row.former is not None
        and row.former_is_overwritten
        and row.former["name"] != row.key.name
        and registry.can(row.device.connector, Capability.REMOVE)
    )
    after = {**_CLOSED, "next_action_at": now} if removes else {**_CLOSED, **_WITHOUT_FORMER}
    turn.write(DeploymentEvent.SEEN, **after, explanation="", tries=0, since=now, completed_at=now)
    key = KeyAndCertificate.objects.filter(pk=row.key_id)
    key.filter(delivered_at__isnull=True).update(delivered_at=now)
    key.update(verified_at=now)
    sweep.expect(row.device, now=now)
    _audit(turn, row.state, now)


# --- the former key ---------------------------------------------------------------------------------------


def _bring_back(turn: DeploymentTurn, connector: Connector) -> None:
    """Install the former key again, and see whether it is served."""
    row = turn.deployment
    try:
        former = former_material(row)
    except SecretUnreadable as error:
        _give_up(turn, f"{NOT_BROUGHT_BACK}\n{error}")
        return
    if former is None:
        _give_up(turn, NO_FORMER)
        return
    tries, now = row.tries + 1, turn.clock()
    try:
        _send_former(turn, former)
        connector.install(former)
        connector.activate(former)
    except DeliveryError as error:
        at = next_try(now=now, tries=tries, since=row.since) if error.worth_another_try else None
        if at is None:
            _end(turn, DeploymentEvent.GIVEN_UP, f"{NOT_BROUGHT_BACK}\n{error}", tries=tries)
        else:
            explanation = f"{NOT_SERVED}\n{error}"
            turn.rest(DeploymentEvent.NOT_BACK_YET, at, explanation=explanation, tries=tries)
        return
    served = served_by(connector)
    if served.all_are(former.fingerprint_sha256):
        _brought_back(turn)
        return
    at = next_try(now=now, tries=tries, since=row.since) if not served.fingerprints else None
    at = at or next_look(now=now, looks=tries)
    if at is None:
        _end(turn, DeploymentEvent.GIVEN_UP, NOT_BROUGHT_BACK, tries=tries)
        return
    with transaction.atomic():
        if tries == 1 and row.restart_wanted:
            # it did not take the new key without a restart, and may not take the old one without
            restarts.after_certificate(row.device, now=now)
        turn.rest(DeploymentEvent.NOT_BACK_YET, at, explanation=NOT_SERVED, tries=tries)


@transaction.atomic
def _send_former(turn: DeploymentTurn, former: Material) -> None:
    restarts.lock(turn.deployment.device_id)
    turn.write(DeploymentEvent.NOT_BACK_YET, next_action_at=turn.lease_end(), sent_at=turn.clock())
    _recognize(turn.deployment.device, former)


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
    _end(turn, DeploymentEvent.BROUGHT_BACK, BROUGHT_BACK, **_WITHOUT_FORMER)


def _remove_former(turn: DeploymentTurn, connector: Connector) -> None:
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
            **_CLOSED,
            **_WITHOUT_FORMER,
            explanation=f"{NOT_REMOVED}\n{error}",
        )
    else:
        turn.write(DeploymentEvent.REMOVED, **_CLOSED, **_WITHOUT_FORMER)


# --- the end ----------------------------------------------------------------------------------------------

_CLOSED: Mapping[str, Any] = {"next_action_at": None, "lease": None, "takeovers": 0}
_WITHOUT_FORMER: Mapping[str, Any] = {
    "former": None,
    "former_private_key_encrypted": None,
    "former_is_overwritten": False,
}


def _give_up(turn: DeploymentTurn, explanation: str, *, for_administrator: bool = False) -> None:
    """End it from whatever state it is in; after VERIFIED only the deletion of the former key is given up."""
    if turn.deployment.state == DeploymentStateChoices.VERIFIED:
        turn.write(DeploymentEvent.NOT_REMOVED, **_CLOSED, **_WITHOUT_FORMER, explanation=explanation)
    else:
        _end(turn, DeploymentEvent.GIVEN_UP, explanation, for_administrator=for_administrator)


@transaction.atomic
def _end(turn: DeploymentTurn, event: DeploymentEvent, explanation: str, **fields: Any) -> None:
    """Close the row and audit it. Raises LeaseLost."""
    now = turn.clock()
    turn.write(event, **{**_CLOSED, **fields}, explanation=explanation, completed_at=now)
    _audit(turn, turn.deployment.state, now)


def _audit(turn: DeploymentTurn, outcome: str, now: datetime) -> None:
    row = turn.deployment
    facts = {"key": row.key.name, "certificate": row.key.fingerprint_sha256}
    if row.explanation:
        facts["explanation"] = row.explanation
    audit.record(audit.SYSTEM, f"deployment.{outcome}", row.device, facts, at=now)
