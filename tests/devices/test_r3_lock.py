"""R3: communication settings are locked while timers are on, and the way on loses no schedule."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from devices import inventory
from devices.audit import Actor
from devices.enrollment import requests
from devices.errors import Conflict
from devices.models import AuditEvent, Device, IssuanceRequest, ScepServer, ScepSettings
from tests.devices.conftest import client_of
from tests.devices.enrollment.test_requests import put_under_way
from tests.devices.factories import PATIENCE, just_passed, make_server, make_timed_device

pytestmark = pytest.mark.django_db

NEW_URL = "http://ca2.example.com/scep"


def schedule() -> list[tuple[Any, ...]]:
    """Everything that a timer's schedule consists of."""
    settings = ScepSettings.objects.order_by("pk").values_list(
        "timer_enabled", "request_start_at", "offset_seconds"
    )
    rows = IssuanceRequest.objects.order_by("pk").values_list("pk", "state", "request_at", "next_action_at")
    return [*settings, *rows]


@pytest.fixture
def server() -> ScepServer:
    server = make_server("http://ca.example.com/scep")
    for _ in range(3):
        make_timed_device(server, auto_adjust=True, request_interval_days=30)
    return server


class TestServer:
    def test_the_refusal_counts_the_devices_and_names_the_way_on(
        self, actor: Actor, server: ScepServer
    ) -> None:
        with pytest.raises(Conflict, match="timers of 3 devices") as refused:
            inventory.update_server(actor, server, url=NEW_URL)
        assert "suspend_timers" in str(refused.value)
        assert ScepServer.objects.get().url == "http://ca.example.com/scep"

    def test_suspend_update_resume_is_one_operation_that_loses_no_schedule(
        self, actor: Actor, server: ScepServer
    ) -> None:
        before = schedule()
        inventory.update_server(actor, server, suspend_timers=True, url=NEW_URL, timeout=9)
        assert schedule() == before
        assert ScepServer.objects.get().endpoint == NEW_URL
        (event,) = AuditEvent.objects.filter(action="scepserver.update")
        assert event.changes == {
            "url": ["http://ca.example.com/scep", NEW_URL],
            "timeout": [PATIENCE, 9],
            "suspended_timers": 3,
        }

    def test_bad_values_suspend_nothing(self, actor: Actor, server: ScepServer) -> None:
        before = schedule()
        with pytest.raises(Exception, match="timeout"):
            inventory.update_server(actor, server, suspend_timers=True, url=NEW_URL, timeout=0)
        assert schedule() == before
        assert ScepServer.objects.get().url == "http://ca.example.com/scep"

    def test_over_rest(self, administrator: Any, server: ScepServer) -> None:
        api: APIClient = client_of(administrator)
        address = f"/api/v1/scep-servers/{server.pk}/"
        refused = api.patch(address, {"url": NEW_URL})
        assert (refused.status_code, refused.json()["code"]) == (409, "timer_enabled")
        changed = api.patch(address, {"url": NEW_URL, "suspend_timers": True})
        assert (changed.status_code, changed.json()["url"]) == (200, NEW_URL)
        assert "suspend_timers" not in changed.json()
        made = api.post("/api/v1/scep-servers/", {"name": "New", "url": NEW_URL, "suspend_timers": True})
        assert made.status_code == 201

    def test_in_the_dashboard(self, administrator_client: Client, server: ScepServer) -> None:
        address = reverse("server-edit", args=[server.pk])
        page = administrator_client.get(address).content.decode()
        assert "locked while 3 timers are on" in page
        assert 'href="?suspend=1"' in page
        before = schedule()
        values = {
            "name": server.name,
            "url": NEW_URL,
            "port": "",
            "timeout": str(PATIENCE),
            "renewal_form": server.renewal_form,
        }
        assert administrator_client.post(f"{address}?suspend=1", values).status_code == 302
        assert ScepServer.objects.get().url == NEW_URL
        assert schedule() == before


class TestDevice:
    @pytest.fixture
    def device(self, server: ScepServer) -> Device:
        return Device.objects.order_by("pk")[0]

    def test_suspended_the_device_changes_its_server_and_keeps_its_schedule(
        self, actor: Actor, device: Device
    ) -> None:
        before, other = schedule(), make_server()
        requests.save_settings(actor, device, suspend_timers=True, server=other)
        assert schedule() == before
        assert IssuanceRequest.objects.get(device=device).server == other
        event = AuditEvent.objects.filter(action="scep_settings.update").latest("pk")
        assert event.changes["suspended_timers"] == 1

    def test_not_while_a_request_is_under_way(self, actor: Actor, device: Device) -> None:
        put_under_way(device)
        with pytest.raises(Conflict) as refused:
            requests.save_settings(actor, device, suspend_timers=True, server=make_server())
        assert refused.value.code == "request_open"

    def test_in_the_dashboard(self, administrator_client: Client, device: Device) -> None:
        address, other = reverse("device-settings", args=[device.pk]), make_server()
        assert 'href="?suspend=1"' in administrator_client.get(address).content.decode()
        values = {
            "server": other.pk,
            "timer_enabled": "on",
            "request_start_at": just_passed().strftime("%Y-%m-%dT%H:%M:%S"),
            "auto_adjust": "on",
            "polling_count": "0",
            "polling_interval_seconds": "60",
            "request_interval_days": "30",
            "key_name": "SCEP",
            "signature_algorithm": "SHA-256",
            "key_length": "2048",
            "key_use": "none",
        }
        response = administrator_client.post(f"{address}?suspend=1", values)
        assert response.status_code == 302, response.content.decode()
        assert ScepSettings.objects.get(device=device).server == other
