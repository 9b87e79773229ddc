"""Deliveries within the maintenance window of the device's group."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.deployment.texts import OUTSIDE_WINDOW
from devices.models import Device
from tests.devices.delivery.conftest import Bench

pytestmark = pytest.mark.django_db


class TestMaintenanceWindow:
    def opens_in(self, bench: Bench, hours_ahead: int, **fields: Any) -> datetime:
        """When the window of the device's group opens, within the hour before so many from now; for an hour."""
        opens = (bench.clock() + timedelta(hours=hours_ahead)).replace(minute=0, second=0, microsecond=0)
        group = inventory.create_group(
            SYSTEM,
            name="Office",
            time_zone="UTC",
            maintenance_start=opens.time(),
            maintenance_end=(opens + timedelta(hours=1)).time(),
            **fields,
        )
        inventory.update_device(SYSTEM, Device.objects.get(pk=bench.device.pk), group=group)
        return opens

    def test_a_renewal_waits_for_the_window(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue())
        opens = self.opens_in(bench, 5)
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, row.tries) == ("issued", OUTSIDE_WINDOW, 0)
        assert row.next_action_at == opens
        assert bench.delivery_step(key).state == "verified"

    def test_the_first_certificate_does_not(self, bench: Bench) -> None:
        self.opens_in(bench, 5)
        assert bench.delivery_step(bench.issue()).state == "verified"

    @pytest.mark.parametrize(("days", "state"), [(20, "verified"), (18, "issued")])
    def test_nor_does_one_when_expiry_is_near(self, bench: Bench, days: int, state: str) -> None:
        bench.delivered_to_the_end(bench.issue(days=20))
        self.opens_in(bench, 5, urgent_days=days)
        assert bench.delivery_step(bench.issue()).state == state
