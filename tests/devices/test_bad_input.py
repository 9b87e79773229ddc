"""Bad input is refused with the field named: by the services, over REST and in forms alike, and nothing is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from devices import inventory
from devices.audit import Actor
from devices.enrollment import requests
from devices.models import AuditEvent, Device, ScepServer, ScepSettings
from fleet.dashboard.forms import ScepSettingsForm
from tests.devices.factories import make_device, make_server
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

NOW = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
SOON = datetime(2099, 1, 1, 8, 0, tzinfo=UTC)

BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"polling_count": 101}, "polling_count"),
    ({"polling_count": -1}, "polling_count"),
    ({"polling_count": 3, "polling_interval_seconds": None}, "polling_interval_seconds"),
    ({"polling_count": 3, "polling_interval_seconds": 0}, "polling_interval_seconds"),
    ({"polling_interval_seconds": 86401}, "polling_interval_seconds"),
    ({"request_interval_days": 0}, "request_interval_days"),
    ({"request_interval_days": 3651}, "request_interval_days"),
    ({"renew_at_percent": 0}, "renew_at_percent"),
    ({"renew_at_percent": 100}, "renew_at_percent"),
    ({"renew_days_before": 0}, "renew_days_before"),
    ({"timer_enabled": True}, "request_start_at"),
    ({"timer_enabled": True, "request_start_at": datetime(2020, 1, 1, tzinfo=UTC)}, "request_start_at"),
    ({"timer_enabled": True, "request_start_at": SOON, "server": None}, "server"),
    ({"key_name": ""}, "key_name"),
    ({"key_name": "Schlüssel"}, "key_name"),
    ({"key_name": "K" * 65}, "key_name"),
    ({"signature_algorithm": "MD5"}, "signature_algorithm"),
    ({"key_length": 512}, "key_length"),
    ({"organization": "O" * 65}, "organization"),
    ({"common_name": "192.168.1.300"}, "common_name"),
    ({"common_name": "printer room 3"}, "common_name"),
    ({"common_name": "-printer.example.com"}, "common_name"),
    ({"common_name": "fe80::1::2"}, "common_name"),
    ({"key_use": "fax"}, "key_use"),
    ({"key_use": "ipsec"}, "ipsec_destination"),
    ({"key_use": "ipsec", "ipsec_destination": "nowhere"}, "ipsec_destination"),
    ({"key_use": "tls", "ipsec_destination": "hq"}, "ipsec_destination"),
]

BAD_SERVERS: list[tuple[dict[str, Any], str]] = [
    ({"url": "ca.example.com/scep"}, "url"),
    ({"url": "ftp://ca.example.com/scep"}, "url"),
    ({"url": "http:///scep"}, "url"),
    ({"url": "http://ca.example.com/scep?operation=GetCACaps"}, "url"),
    ({"url": "http://admin:secret@ca.example.com/scep"}, "url"),
    ({"port": 0}, "port"),
    ({"port": 65536}, "port"),
    ({"url": "http://ca.example.com:8080/scep", "port": 80}, "port"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": 301}, "timeout"),
    ({"ca_fingerprint": "12:34"}, "ca_fingerprint"),
    ({"max_requests_per_minute": 0}, "max_requests_per_minute"),
    ({"max_requests_at_once": 0}, "max_requests_at_once"),
    ({"name": ""}, "name"),
]


@pytest.fixture
def device() -> Device:
    return make_device(make_server(), ipsec_destinations=["hq"])


def as_form(values: dict[str, Any]) -> dict[str, str]:
    """`values` as a browser sends them: no field for an unticked box, the empty text for nothing."""
    sent = {}
    for name, value in values.items():
        if value is True:
            sent[name] = "on"
        elif isinstance(value, datetime):
            sent[name] = f"{value:%Y-%m-%dT%H:%M:%S}"
        elif value is not False:
            sent[name] = "" if value is None else str(getattr(value, "pk", value))
    return sent


def nothing_changed(device: Device) -> bool:
    return not AuditEvent.objects.filter(action="scep_settings.update", actor_name="administrator").exists()


@pytest.mark.parametrize(("fields", "field"), BAD_SETTINGS)
class TestSettings:
    def test_by_the_service(self, actor: Actor, device: Device, fields: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError) as refused:
            requests.save_settings(actor, device, now=NOW, **fields)
        assert set(refused.value.message_dict) == {field}
        assert nothing_changed(device)

    def test_over_rest(self, api: APIClient, device: Device, fields: dict[str, Any], field: str) -> None:
        response = api.patch(f"/api/v1/devices/{device.pk}/scep-settings/", fields)
        assert response.status_code == 400, response.content
        assert set(response.json()["errors"]) == {field}
        assert nothing_changed(device)

    def test_in_the_form(
        self, administrator_client: Client, device: Device, fields: dict[str, Any], field: str
    ) -> None:
        settings = ScepSettings.objects.get(device=device)
        stored = ScepSettingsForm(device=device, instance=settings)
        values = {name: stored[name].value() for name in stored.fields}
        address = reverse("device-settings", args=[device.pk])
        response = administrator_client.post(address, as_form({**values, **fields}))
        assert response.status_code == 422
        page = Document(response)
        (error,) = [element for element in page.elements if element.get("id") == f"id_{field}_error"]
        assert error.text
        assert "Nothing was saved" in page.text
        assert nothing_changed(device)


@pytest.mark.parametrize(("fields", "field"), BAD_SERVERS)
class TestServer:
    good = {"name": "New", "url": "http://ca.example.com/scep", "timeout": 30}

    def test_by_the_service(self, actor: Actor, fields: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError) as refused:
            inventory.create_server(actor, **{**self.good, **fields})
        assert set(refused.value.message_dict) == {field}
        assert not ScepServer.objects.exists()

    def test_over_rest(self, api: APIClient, fields: dict[str, Any], field: str) -> None:
        response = api.post("/api/v1/scep-servers/", {**self.good, **fields})
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {field}
        assert not ScepServer.objects.exists()

    def test_in_the_form(self, administrator_client: Client, fields: dict[str, Any], field: str) -> None:
        response = administrator_client.post(reverse("server-add"), as_form({**self.good, **fields}))
        assert response.status_code == 422
        assert [e for e in Document(response).elements if e.get("id") == f"id_{field}_error"]
        assert not ScepServer.objects.exists()


class TestStartInThePast:
    """A start that has passed asks for nothing, unless something follows it."""

    def save(self, actor: Actor, device: Device, **fields: Any) -> ScepSettings:
        return requests.save_settings(actor, device, now=NOW, timer_enabled=True, auto_adjust=False, **fields)

    @pytest.mark.parametrize("late", [timedelta(hours=1), timedelta(days=400)])
    def test_it_is_refused_when_nothing_follows(self, actor: Actor, device: Device, late: timedelta) -> None:
        with pytest.raises(ValidationError, match="in the past") as refused:
            self.save(actor, device, request_start_at=NOW - late)
        assert set(refused.value.message_dict) == {"request_start_at"}

    def test_who_took_a_while_over_the_form_meant_now(self, actor: Actor, device: Device) -> None:
        self.save(actor, device, request_start_at=NOW - timedelta(minutes=59))
        device.refresh_from_db()
        assert device.next_request_at == NOW - timedelta(minutes=59)

    @pytest.mark.parametrize(
        "follows", [{"request_interval_days": 90}, {"renew_at_percent": 70}, {"renew_days_before": 30}]
    )
    def test_with_something_to_follow_the_first_is_sent_at_once(
        self, actor: Actor, device: Device, follows: dict[str, int]
    ) -> None:
        self.save(actor, device, request_start_at=NOW - timedelta(days=400), **follows)

    def test_other_settings_of_a_timer_that_ran_long_ago_can_still_change(
        self, actor: Actor, device: Device
    ) -> None:
        self.save(actor, device, request_start_at=NOW)
        later = NOW + timedelta(days=30)
        requests.save_settings(actor, device, now=later, organization="Example")
        assert ScepSettings.objects.get(device=device).organization == "Example"


def test_every_field_of_the_settings_that_can_be_wrong_is_tried() -> None:
    tried = {field for _, field in BAD_SETTINGS}
    # what has two values only, or any, has nothing to get wrong
    assert set(requests.SETTINGS_FIELDS) - tried == {
        "timer_enabled",
        "auto_adjust",
        "auto_restart",
        "delete_old_key",
    }


def test_every_wrong_field_is_named_at_once(api: APIClient, device: Device) -> None:
    wrong = {"polling_count": 101, "key_length": 512, "common_name": "192.168.1.300"}
    response = api.patch(f"/api/v1/devices/{device.pk}/scep-settings/", wrong)
    assert set(response.json()["errors"]) == set(wrong)
