"""Taking one step of one restart: look at the device, ask it, watch it come back, record what was seen.

Rules of the house, those of devices/enrollment/runner.py:
- That a device is asked is committed before the first byte goes out. So whoever finds the row knows that it may have
  been asked, and looks at the device before it asks again.
- No database transaction spans the network, and nothing sleeps: waiting is a later `next_action_at`.
- Every write is a compare-and-swap on state and lease.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from devices import audit, deployments, restarts
from devices.delivery.connectors.base import Activity, Connector, Sighting
from devices.delivery.errors import DeliveryError, DeviceAway, DeviceRefused, NotConnected, NotSupported
from devices.delivery.turn import MOST_TAKEOVERS, RestartTurn, take_step
from devices.models import Restart
from devices.models.choices import RestartTriggerChoices, WhenBusyChoices
from devices.rules.restart import (
    SETTLED_AFTER,
    Asked,
    Restarted,
    RestartEvent,
    RestartState,
    has_restarted,
    next_idle_look,
    next_look,
    next_try,
)
from devices.secrets import SecretUnreadable

logger = logging.getLogger(__name__)

NEVER_ENDED = gettext_noop(
    "The restart was begun several times and never brought to an end. Look into the logs of the workers."
)
BUSY = gettext_noop("The device is busy with a job. It is restarted when the job has ended.")
BUSY_TOO_LONG = gettext_noop(
    "The device was busy whenever it was tried, and was not restarted. Try again when its jobs have ended."
)
UNSURE = gettext_noop(
    "Whether the device took the request is not known. It is looked at before it is asked again."
)
NOT_TAKEN = gettext_noop("The device has not taken the request: it still runs as before. It is asked again.")
NEVER_CAME_BACK = gettext_noop(
    "The device was asked to restart and has not come back. Look at the device itself: is it switched on, does it "
    "show an error, has its address changed?"
)
DID_NOT_RESTART = gettext_noop(
    "The device said that it would restart, and still runs as before. Look whether something at the device itself "
    "keeps it from restarting, then try again."
)
CANNOT_BE_TOLD = gettext_noop(
    "The device answers, and it cannot be told whether it has restarted. Look at the device itself."
)


def advance(restart_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Take one step for the restart claimed under `lease`; nothing happens when it no longer is.

    Never raises, see `turn.take_step`.
    """
    take_step(RestartTurn, restart_id, lease, clock, _take)


def _take(turn: RestartTurn) -> None:
    if turn.restart.takeovers >= MOST_TAKEOVERS:
        _end(turn, RestartEvent.GIVEN_UP, NEVER_ENDED)
        return
    try:
        connector = restarts.connect(turn.restart.device)
    except (NotConnected, SecretUnreadable) as error:
        _end(turn, RestartEvent.GIVEN_UP, str(error))
        return
    match RestartState(turn.restart.state):
        case RestartState.WAITING:
            _ask(turn, connector)
        case RestartState.REQUESTED:
            _find_out(turn, connector)
        case _:
            _watch(turn, connector)


# --- asking -----------------------------------------------------------------------------------------------


def _ask(turn: RestartTurn, connector: Connector) -> None:
    """Ask an idle device to restart, and record its answer."""
    try:
        sighting = connector.look()
    except DeliveryError as error:
        _not_now(turn, RestartEvent.NOT_READY, error, str(error))
        return
    if sighting.activity is Activity.BUSY and not _waited_enough(turn):
        return
    turn.write(
        RestartEvent.ASK,
        next_action_at=turn.lease_end(),
        requested_at=turn.clock(),
        boot_count=sighting.boot_count,
        seen_away=False,
    )
    logger.info("%s is asked to restart", turn.restart.device, extra={"restart": turn.restart.pk})
    try:
        connector.restart()
    except DeliveryError as error:
        if error.may_have_arrived:
            _look_again(turn, RestartEvent.UNCERTAIN, UNSURE)
        else:
            _not_now(turn, RestartEvent.NOT_TAKEN, error, str(error))
    else:
        _look_again(turn, RestartEvent.ACCEPTED, "")


def _waited_enough(turn: RestartTurn) -> bool:
    """Whether a busy device is restarted all the same; if not, it is waited for or given up, which is recorded."""
    settings, tries = restarts.settings_of(turn.restart.device), turn.restart.tries + 1
    at, counted = next_idle_look(
        now=turn.clock(), since=turn.restart.created_at, tries=tries, minutes=settings.idle_minutes
    )
    if at is not None:
        turn.rest(RestartEvent.NOT_READY, at, explanation=BUSY, tries=counted)
        return False
    if settings.when_busy == WhenBusyChoices.RESTART:
        return True
    _end(turn, RestartEvent.GIVEN_UP, BUSY_TOO_LONG, tries=tries)
    return False


