"""A worker's turn at one restart: the lease it holds, and the only way to write under it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from devices.delivery.connectors import registry
from devices.models import Restart
from devices.rules.restart import RestartEvent, RestartState, next_restart_state

_CALLS_PER_TURN = 2
_SLACK_SECONDS = 15


class LeaseLost(Exception):
    """Somebody else took the restart over, or it is gone; what we know of it is out of date."""


@dataclass(slots=True)
class Turn:
    """A restart that this worker has begun, and the lease under which it may write to it."""

    restart: Restart
    lease: uuid.UUID
    clock: Callable[[], datetime]

    def lease_end(self) -> datetime:
        """When others may take the restart over: later than this turn can end."""
        connector = registry.known().get(self.restart.device.connector)
        patience = connector.patience if connector else 0.0
        return self.clock() + timedelta(seconds=_CALLS_PER_TURN * patience + _SLACK_SECONDS)

    def write(self, event: RestartEvent, **fields: Any) -> None:
        """Compare-and-swap on state and lease: set `fields`, and the state that `event` leads to.

        Raises LeaseLost when the row has another state or lease, RestartTransitionRefused for an impossible event.
        """
        state = RestartState(self.restart.state)
        values = {"state": next_restart_state(state, event).value, **fields}
        row = Restart.objects.filter(pk=self.restart.pk, lease=self.lease, state=state.value)
        if not row.update(**values):
            raise LeaseLost
        for name, value in values.items():
            setattr(self.restart, name, value)

    def rest(self, event: RestartEvent, until: datetime, **fields: Any) -> None:
        """Write, and give the row back until somebody looks at it again. Raises as `write` does."""
        self.write(event, next_action_at=until, lease=None, takeovers=0, **fields)
