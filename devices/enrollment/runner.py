"""Taking one step of one request: claim it, talk to the SCEP server, record what came of it.

Rules of the house:
- Key, CSR and transaction ID are committed before the first byte goes out, and that a request goes out
  is committed before it does. So whoever finds the row knows what the server may have seen.
- No database transaction spans the network.
- Every write is a compare-and-swap on state and lease: a step whose lease was taken over, or that was
  rung twice, changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop

from devices import keystore, restarts
from devices.enrollment import connection, ending
from devices.enrollment.log import OPEN
from devices.enrollment.turn import LeaseLost, Turn
from devices.models import AllowanceUse, IssuanceRequest, ScepServer, summary
from devices.rules.lifecycle import (
    DETAILS_DEFERRED,
    DETAILS_KEY_LIMIT,
    DETAILS_UNREACHABLE,
    Event,
    State,
)
from devices.rules.schedule import next_poll
from devices.secrets import SecretUnreadable
from scep.csr import CertificateParameters, SignatureAlgorithm
from scep.errors import HttpStatusError, MessageCheckFailed, NotScep, WrongCertificate
from scep.exchange import (
    Exchange,
    Failed,
    HttpRequest,
    Issued,
    Outcome,
    Pending,
    ServerProfile,
    Step,
)

logger = logging.getLogger(__name__)

MOST_TAKEOVERS = 10
"""Turns in a row that were begun and never heard of again, before the request is given up."""

PROFILE_LIFETIME = timedelta(hours=1)
"""How long GetCACaps and GetCACert of a server are believed without asking anew."""

NEVER_ENDED = gettext_noop(
    "The request was begun several times and never brought to an end. Look for its transaction ID in the "
    "logs of the workers."
)
NO_SERVER = gettext_noop("The SCEP server of this request was removed. Choose another one in the settings.")
NO_ROOM = gettext_noop(
    "The device holds as many keys and certificates as it can. Delete one that is not needed, or switch "
    "on [Delete Old Key and Certificate]; the SCEP server was not asked."
)
DEFERRED = gettext_noop("The SCEP server answered PENDING: somebody has to approve the request there.")

_MAYBE_OUTDATED = (MessageCheckFailed, WrongCertificate, HttpStatusError, NotScep)
"""What a server says, or seems to say, to messages made with certificates that it had before."""

_STEP = {State.PREPARED: Step.REQUEST, State.SENT: Step.INQUIRE, State.PENDING: Step.POLL}


def advance(request_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Take one step for the request claimed under `lease`; nothing happens when it no longer is.

    Never raises: what goes wrong with one request must not stop the others of its batch. A step that
    failed by our own fault is logged, and taken again when its lease has run out.
    """
    try:
        turn = _begin(request_id, lease, clock)
        if turn is not None:
            _take(turn)
    except LeaseLost:
        logger.info("request %d was taken over by another worker", request_id)
    except Exception:  # a fault of ours: the others of the batch go on, MOST_TAKEOVERS ends this one
        logger.exception("the step of request %d failed; it is taken again later", request_id)


def _begin(request_id: int, lease: uuid.UUID, clock: Callable[[], datetime]) -> Turn | None:
    """Change the lease of the queue for our own; None when it is not the row's lease any more, or has run out.

    A request counts within its server's allowance from when it is taken up, however long its ring was on its way.
    """
    now = clock()
    request = (
        IssuanceRequest.objects.select_related("device", "server")
        .filter(pk=request_id, lease=lease, state__in=OPEN)
        .first()
    )
    if request is None:
        return None
    turn = Turn(request, uuid.uuid4(), clock)
    with transaction.atomic():
        begun = IssuanceRequest.objects.filter(
            pk=request_id, lease=lease, state=request.state, next_action_at__gt=now
        ).update(
            lease=turn.lease,
            claimed_at=None,
            next_action_at=turn.lease_end(),
            takeovers=F("takeovers") + 1,
        )
        if begun and request.server is not None and request.server.max_requests_per_minute is not None:
            AllowanceUse.objects.create(server=request.server, at=now)
    return turn if begun else None


def _take(turn: Turn) -> None:
    request = turn.request
    if request.takeovers >= MOST_TAKEOVERS:
        _give_up(turn, NEVER_ENDED)
    elif request.server is None:
        _give_up(turn, NO_SERVER)
    else:
        try:
            if request.state != State.SCHEDULED or _prepare(turn):
                _ask(turn, request.server)
        except SecretUnreadable as error:
            _give_up(turn, str(error))


