"""A worker's turn at one row, a restart or a delivery: the lease it holds, and the only way to write under it."""

from __future__ import annotations

import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Self, TypeVar

from django.db.models import F, QuerySet

from devices.delivery.connectors import registry
from devices.delivery.connectors.snmp_device import SnmpDevice
from devices.models import Deployment, Restart
from devices.rules.deployment import DeploymentEvent, DeploymentState, next_deployment_state
from devices.rules.restart import RestartEvent, RestartState, next_restart_state

logger = logging.getLogger(__name__)

MOST_TAKEOVERS = 10
"""Turns in a row that were begun and never heard of again, before a row is given up."""

_SLACK_SECONDS = 15

R = TypeVar("R", Restart, Deployment)
E = TypeVar("E", RestartEvent, DeploymentEvent)


class LeaseLost(Exception):
    """Somebody else took the row over, or it is gone; what we know of it is out of date."""


class Turn(ABC, Generic[R, E]):
    """A row that this worker has begun, and the lease under which it may write to it."""

    name: ClassVar[str]
    """What a row is called in logs."""
    calls: ClassVar[int]
    """Calls of the connector that one turn makes at most."""

    row: R

    def __init__(self, row: R, lease: uuid.UUID, clock: Callable[[], datetime]) -> None:
        self.row = row
        self.lease = lease
        self.clock = clock

    @classmethod
    @abstractmethod
    def rows(cls) -> QuerySet[R]:
        """Those in which something is still to happen, each with its device."""

    @abstractmethod
    def state_after(self, event: E) -> str:
        """The state that `event` leads to. Raises what the table raises for an impossible one."""

    @classmethod
    def begin(cls, row_id: int, lease: uuid.UUID, clock: Callable[[], datetime]) -> Self | None:
        """Change the lease of the queue for our own; None when it is not the row's lease any more."""
        row: R | None = cls.rows().filter(pk=row_id, lease=lease).first()
        if row is None:
            return None
        turn = cls(row, uuid.uuid4(), clock)
        begun = cls._all().filter(pk=row_id, lease=lease, state=row.state)
        values = {"lease": turn.lease, "next_action_at": turn.lease_end(), "takeovers": F("takeovers") + 1}
        return turn if begun.update(**values) else None

    def lease_end(self) -> datetime:
        """When others may take the row over: later than this turn can end."""
        connector = registry.known().get(self.row.device.connector)
        # a restart may go over SNMP in the connector's place
        patience = max(connector.patience if connector else 0.0, SnmpDevice.patience)
        return self.clock() + timedelta(seconds=self.calls * patience + _SLACK_SECONDS)

    def write(self, event: E, **fields: Any) -> None:
        """Compare-and-swap on state and lease: set `fields`, and the state that `event` leads to.

        Raises LeaseLost when the row has another state or lease, and for an impossible event what the table raises.
        """
        values = {"state": self.state_after(event), **fields}
        row = self._all().filter(pk=self.row.pk, lease=self.lease, state=self.row.state)
        if not row.update(**values):
            raise LeaseLost
        for name, value in values.items():
            setattr(self.row, name, value)

    def rest(self, event: E, until: datetime, **fields: Any) -> None:
        """Write, and give the row back until somebody looks at it again. Raises as `write` does."""
        self.write(event, next_action_at=until, lease=None, takeovers=0, **fields)

    @classmethod
    def _all(cls) -> QuerySet[R]:
        return cls.rows().model._default_manager.all()


T = TypeVar("T", bound=Turn[Any, Any])


def take_step(
    kind: type[T], row_id: int, lease: uuid.UUID, clock: Callable[[], datetime], step: Callable[[T], None]
) -> None:
    """Begin the turn of the row claimed under `lease`, and take `step`; nothing when it no longer is claimed so.

    Never raises: what goes wrong with one must not stop the others of its batch. A step that failed by our own
    fault is logged, and taken again when its lease has run out.
    """
    try:
        turn = kind.begin(row_id, lease, clock)
        if turn is not None:
            step(turn)
    except LeaseLost:
        logger.info("%s %d was taken over by another worker", kind.name, row_id)
    except Exception:  # a fault of ours: the others of the batch go on, MOST_TAKEOVERS ends this one
        logger.exception("the step of %s %d failed; it is taken again later", kind.name, row_id)


class RestartTurn(Turn[Restart, RestartEvent]):
    """A turn at a restart."""

    name = "restart"
    calls = 2

    @classmethod
    def rows(cls) -> QuerySet[Restart]:
        """Open ones."""
        return Restart.objects.select_related("device__group").filter(next_action_at__isnull=False)

    def state_after(self, event: RestartEvent) -> str:
        """By devices/rules/restart.py."""
        return next_restart_state(RestartState(self.row.state), event).value

    @property
    def restart(self) -> Restart:
        """The row."""
        row: Restart = self.row
        return row


class DeploymentTurn(Turn[Deployment, DeploymentEvent]):
    """A turn at a delivery."""

    name = "delivery"
    calls = 3

    @classmethod
    def rows(cls) -> QuerySet[Deployment]:
        """Those that are due sometime, with what is delivered."""
        return Deployment.objects.select_related("device__group", "key").filter(next_action_at__isnull=False)

    def state_after(self, event: DeploymentEvent) -> str:
        """By devices/rules/deployment.py."""
        return next_deployment_state(DeploymentState(self.row.state), event).value

    @property
    def deployment(self) -> Deployment:
        """The row."""
        row: Deployment = self.row
        return row
