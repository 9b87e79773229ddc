"""The aggregate of all status logs (F1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device, IssuanceRequest, KeyAndCertificate, summary
from devices.rules.lifecycle import State
from devices.statistics import HOURS, fleet_overview
from tests.devices.factories import make_device, make_key, make_server, make_timed_device

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def ended(device: Device, state: State, *, details: str = "", ago: timedelta = timedelta()) -> None:
    """A line of the device's log that ended `ago`."""
    IssuanceRequest.objects.create(
        device=device,
        sequence=device.requests.count() + 1,
        trigger="manual",
        state=state,
        details=details,
        request_at=NOW - ago,
        completed_at=NOW - ago,
    )
    summary.refresh([device.pk])


def test_it_counts_what_the_logs_say() -> None:
    good, bad, deferred, fresh = (make_device() for _ in range(4))
    waiting = make_timed_device(make_server())
    ended(good, State.FAILED, details="Deferred", ago=timedelta(hours=2))
    ended(good, State.SUCCESSFUL, ago=timedelta(minutes=10))
    ended(bad, State.FAILED, details="Communication Error (TOP ERROR)", ago=timedelta(hours=30))
    ended(deferred, State.FAILED, details="Communication Error (TOP ERROR)")
    make_key(good)
    overview = fleet_overview(NOW)
    assert overview.total == 5
    assert overview.by_status == {"to_be_processed": 1, "processing": 0, "error": 2, "successful": 1, "": 1}
    assert overview.timers_on == 1
    assert overview.failures == [("Communication Error (TOP ERROR)", 2)]
    assert [request.device for request in overview.due] == [waiting]
    assert [key.device for key in overview.expiring] == [good]
    assert [request.device for request in overview.latest] == [deferred, good, good, bad]
    assert len(overview.hours) == HOURS
    assert overview.hours[-1].start == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert (overview.hours[-1].successful, overview.hours[-1].error) == (1, 1)
    assert overview.hours[-3].error == 1
    assert sum(hour.error for hour in overview.hours) == 2, "30 hours ago is not within the last 24"
    assert fresh.status == ""


def test_what_is_of_one_moment_comes_in_one_order() -> None:
    names = ["Deferred", "Communication Error (TOP ERROR)"]
    devices = [make_device() for _ in range(6)]
    for number, device in enumerate(devices):
        ended(device, State.FAILED, details=names[number % 2])
    timed = [make_timed_device(make_server()) for _ in range(4)]
    keys = [make_key(device) for device in devices]
    # rows that are written anew lie elsewhere in the table
    for model in (IssuanceRequest, KeyAndCertificate):
        model.objects.filter(device__in=[devices[0], timed[0]]).update(server=None)
    overview = fleet_overview(NOW)
    assert [request.device for request in overview.latest] == devices[::-1]
    assert [request.device for request in overview.due] == timed
    assert overview.expiring == keys
    assert overview.failures == [(name, 3) for name in sorted(names)]


def test_its_cost_does_not_grow_with_the_fleet() -> None:
    server, counts = make_server(), []
    for devices in (2, 20):
        for _ in range(devices):
            ended(make_device(), State.SUCCESSFUL)
            make_timed_device(server)
        with CaptureQueriesContext(connection) as captured:
            overview = fleet_overview(NOW)
            _shown = [
                (request.device.name, request.device.group) for request in overview.latest + overview.due
            ]
        counts.append(len(captured))
    assert counts[0] == counts[1] == 10
