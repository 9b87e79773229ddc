"""Connectors and restarts over REST (R7)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from devices.delivery.connectors import registry
from devices.delivery.connectors.virtual import VirtualConnector
from devices.models import AuditEvent, Device, Restart
from tests.devices.delivery.doubles import PASSWORD, URL, Secretive
from tests.devices.factories import VIRTUAL, make_device

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"


def of(device: Device) -> str:
    return f"{DEVICES}{device.pk}/restarts/"


class TestRestarts:
    def test_r7_one_is_asked_for_and_seen(self, api: APIClient) -> None:
        device = make_device(**VIRTUAL)
        made = api.post(of(device), {})
        assert made.status_code == 201
        expected = {"state": "waiting", "trigger": "manual", "asked_by": "administrator", "explanation": ""}
        assert expected.items() <= made.json().items()
        assert made.json()["completed_at"] is None
        assert api.get(of(device)).json()["results"] == [made.json()]
        assert api.get(f"{of(device)}{made.json()['id']}/").json() == made.json()
        assert AuditEvent.objects.get(action="restart.create").source == "api"

    @pytest.mark.parametrize(
        ("fields", "again", "code"),
        [({}, False, "no_connector"), (VIRTUAL, True, "restart_open")],
    )
    def test_conflicts(self, api: APIClient, fields: dict[str, Any], again: bool, code: str) -> None:
        device = make_device(**fields)
        if again:
            assert api.post(of(device)).status_code == 201
        response = api.post(of(device))
        assert (response.status_code, response.json()["code"]) == (409, code)

    def test_unknown_names_are_refused(self, api: APIClient) -> None:
        response = api.post(of(make_device(**VIRTUAL)), {"force": True})
        assert (response.status_code, set(response.json()["errors"])) == (400, {"force"})
        assert not Restart.objects.exists()

    def test_newest_first_at_one_cost(self, api: APIClient) -> None:
        device, counts = make_device(**VIRTUAL), []
        for number in (3, 12):
            for _ in range(number):
                now = timezone.now()
                Restart.objects.create(
                    device=device, trigger="manual", state="failed", created_at=now, completed_at=now
                )
            with CaptureQueriesContext(connection) as captured:
                rows = api.get(of(device)).json()["results"]
            counts.append(len(captured))
            assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
        assert counts[0] == counts[1]

    def test_a_job_restarts_a_selection(self, api: APIClient) -> None:
        devices = [make_device(**VIRTUAL), make_device()]
        body: dict[str, Any] = {"kind": "restart", "devices": [device.pk for device in devices]}
        assert api.post("/api/v1/jobs/", body).status_code == 202
        response = api.post("/api/v1/jobs/", body | {"parameters": {"force": True}})
        assert (response.status_code, set(response.json()["errors"])) == (400, {"parameters"})


class TestConnectors:
    def test_settings_go_in_and_come_out(self, api: APIClient) -> None:
        made = api.post(DEVICES, {"name": "mfp", "host": "10.0.0.1", **VIRTUAL})
        assert made.status_code == 201
        assert {**VIRTUAL, "connector_secrets_set": []}.items() <= made.json().items()
        address = f"{DEVICES}{made.json()['id']}/"
        assert (
            api.put(address, api.get(address).json() | {"connector_settings": {"url": URL}}).status_code
            == 200
        )
        assert api.get(address).json()["connector_settings"] == {"url": URL}
        assert api.patch(address, {"location": "Lobby"}).json()["connector_settings"] == {"url": URL}

    def test_choices_in_any_spelling(self, api: APIClient) -> None:
        device = make_device(**VIRTUAL)
        assert api.patch(f"{DEVICES}{device.pk}/", {"connector": "None"}).json()["connector"] == "none"

    @pytest.mark.parametrize(
        ("sent", "field", "words"),
        [
            ({"connector": "pigeon"}, "connector", "choose one of none, virtual"),
            ({"connector": "virtual"}, "connector_settings", "url: This setting is required."),
            (
                {"connector": "virtual", "connector_settings": {"uri": URL}},
                "connector_settings",
                "Known are: url",
            ),
            ({"connector": "virtual", "connector_settings": {"url": 5}}, "connector_settings", "url: A text"),
            ({"connector": "virtual", "connector_settings": "x"}, "connector_settings", "dictionary"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, api: APIClient, sent: dict[str, Any], field: str, words: str
    ) -> None:
        response = api.patch(f"{DEVICES}{make_device().pk}/", sent)
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {field}
        assert words in " ".join(response.json()["errors"][field])

    def test_secrets_are_write_only(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(registry, "known", lambda: {"secretive": Secretive, "virtual": VirtualConnector})
        sent = {"connector": "secretive", "connector_settings": {"port": 1, "password": PASSWORD}}
        made = api.post(DEVICES, {"name": "mfp", "host": "10.0.0.1", **sent})
        assert made.status_code == 201
        address = f"{DEVICES}{made.json()['id']}/"
        got = api.get(address).json()
        assert (got["connector_settings"], got["connector_secrets_set"]) == ({"port": 1}, ["password"])
        assert api.put(address, got).status_code == 200, "GET, edit, PUT"
        device = Device.objects.get()
        assert device.connect().target.secrets == {"password": PASSWORD}
        stored = bytes(device.connector_secrets_encrypted or b"")
        for body in (made.content, api.get(address).content, api.get(DEVICES).content):
            assert PASSWORD.encode() not in body
            assert stored not in body
        assert PASSWORD not in caplog.text

    def test_an_operator_who_moves_a_device_sees_that_its_password_is_held(
        self, api: APIClient, operator_api: APIClient
    ) -> None:
        device = make_device(connector="pappl", connector_settings={"password": PASSWORD})
        address = f"{DEVICES}{device.pk}/"
        got = operator_api.get(address).json()
        assert (got["connector_secrets_set"], got["connector_secrets_held"]) == (["password"], False)
        assert operator_api.patch(address, {"host": "10.6.6.6"}).json()["connector_secrets_held"] is True
        refused = operator_api.post(f"{address}connector-test/")
        assert refused.status_code == 409
        assert api.patch(address, {"host": "10.6.6.6"}).json()["connector_secrets_held"] is False
