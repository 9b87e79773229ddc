"""The load forecast of the fleet (F1): the same as looking at every device, and the cost of a few queries."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.forecast import forecast, groups_of, scheduled, waves_of
from devices.models import Device, IssuanceRequest, KeyAndCertificate, ScepServer
from devices.rules.lifecycle import State
from devices.rules.load import ASSUMED_PER_MINUTE, EPOCH, minute_of
from devices.rules.schedule import Period, next_period
from tests.devices.factories import make_device, make_key, make_server, make_timed_device

pytestmark = pytest.mark.django_db

NOW = datetime(2087, 5, 5, 9, 30, 20, tzinfo=UTC)
END = NOW + timedelta(days=90)


def one_by_one(server: ScepServer) -> Counter[int]:
    """The load as somebody would count it who looks at every device and follows its requests through time."""
    load: Counter[int] = Counter()
    for request in IssuanceRequest.objects.filter(server=server, state=State.SCHEDULED):
        settings = request.device.scep_settings
        minute = max(minute_of(request.request_at), minute_of(NOW))
        period, validity = Period(), None
        if settings.timer_enabled and request.trigger != "manual":
            period = Period(
                settings.request_interval_days, settings.renew_at_percent, settings.renew_days_before
            )
            key = KeyAndCertificate.objects.filter(
                device=request.device,
                key_use=settings.key_use,
                ipsec_destination=settings.ipsec_destination,
            ).first()
            validity = (key.not_before, key.not_after) if key else None
        while minute < minute_of(END):
            load[minute] += 1
            at = EPOCH + timedelta(minutes=minute)
            shifted = None if validity is None else (at, at + (validity[1] - validity[0]))
            following = next_period(
                ended_at=at, request_at=at, successful=True, period=period, validity=shifted
            )
            if following is None:
                break
            minute = minute_of(following)
    return load


def a_fleet_of_all_kinds(servers: list[ScepServer], count: int = 40) -> list[Device]:
    """Devices with every combination of rules, times and certificates; the dice have a fixed seed."""
    dice = random.Random(8894)
    made = []
    for number in range(count):
        settings: dict[str, Any] = {
            "request_start_at": NOW + timedelta(hours=dice.choice([1, 2, 30, 700, 3000]), seconds=number),
            "auto_adjust": number % 2 == 0,
            "request_interval_days": dice.choice([None, 1, 7, 30]),
            "renew_at_percent": dice.choice([None, 50, 80]),
            "renew_days_before": dice.choice([None, 5, 100]),
            "key_use": dice.choice(["tls", "none"]),
        }
        device = make_timed_device(servers[number % len(servers)], **settings)
        if number % 3:
            lifetime = timedelta(days=dice.choice([1, 20, 90]))
            make_key(device, key_use=settings["key_use"], not_before=NOW, not_after=NOW + lifetime)
            make_key(
                device,
                name="Old",
                not_before=NOW,
                not_after=NOW + timedelta(days=3),
                issued_at=NOW - timedelta(days=9000),
            )
        made.append(device)
    return made


def test_f1_the_forecast_is_what_looking_at_every_device_gives() -> None:
    servers = [make_server(), make_server(max_requests_per_minute=10), make_server()]
    made = a_fleet_of_all_kinds(servers[:2])
    # overdue, held by a dispatcher, under way, ended, and asked for by hand
    overdue = IssuanceRequest.objects.filter(device=made[0])
    overdue.update(request_at=NOW - timedelta(days=2), next_action_at=NOW - timedelta(days=2))
    held = IssuanceRequest.objects.filter(device=made[1])
    held.update(request_at=NOW, next_action_at=NOW + timedelta(minutes=2))
    by_hand = make_device(servers[0])
    requests.request_certificate(SYSTEM, by_hand, ring=False)
    IssuanceRequest.objects.filter(device=made[3]).update(
        state=State.FAILED, completed_at=NOW, next_action_at=None
    )
    loads = forecast(servers, now=NOW, end=END)
    assert [load.server for load in loads] == servers
    for load in loads:
        assert load.load == one_by_one(load.server)
    assert loads[0].load[minute_of(NOW)] == 2, "the overdue one, and the one asked for by hand"
    assert loads[2].load == {}


def test_f1_allowances_and_what_stands_in_for_them() -> None:
    servers = [make_server(), make_server(max_requests_per_minute=10)]
    with_own, without = reversed(forecast(servers, now=NOW, end=END))
    assert (with_own.per_minute, with_own.is_assumed) == (10, False)
    assert (without.per_minute, without.is_assumed) == (ASSUMED_PER_MINUTE, True) == (60, True)


def test_f1_it_costs_one_query_and_no_row_per_device() -> None:
    server, rows = make_server(), []
    for devices in (2, 30):
        for _ in range(devices):
            make_timed_device(server, request_start_at=NOW + timedelta(hours=3), request_interval_days=30)
        with CaptureQueriesContext(connection) as captured:
            (load,) = forecast([server], now=NOW, end=END)
        assert len(captured) == 1
        rows.append(len(waves_of(scheduled([server.pk], END))[server.pk]))
    assert rows == [1, 1], "one group for all devices with one time and one period"
    assert set(load.load.values()) == {32}
    assert len(load.load) == 3, "in 3 hours, in 30 days and in 60"


def test_which_groups_the_load_comes_from() -> None:
    server, other = make_server(), make_server()
    group = inventory.create_group(SYSTEM, name="HQ")
    soon = {"request_start_at": NOW + timedelta(hours=1), "request_interval_days": 30}
    for number in range(5):
        device = make_timed_device(server, **soon)
        if number:
            inventory.update_device(SYSTEM, device, group=group)
    make_timed_device(server, request_start_at=END + timedelta(days=1))
    assert groups_of([server, other], end=END) == {server.pk: [(group.pk, "HQ", 4), (None, "", 1)]}
