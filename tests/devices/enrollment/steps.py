"""Driving the runner by hand: a clock, a CA in this process, and one step after the other."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from devices.enrollment import dispatch, runner
from devices.models import Device, IssuanceRequest
from scep.responder import Behavior, Responder
from tests.devices.factories import CHALLENGE, make_server, make_timed_device

Rings = list[tuple[uuid.UUID, list[int]]]
"""Lease and ids of each ring."""


class Clock:
    """The runner's clock: real time, moved forward on demand."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.stands_at: datetime | None = None
        """Where it stands, for what has not come yet: real time may be past it by then."""

    def __call__(self) -> datetime:
        return self.stands_at or datetime.now(UTC) + self.ahead


class Ca:
    """A responder in this process, and a server row that leads there."""

    def __init__(self, responder: Responder, url: str) -> None:
        self.responder = responder
        self.server = make_server(url)
        self.url = url

    def behave(self, **behavior: Any) -> None:
        """From now on."""
        self.responder.behavior = Behavior(**behavior)

    @property
    def log(self) -> list[tuple[str, str]]:
        """Type and outcome of every message."""
        return [(message.message_type, message.outcome) for message in self.responder.messages]


def work(clock: Clock, rings: Rings) -> int:
    """Dispatch and take one step of everything that is due; returns how many were claimed."""
    claimed = dispatch.dispatch_due(clock())
    while rings:
        lease, ids = rings.pop(0)
        for request_id in ids:
            runner.advance(request_id, lease, clock=clock)
    return claimed


def timed(ca: Ca, **settings: Any) -> Device:
    return make_timed_device(ca.server, **{"challenge_password": CHALLENGE, **settings})


def ended(device: Device) -> IssuanceRequest:
    """The newest ended request of the device."""
    found = IssuanceRequest.objects.filter(device=device, completed_at__isnull=False).first()
    assert found is not None
    return found