def _not_now(turn: RestartTurn, event: RestartEvent, error: DeliveryError | None, explanation: str) -> None:
    """Try again later, or end the restart: for a refusal at once, else when no try is left."""
    tries = turn.restart.tries + 1
    if error is not None and not error.worth_another_try:
        refused = isinstance(error, DeviceRefused | NotSupported)
        _end(turn, RestartEvent.REFUSED if refused else RestartEvent.GIVEN_UP, explanation, tries=tries)
        return
    at = next_try(now=turn.clock(), tries=tries)
    if at is None:
        _end(turn, RestartEvent.GIVEN_UP, explanation, tries=tries)
    else:
        turn.rest(event, at, explanation=explanation, tries=tries)


# --- watching ---------------------------------------------------------------------------------------------


def _find_out(turn: RestartTurn, connector: Connector) -> None:
    """What became of a request whose answer nobody recorded: the device is looked at, never asked in the dark."""
    sighting = _seen(turn, connector, RestartEvent.UNCERTAIN)
    if sighting is None:
        return
    now, requested_at = turn.clock(), _requested_at(turn)
    match _restarted(turn, sighting, now):
        case Restarted.YES:
            _end(turn, RestartEvent.CAME_BACK, "")
        case _ if now - requested_at < SETTLED_AFTER:
            _look_again(turn, RestartEvent.UNCERTAIN, UNSURE)
        case Restarted.NO:
            _not_now(turn, RestartEvent.NOT_TAKEN, None, NOT_TAKEN)
        case Restarted.UNTOLD:
            # asked again it might restart twice
            _end(turn, RestartEvent.GIVEN_UP, CANNOT_BE_TOLD)


def _watch(turn: RestartTurn, connector: Connector) -> None:
    """Whether a device that said that it restarts is back."""
    sighting = _seen(turn, connector, RestartEvent.STILL_AWAY)
    if sighting is None:
        return
    match _restarted(turn, sighting, turn.clock()):
        case Restarted.YES:
            _end(turn, RestartEvent.CAME_BACK, "")
        case Restarted.NO:
            _look_again(turn, RestartEvent.STILL_AWAY, "", at_last=DID_NOT_RESTART)
        case Restarted.UNTOLD:
            _look_again(turn, RestartEvent.STILL_AWAY, "", at_last=CANNOT_BE_TOLD)


def _seen(turn: RestartTurn, connector: Connector, not_yet: RestartEvent) -> Sighting | None:
    """What the device says of itself; None when it is away, which is recorded.

    A device that says that it restarts has taken the request. Any other error counts as being away: a device that
    is just starting answers strangely for a while.
    """
    try:
        return connector.look()
    except DeviceAway:
        _look_again(
            turn, RestartEvent.ACCEPTED if not_yet is RestartEvent.UNCERTAIN else not_yet, "", seen_away=True
        )
    except DeliveryError as error:
        logger.info("%s is not back yet: %s", turn.restart.device, error, extra={"restart": turn.restart.pk})
        _look_again(turn, not_yet, turn.restart.explanation, seen_away=True)
    return None


def _look_again(
    turn: RestartTurn,
    event: RestartEvent,
    explanation: str,
    *,
    at_last: str = NEVER_CAME_BACK,
    seen_away: bool = False,
) -> None:
    """Record `event` and look again later; when the device has been away too long, end with `at_last`."""
    seen_away = seen_away or turn.restart.seen_away
    at = next_look(now=turn.clock(), requested_at=_requested_at(turn))
    if at is None:
        _end(turn, RestartEvent.GIVEN_UP, at_last, seen_away=seen_away)
    else:
        turn.rest(event, at, explanation=explanation, seen_away=seen_away)


def _requested_at(turn: RestartTurn) -> datetime:
    if turn.restart.requested_at is None:
        raise AssertionError("the database keeps restarts that were asked for from lacking the time")
    return turn.restart.requested_at


def _restarted(turn: RestartTurn, sighting: Sighting, now: datetime) -> Restarted:
    restart, uptime = turn.restart, sighting.uptime_seconds
    return has_restarted(
        Asked(_requested_at(turn), restart.boot_count, restart.seen_away),
        boot_count=sighting.boot_count,
        booted_at=None if uptime is None else now - timedelta(seconds=uptime),
    )


# --- the end ----------------------------------------------------------------------------------------------


@transaction.atomic
def _end(turn: RestartTurn, event: RestartEvent, explanation: str, **fields: object) -> None:
    """Close the row, audit it, and open the next one where R13 wants another. Raises LeaseLost."""
    restart, now = turn.restart, turn.clock()
    turn.write(
        event,
        **fields,
        explanation=explanation,
        completed_at=now,
        next_action_at=None,
        lease=None,
        takeovers=0,
    )
    facts = {"trigger": restart.trigger, "explanation": explanation, "asked_by": restart.asked_by}
    audit.record(audit.SYSTEM, f"restart.{restart.state}", restart.device, facts, at=now)
    # the row is ours until the commit: a certificate that comes now waits, and opens a restart of its own
    if Restart.objects.filter(pk=restart.pk, again=True).exists():
        restarts.append(audit.SYSTEM, restart.device, RestartTriggerChoices.AUTOMATIC, now=now)
    else:
        deployments.restart_ended(restart.device_id, now=now)
