"""A year in the life of a fleet: the real dispatcher, runner and services on a clock that jumps.

What is simulated is the world around them: time, the network with the project's responder behind it
(`wire`), the queue between dispatcher and workers, and the administrators. Whatever asks Django for the time
gets the simulated one. Workers take their steps one after the other, each as long as its messages take.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from unittest import mock
from uuid import UUID

from django.db import connection
from django.db.models import Min

from devices import doorbell
from devices.enrollment import dispatch, runner
from devices.enrollment.log import OPEN
from devices.models import IssuanceRequest
from tests.simulation import fleet
from tests.simulation.administrator import Administrator
from tests.simulation.keys import cheap_keys
from tests.simulation.recorder import Recorder
from tests.simulation.records import Began, Claimed, Done, Lost, Record
from tests.simulation.wire import Clock, Killed, Wire

BEGINS = datetime(2027, 1, 1, tzinfo=UTC)
TICK = 2
"""Seconds between two calls of the dispatcher by beat."""
CALM_DAYS = 30
"""At the end: no faults, no outages, no changes; what went wrong is made good."""

_RING_LOST = 0.004
_BROKER_AWAY = 0.002
_DISTURBED = 0.008
"""Of all messages, so many see an administrator act on their device while they are on their way."""
_HOUSEKEEPING = timedelta(days=20)


class Simulation:
    """Everything that one run holds; `run` once."""

    def __init__(self, *, devices: int, days: int, seed: int) -> None:
        if days <= CALM_DAYS + 10:
            raise ValueError(f"a simulation takes more than {CALM_DAYS + 10} days, not {days}")
        self.clock = Clock(BEGINS)
        self.recorder = Recorder(self.clock)
        self.steps = 0
        self._days = days
        self._devices = devices
        self._seed = seed
        self._dice = random.Random(seed)
        self._queue: deque[tuple[UUID, Sequence[int]]] = deque()
        self._running: tuple[int, str] | None = None
        """Id and name of the device for which a step is being taken."""
        self._housekeeping_at = BEGINS + _HOUSEKEEPING
        self.administrator = Administrator(self.clock, self.recorder, self._dice, [])
        self._wire = Wire(self.clock, self._dice, self.recorder.log.append, self._meanwhile)

    @property
    def log(self) -> list[Record]:
        """What the walk reads."""
        return self.recorder.log

    def run(self) -> None:
        """From the first day to the last."""
        end = BEGINS + timedelta(days=self._days)
        with self._world():
            self._populate()
            while (at := self._next_at()) < end:
                self._wire.calm = at >= end - timedelta(days=CALM_DAYS)
                self.clock.wait_until(_tick_after(at))
                self.administrator.act()
                if not self._dispatch() and self._is_due():
                    # no allowance is left, or the broker was away: the next tick tries again
                    self.clock.pass_by(TICK)
                self._keep_house()
            self.clock.wait_until(end)
            self.recorder.audit_trail(BEGINS)
            self.recorder.final()

    @contextlib.contextmanager
    def _world(self) -> Iterator[None]:
        """Time, chance, keys, network and queue are ours; R10's dice and the CA's follow the seed too."""
        chance = random.getstate()
        random.seed(self._seed)
        with (
            mock.patch("django.utils.timezone.now", self.clock),
            mock.patch.object(doorbell, "ring_workers", self._ring),
            mock.patch.object(doorbell, "ring_dispatcher", return_value=True),
            cheap_keys(),
            self._wire.in_place(),
        ):
            try:
                yield
            finally:
                random.setstate(chance)

    def _populate(self) -> None:
        for ca in fleet.make_servers(
            self.clock, self.recorder, self._dice, days=self._days, calm_days=CALM_DAYS
        ):
            self._wire.cas[ca.name] = ca
        members = fleet.make_devices(self._devices, self._dice, self.clock)
        for member in members:
            self.recorder.device(member.device.pk)
        self.administrator.members = {member.device.pk: member for member in members}
        self.administrator.plan(days=self._days, calm_days=CALM_DAYS)

    # --- time ---------------------------------------------------------------------------------------------

    def _next_at(self) -> datetime:
        """When somebody has to do something next."""
        due = IssuanceRequest.objects.filter(state__in=OPEN).aggregate(first=Min("next_action_at"))["first"]
        at = self.administrator.next_at()
        return max(self.clock(), at if due is None else min(due, at))

    def _is_due(self) -> bool:
        return IssuanceRequest.objects.filter(state__in=OPEN, next_action_at__lte=self.clock()).exists()

    def _meanwhile(self) -> None:
        """A message is on its way: look at the line that it belongs to; and administrators do not wait for it."""
        if self._running is not None:
            self.recorder.lines(*self._running)
            if not self._wire.calm and self._dice.random() < _DISTURBED:
                self.administrator.disturb(self._running[0])
        self.administrator.act()

    def _keep_house(self) -> None:
        """What autovacuum does for a real site."""
        if self.clock() >= self._housekeeping_at:
            self._housekeeping_at = self.clock() + _HOUSEKEEPING
            if connection.vendor == "postgresql" and not connection.in_atomic_block:
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM ANALYZE")

    # --- dispatcher, queue and workers --------------------------------------------------------------------

    def _dispatch(self) -> int:
        """One tick, and the work that it rings for; returns how many requests were claimed."""
        claimed = dispatch.dispatch_due(self.clock())
        while self._queue:
            lease, ids = self._queue.popleft()
            for request_id in ids:
                self.administrator.act()
                self._step(request_id, lease)
            # a worker that has taken its steps has the next ones claimed, as devices.tasks does
            claimed += dispatch.dispatch_due(self.clock())
        return claimed

    def _ring(self, lease: UUID, ids: Sequence[int]) -> bool:
        """The queue; now and then the broker is away, or a ring gets lost."""
        if not self._wire.calm and self._dice.random() < _BROKER_AWAY:
            return False
        rows = IssuanceRequest.objects.filter(pk__in=ids, lease=lease).values_list(
            "device__name", "sequence", "server__name"
        )
        requests = tuple((name, sequence) for name, sequence, _ in rows)
        self.log.append(Claimed(self.clock(), rows[0][2], requests))
        if not self._wire.calm and self._dice.random() < _RING_LOST:
            self.log.extend(Lost(self.clock(), name, sequence) for name, sequence in requests)
        else:
            self._queue.append((lease, ids))
        return True

    def _step(self, request_id: int, lease: UUID) -> None:
        """One step of one request, by a worker that may be killed over it."""
        row = (
            IssuanceRequest.objects.filter(pk=request_id, lease=lease)
            .values_list("device_id", "device__name", "sequence")
            .first()
        )
        if row is None:
            # claimed anew, or taken away meanwhile: the runner has to find that out
            self._wire.begin_step("nobody", 0)
            runner.advance(request_id, lease, clock=self.clock)
            return
        device_id, name, sequence = row
        self.steps += 1
        self.log.append(Began(self.clock(), name, sequence))
        self._wire.begin_step(name, sequence)
        self._running = device_id, name
        killed = False
        try:
            runner.advance(request_id, lease, clock=self.clock)
        except Killed:
            killed = True
        self._running = None
        self.log.append(Done(self.clock(), name, sequence, killed))
        self.recorder.device(device_id)


def _tick_after(at: datetime) -> datetime:
    """The first tick of beat that is not before `at`."""
    over = (at - BEGINS) % timedelta(seconds=TICK)
    return at if not over else at + timedelta(seconds=TICK) - over
