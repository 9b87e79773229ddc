"""How a step of a delivery closes its row, and what the audit trail says of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from devices import audit
from devices.delivery.turn import DeploymentTurn
from devices.models.choices import DeploymentStateChoices
from devices.rules.deployment import DeploymentEvent

CLOSED: Mapping[str, Any] = {"next_action_at": None, "lease": None, "takeovers": 0}
"""Columns of a row to which nothing is to happen any more."""

WITHOUT_FORMER: Mapping[str, Any] = {
    "former": None,
    "former_private_key_encrypted": None,
    "former_is_overwritten": False,
}
"""Columns of a row that keeps no former key any more."""


@transaction.atomic
def end(turn: DeploymentTurn, event: DeploymentEvent, explanation: str, **fields: Any) -> None:
    """Close the row and audit it. Raises LeaseLost."""
    now = turn.clock()
    turn.write(event, **{**CLOSED, **fields}, explanation=explanation, completed_at=now)
    audit_outcome(turn, turn.deployment.state, now)


def give_up(turn: DeploymentTurn, explanation: str, *, for_administrator: bool = False) -> None:
    """End it from whatever state it is in; after VERIFIED only the deletion of the former key is given up."""
    if turn.deployment.state == DeploymentStateChoices.VERIFIED:
        turn.write(DeploymentEvent.NOT_REMOVED, **CLOSED, **WITHOUT_FORMER, explanation=explanation)
    else:
        end(turn, DeploymentEvent.GIVEN_UP, explanation, for_administrator=for_administrator)


def audit_outcome(turn: DeploymentTurn, outcome: str, now: datetime) -> None:
    """Write the event `deployment.<outcome>`, with what the row says of it."""
    row = turn.deployment
    facts = {"key": row.key.name, "certificate": row.key.fingerprint_sha256}
    if row.explanation:
        facts["explanation"] = row.explanation
    audit.record(audit.SYSTEM, f"deployment.{outcome}", row.device, facts, at=now)
