"""Devices, groups and servers: added, changed and removed, checked, audited, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.audit import Actor
from devices.enrollment import requests
from devices.errors import Conflict
from devices.models import AuditEvent, Device, IssuanceRequest, ScepServer, ScepSettings
from tests.devices.enrollment.test_requests import put_under_way
from tests.devices.factories import make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


def test_a_device_comes_with_its_settings_and_its_event(actor: Actor) -> None:
    device = inventory.create_device(actor, name="mfp", host="10.0.0.1")
    assert ScepSettings.objects.filter(device=device, timer_enabled=False).exists()
    event = AuditEvent.objects.get(action="device.create")
    assert (event.target_name, event.actor_name, event.address) == ("mfp", "administrator", "127.0.0.1")


def test_many_devices_are_all_or_nothing_with_every_bad_row(actor: Actor) -> None:
    make_device(name="taken", host="10.0.0.1")
    rows = [
        {"name": "good", "host": "10.0.0.2"},
        {"name": "taken", "host": "10.0.0.3"},
        {"name": "twice", "host": "10.0.0.4", "serial_number": "S1"},
        {"name": "twice", "host": "10.0.0.300", "serial_number": "S1"},
    ]
    with pytest.raises(ValidationError) as refused:
        inventory.create_devices(actor, rows)
    problems = refused.value.message_dict
    assert set(problems) == {"1", "3"}
    assert problems["1"][0].startswith("name: ")
    assert problems["3"][0].startswith("host: ")
    assert Device.objects.count() == 1


def test_many_devices_cost_no_query_per_row(actor: Actor) -> None:
    group = inventory.create_group(actor, name="HQ")
    counts = []
    for prefix, number in (("a", 3), ("b", 60)):
        rows = [{"name": f"{prefix}{i}", "host": "10.0.0.1", "group": group} for i in range(number)]
        with CaptureQueriesContext(connection) as captured:
            inventory.create_devices(actor, rows)
        counts.append(len(captured))
    # databases take a limited number of parameters at once: a statement for many rows, not one for each
    assert counts[1] <= counts[0] + 3


def test_a_change_is_audited_with_old_and_new(actor: Actor) -> None:
    device = make_device(location="Floor 1")
    inventory.update_device(actor, device, location="Floor 2", name=device.name)
    event = AuditEvent.objects.get(action="device.update")
    assert event.changes == {"location": ["Floor 1", "Floor 2"]}


def test_a_refused_change_changes_nothing(actor: Actor) -> None:
    device = make_device()
    with pytest.raises(ValidationError) as refused:
        inventory.update_device(actor, device, key_limit=0, location="x")
    assert set(refused.value.message_dict) == {"key_limit"}
    device.refresh_from_db()
    assert device.location == ""


def test_a_removed_device_leaves_its_events(actor: Actor) -> None:
    device = make_timed_device(make_server())
    inventory.delete_device(actor, device)
    assert not IssuanceRequest.objects.exists()
    assert AuditEvent.objects.filter(action="device.delete", target_name=device.name).exists()


def test_a_device_removed_while_a_request_is_under_way_leaves_its_transaction_id(actor: Actor) -> None:
    waiting, sent = make_timed_device(make_server()), make_timed_device(make_server())
    put_under_way(sent)
    for device in (waiting, sent):
        inventory.delete_device(actor, device)
    events = AuditEvent.objects.filter(action="device.delete").order_by("pk")
    assert [event.changes for event in events] == [{}, {"transaction_id": "t"}]
    assert not IssuanceRequest.objects.exists()


@pytest.mark.parametrize("change", [{"url": "http://127.0.0.1:9/scep"}, {"port": 8080}, {"timeout": 9}])
def test_r3_communication_settings_are_locked_while_a_timer_is_on(
    actor: Actor, change: dict[str, Any]
) -> None:
    server = make_server("http://ca.example.com/scep")
    devices = [make_timed_device(server) for _ in range(2)]
    with pytest.raises(Conflict, match="timers of 2 devices") as refused:
        inventory.update_server(actor, server, **change)
    assert refused.value.code == "timer_enabled"
    stored = ScepServer.objects.get()
    inventory.update_server(actor, stored, name="Renamed", ca_identifier="other")
    for device in devices:
        requests.save_settings(actor, device, timer_enabled=False)
    inventory.update_server(actor, stored, **change)
    assert {name: getattr(ScepServer.objects.get(), name) for name in change} == change


def test_a_changed_server_is_asked_anew(actor: Actor) -> None:
    server = make_server()
    ScepServer.objects.update(profile={"x": 1})
    inventory.update_server(actor, server, ca_identifier="other")
    assert ScepServer.objects.get().profile is None


def test_a_server_in_use_stays(actor: Actor) -> None:
    server = make_server()
    make_device(server)
    with pytest.raises(Conflict) as refused:
        inventory.delete_server(actor, server)
    assert refused.value.code == "server_in_use"
    assert not AuditEvent.objects.filter(action="scepserver.delete").exists()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "ftp://ca.example.com/"}, "url"),
        ({"url": "http://ca.example.com/scep?operation=x"}, "url"),
        ({"url": "http:///scep"}, "url"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 301}, "timeout"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"url": "http://ca:8080/", "port": 80}, "port"),
        ({"ca_fingerprint": "AB:CD"}, "ca_fingerprint"),
        ({"max_requests_at_once": 0}, "max_requests_at_once"),
    ],
)
def test_r2_bad_communication_settings_name_their_field(
    actor: Actor, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        inventory.create_server(actor, **{"name": "CA", "url": "http://ca/", **fields})
    assert set(refused.value.message_dict) == {field}


@pytest.mark.parametrize(
    ("url", "port", "endpoint"),
    [
        ("http://ca/scep", None, "http://ca/scep"),
        ("http://ca/scep", 8080, "http://ca:8080/scep"),
        ("https://[2001:db8::1]/scep", 8443, "https://[2001:db8::1]:8443/scep"),
        ("http://ca:8080/scep", 8080, "http://ca:8080/scep"),
    ],
)
def test_r2_the_port_goes_into_the_endpoint(url: str, port: int | None, endpoint: str) -> None:
    assert ScepServer(url=url, port=port).endpoint == endpoint
