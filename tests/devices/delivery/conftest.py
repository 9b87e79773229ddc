"""The virtual MFPs as counterparts, a clock, and one step after the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from devices import doorbell, inventory
from devices.audit import SYSTEM
from devices.delivery import dispatch, restart, runner
from devices.models import Device, Restart
from tests.devices.enrollment.steps import Clock
from tests.devices.factories import make_device
from tests.peers.mfps import Mfps, virtual_mfps
from tests.peers.process import wait_until


@pytest.fixture(scope="session")
def mfps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mfps]:
    with virtual_mfps(tmp_path_factory.mktemp("mfps"), devices=600) as running:
        yield running


_number = count(20)


class Bench:
    """One device with its virtual MFP, and the worker's steps done by hand."""

    def __init__(self, mfps: Mfps, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mfps, self.number, self.clock = mfps, next(_number), Clock()
        self.rings: list[tuple[uuid.UUID, list[int]]] = []
        self.device: Device = make_device(
            serial_number=mfps.serial(self.number),
            connector="virtual",
            connector_settings={"url": mfps.url(self.number)},
        )
        monkeypatch.setattr(doorbell, "ring_restart_workers", self._ring)
        monkeypatch.setattr(doorbell, "ring_restart_dispatcher", lambda: True)

    def _ring(self, lease: uuid.UUID, ids: Sequence[int]) -> bool:
        self.rings.append((lease, list(ids)))
        return True

    def behave(self, **behavior: object) -> None:
        self.mfps.behave(self.number, **behavior)

    def ask(self) -> int:
        """Open a restart; how often the device has started so far."""
        boots = self.boots
        restart.request_restart(SYSTEM, self.device)
        return boots

    def until_back(self) -> None:
        """Wait for the virtual MFP, which restarts in real time."""
        wait_until(lambda: self.mfps.is_back(self.number), timeout=10, what="the virtual MFP being back")

    @property
    def boots(self) -> int:
        return self.mfps.boot_count(self.number)

    def work(self) -> int:
        """Dispatch and take one step of everything that is due; how many were claimed."""
        claimed = dispatch.dispatch_due(self.clock())
        while self.rings:
            lease, ids = self.rings.pop(0)
            for restart_id in ids:
                runner.advance(restart_id, lease, clock=self.clock)
        return claimed

    def step(self) -> Restart:
        """Go on to when the device's restart is due, and take one step; the row afterwards."""
        restart = self.newest
        assert restart.next_action_at is not None, f"it has ended: {restart.state} {restart.explanation}"
        self.clock.ahead += max(restart.next_action_at - self.clock(), self.clock.ahead * 0)
        assert self.work() == 1
        return self.newest

    @property
    def newest(self) -> Restart:
        return Restart.objects.filter(device=self.device)[0]

    def connect(self, connector: str, **settings: object) -> None:
        inventory.update_device(SYSTEM, self.device, connector=connector, connector_settings=settings)


@pytest.fixture
def bench(mfps: Mfps, db: None, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(mfps, monkeypatch)
