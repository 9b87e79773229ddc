"""A worker's turn at one request: the lease it holds, and the only way to write under it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from devices.models import IssuanceRequest
from devices.rules.lifecycle import Event, State, next_state

# each HTTP request of an exchange may take the whole timeout, and making a key of 4096 bits some seconds
_REQUESTS_PER_TURN = 4
_SLACK_SECONDS = 15


class LeaseLost(Exception):
    """Somebody else took the request over, or it is gone; what we know of it is out of date."""


@dataclass(slots=True)
class Turn:
    """A request that this worker has begun, and the lease under which it may write to it."""

    request: IssuanceRequest
    lease: uuid.UUID
    clock: Callable[[], datetime]

    def lease_end(self) -> datetime:
        """When others may take the request over: later than this turn can end."""
        timeout = self.request.server.timeout if self.request.server else 0
        return self.clock() + timedelta(seconds=_REQUESTS_PER_TURN * timeout + _SLACK_SECONDS)

    def write(self, event: Event | None, **fields: Any) -> None:
        """Compare-and-swap on state and lease: set `fields`, and the state that `event` leads to.

        Raises LeaseLost when the row has another state or lease, TransitionRefused for an impossible event.
        """
        state = State(self.request.state)
        after = state if event is None else next_state(state, event)
        values = {"state": after.value, **fields}
        row = IssuanceRequest.objects.filter(pk=self.request.pk, lease=self.lease, state=state.value)
        if not row.update(**values):
            raise LeaseLost
        for name, value in values.items():
            setattr(self.request, name, value)
