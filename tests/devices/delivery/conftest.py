"""The virtual MFPs as counterparts, a clock, and one step after the other."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from devices import doorbell, inventory
from devices.audit import SYSTEM
from devices.delivery import dispatch, restart, runner
from devices.delivery.deployment import runner as deployment_runner
from devices.models import Deployment, Device, KeyAndCertificate, Restart
from tests.devices.delivery.issued import issue
from tests.devices.delivery.patience import patient as patient
from tests.devices.enrollment.steps import Clock
from tests.devices.factories import make_device
from tests.peers.mfps import Mfps
from tests.peers.process import wait_until

_number = count(20)


class Bench:
    """One device with its virtual MFP, and the worker's steps done by hand."""

    def __init__(self, mfps: Mfps, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mfps, self.number, self.clock = mfps, next(_number), Clock()
        self.rings: list[tuple[uuid.UUID, list[int]]] = []
        self.device: Device = make_device(
            serial_number=mfps.serial(self.number),
            connector="virtual",
            connector_settings={
                "url": mfps.url(self.number),
                "tls_fingerprint": mfps.factory_fingerprint,
            },
        )
        monkeypatch.setattr(doorbell, "ring_restart_workers", self._ring)
        monkeypatch.setattr(doorbell, "ring_restart_dispatcher", lambda: True)
        self.deliveries: list[tuple[uuid.UUID, list[int]]] = []
        monkeypatch.setattr(doorbell, "ring_deployment_workers", self._ring_delivery)
        monkeypatch.setattr(doorbell, "ring_deployment_dispatcher", lambda: True)

    def _ring(self, lease: uuid.UUID, ids: Sequence[int]) -> bool:
        self.rings.append((lease, list(ids)))
        return True

    def _ring_delivery(self, lease: uuid.UUID, ids: Sequence[int]) -> bool:
        self.deliveries.append((lease, list(ids)))
        return True

    def issue(self, **how: Any) -> KeyAndCertificate:
        """A certificate came for the device."""
        return issue(self.device, now=self.clock(), **how)

    def deliver(self) -> int:
        """Dispatch and take one step of every delivery that is due; how many were claimed."""
        claimed = dispatch.dispatch_deployments(self.clock())
        while self.deliveries:
            lease, ids = self.deliveries.pop(0)
            for deployment_id in ids:
                deployment_runner.advance(deployment_id, lease, clock=self.clock)
        return claimed

    def delivery_step(self, key: KeyAndCertificate) -> Deployment:
        """Go on to when the delivery of `key` is due, and take one step; the row afterwards."""
        row = Deployment.objects.get(key=key)
        assert row.next_action_at is not None, f"it has ended: {row.state} {row.explanation}"
        self.clock.ahead += max(row.next_action_at - self.clock(), self.clock.ahead * 0)
        assert self.deliver() == 1
        row.refresh_from_db()
        return row

    def delivered_to_the_end(self, key: KeyAndCertificate, most: int = 400) -> Deployment:
        """Step after step until nothing is to happen any more."""
        for _ in range(most):
            row = self.delivery_step(key)
            if row.next_action_at is None:
                return row
        raise AssertionError(f"after {most} steps it is {row.state}: {row.explanation}")

    def correct(self, **settings: Any) -> None:
        """Change settings of the connector, as somebody corrects them; None takes one away."""
        device = Device.objects.get(pk=self.device.pk)
        values = {**device.connector_settings, **settings}
        inventory.update_device(
            SYSTEM, device, connector_settings={k: v for k, v in values.items() if v is not None}
        )

    @property
    def served(self) -> str:
        """SHA-256 of the certificate that the MFP serves."""
        return self.mfps.served(self.number)

    def behave(self, **behavior: object) -> None:
        self.mfps.behave(self.number, **behavior)

    def ask(self) -> int:
        """Open a restart; how often the device has started so far."""
        boots = self.boots
        restart.request_restart(SYSTEM, self.device)
        return boots

    def until_back(self) -> None:
        """Wait for the virtual MFP, which restarts in real time."""
        wait_until(lambda: self.mfps.is_back(self.number), timeout=60, what="the virtual MFP being back")

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
