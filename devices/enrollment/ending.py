"""The end of a request: key registered, log line closed, secrets gone, next period scheduled, audited.

All of it in one transaction, so that nothing of it is ever missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from django.db import transaction
from django.utils.translation import gettext_noop

from devices import audit, deployments, keystore, restarts
from devices.enrollment import log
from devices.enrollment.turn import LeaseLost, Turn
from devices.models import ScepSettings, summary
from devices.models.choices import TriggerChoices, WebhookEventChoices
from devices.rules.lifecycle import Event
from devices.webhooks import outbox

FUNCTION_IS_OFF = gettext_noop(
    "The key is assigned to a function that is off on the device. The function was not switched on; "
    "switch it on at the device to use the certificate."
)

RESTART_BY_HAND = gettext_noop(
    "The device must be restarted by hand: it has no connector that could do it. Choose one in the device's data "
    "to have it restarted automatically."
)


@transaction.atomic
def successful(turn: Turn, certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> None:
    """The certificate was issued: register it (R6, R14), close the line, restart (R13). Raises LeaseLost."""
    settings = _locked_settings(turn)
    request, now = turn.request, turn.clock()
    # the device before what belongs to it, as everybody locks them
    restarts.lock(request.device_id)
    kept = deployments.kept_by(keystore.in_use(request.device, request.key_use, request.ipsec_destination))
    registered = keystore.register(request, certificate, chain, now=now)
    key = registered.key
    # as the device is now: a function may have been switched, or a connector chosen, while the server was asked
    request.device.refresh_from_db(fields=[*keystore.FUNCTION_FIELDS, "connector"])
    notes = [FUNCTION_IS_OFF] if keystore.function_is_off(request.device, request.key_use) else []
    is_on_its_way = deployments.after_certificate(
        key, registered.former, restart_wanted=request.auto_restart, inherited=kept, now=now
    )
    # a device that is to get the key first restarts when it has it
    if request.auto_restart and not (
        restarts.can_restart(request.device)
        if is_on_its_way
        else restarts.after_certificate(request.device, now=now)
    ):
        notes.append(RESTART_BY_HAND)
    facts = {"key": key.name, "certificate": key.fingerprint_sha256, "valid_until": key.not_after}
    fields = {"certificate": key, "details": "", "explanation": "\n".join(notes)}
    _close(turn, settings, Event.ISSUED, now, fields, facts)
    outbox.announce(WebhookEventChoices.ISSUANCE_SUCCESSFUL, outbox.of_request(request, key), now)


@transaction.atomic
def failed(turn: Turn, event: Event, *, details: str, explanation: str) -> None:
    """The request ended in an error with one of R17's `details`. Raises LeaseLost."""
    settings = _locked_settings(turn)
    fields = {"details": details, "explanation": explanation}
    now = turn.clock()
    _close(turn, settings, event, now, fields, fields)
    outbox.announce(WebhookEventChoices.ISSUANCE_FAILED, outbox.of_request(turn.request, None), now)


def _locked_settings(turn: Turn) -> ScepSettings:
    """The device's settings, locked: whether the timer is on must not change until the next period stands."""
    settings = ScepSettings.objects.select_for_update().filter(device=turn.request.device_id).first()
    if settings is None:
        raise LeaseLost
    return settings


def _close(
    turn: Turn,
    settings: ScepSettings,
    event: Event,
    now: datetime,
    fields: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    request = turn.request
    turn.write(
        event,
        **fields,
        completed_at=now,
        next_action_at=None,
        lease=None,
        takeovers=0,
        private_key_encrypted=None,
        csr_encrypted=None,
        signer_key_encrypted=None,
        challenge_password_encrypted=None,
    )
    if settings.timer_enabled and request.trigger != TriggerChoices.MANUAL:
        next_at = log.next_period_after(request, settings)
        if next_at is not None:
            log.schedule(settings, TriggerChoices.PERIODIC, next_at, offset_seconds=0)
    summary.refresh([request.device_id])
    facts = {"transaction_id": request.transaction_id, "trigger": request.trigger, **facts}
    audit.record(audit.SYSTEM, f"issuance_request.{request.state}", request.device, facts, at=now)