def _prepare(turn: Turn) -> bool:
    """Make key, CSR and transaction ID, and commit them; False when the device has no room (R11)."""
    request = turn.request
    if not keystore.has_room_for(request):
        _end_without_room(turn)
        return False
    now = turn.clock()
    common_name = request.common_name or request.device.host
    parameters = CertificateParameters(
        common_name=common_name,
        organization=request.organization,
        key_length=request.key_length,
        signature_algorithm=SignatureAlgorithm(request.signature_algorithm),
        challenge_password=request.reveal_challenge_password(),
    )
    try:
        made = connection.make_transaction(request, parameters, now=now)
    except ValueError as error:
        # settings are checked when they are saved; the device's address may have changed since
        _give_up(turn, f"No certification request can be made of these settings: {error}.")
        return False
    with transaction.atomic():
        # the request before its device, as everybody locks them
        IssuanceRequest.objects.select_for_update().filter(pk=request.pk).values_list("pk").first()
        restarts.lock(request.device_id)
        # again: a key that R14 was to overwrite may have become the default key while the new one was made
        has_room = keystore.has_room_for(request)
        if has_room:
            turn.write(
                Event.PREPARE,
                started_at=now,
                common_name=common_name,
                **connection.stored(made),
                # it stands in the CSR, and is needed nowhere else
                challenge_password_encrypted=None,
            )
            summary.refresh([request.device_id])
    if not has_room:
        _end_without_room(turn)
    return has_room


def _end_without_room(turn: Turn) -> None:
    ending.failed(turn, Event.KEY_LIMIT, details=DETAILS_KEY_LIMIT, explanation=NO_ROOM)


def _ask(turn: Turn, server: ScepServer) -> None:
    """Carry one exchange to the SCEP server and record what came of it."""
    cached = _believed_profile(server, turn.clock())
    outcome = _exchange(turn, server, cached)
    if cached and isinstance(outcome, Failed) and isinstance(outcome.error, _MAYBE_OUTDATED):
        # the CA may have other certificates by now: look again before it counts as an error
        _remember(server, None, None)
        outcome = _exchange(turn, server, None)
    maybe_outdated = isinstance(outcome, Failed) and isinstance(outcome.error, _MAYBE_OUTDATED)
    if outcome.profile not in (None, cached) and not maybe_outdated:
        _remember(server, outcome.profile, turn.clock())
    match outcome:
        case Issued():
            ending.successful(turn, outcome.certificate, outcome.chain)
        case Pending():
            _wait_or_end(turn, Event.DEFERRED, details=DETAILS_DEFERRED, explanation=DEFERRED)
        case Failed(error=error) if error.worth_polling:
            _wait_or_end(turn, Event.UNREACHABLE, details=error.details, explanation=str(error))
        case Failed(error=error):
            ending.failed(turn, Event.REFUSED, details=error.details, explanation=str(error))


def _exchange(turn: Turn, server: ScepServer, profile: ServerProfile | None) -> Outcome:
    exchange = Exchange(
        connection.restored(turn.request),
        _STEP[State(turn.request.state)],
        now=turn.clock(),
        policy=connection.policy_of(server),
        profile=profile,
    )
    return connection.client_for(server).run(exchange, before_send=partial(_before_send, turn))


def _before_send(turn: Turn, message: HttpRequest) -> None:
    """Commit that the message goes out, before its first byte does. Raises LeaseLost."""
    request = turn.request
    event = Event.SEND if request.state == State.PREPARED else None
    turn.write(event, next_action_at=turn.lease_end())
    logger.info(
        "%s for %s goes out",
        message.message_type,
        request.device,
        extra={
            "transaction_id": request.transaction_id,
            "request": request.pk,
            "message_type": message.message_type,
        },
    )


def _wait_or_end(turn: Turn, event: Event, *, details: str, explanation: str) -> None:
    """Poll again later (R11), or end the request when no poll is left."""
    request = turn.request
    poll = next_poll(
        now=turn.clock(), polls_left=request.polls_left, interval_seconds=request.polling_interval_seconds
    )
    if poll is None:
        ending.failed(turn, Event.GIVEN_UP, details=details, explanation=explanation)
    else:
        turn.write(
            event,
            next_action_at=poll.at,
            polls_left=poll.polls_left,
            explanation=explanation,
            lease=None,
            takeovers=0,
        )


def _give_up(turn: Turn, explanation: str) -> None:
    ending.failed(turn, Event.GIVEN_UP, details=DETAILS_UNREACHABLE, explanation=explanation)


def _remember(server: ScepServer, profile: ServerProfile | None, at: datetime | None) -> None:
    """Keep what the server said of itself, unless its address changed meanwhile: that was another server."""
    ScepServer.objects.filter(pk=server.pk, url=server.url, port=server.port).update(
        profile=profile and profile.to_json(), profile_fetched_at=at
    )


def _believed_profile(server: ScepServer, now: datetime) -> ServerProfile | None:
    """What the server said of itself lately, or None: ask it."""
    if server.profile is None or server.profile_fetched_at is None:
        return None
    if now - server.profile_fetched_at > PROFILE_LIFETIME:
        return None
    try:
        return ServerProfile.from_json(server.profile)
    except ValueError:
        logger.warning("the stored profile of the SCEP server %s is unreadable and is fetched anew", server)
        return None
