"""Restart settings, identity, the try of a connector, keys by hand, and searches, over REST."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices import doorbell
from devices.delivery import identify
from devices.delivery.connectors.base import Identity
from devices.models import AuditEvent, Device, FoundDevice, RestartSettings
from tests.devices.delivery.test_download import real_key
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db

ROOT = "/api/v1"
COMMUNITY = "community-of-the-device"


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_searches", lambda: True)


class TestRestartSettings:
    def test_secrets_go_in_and_never_come_out(self, api: APIClient) -> None:
        address = f"{ROOT}/devices/{make_device().pk}/restart-settings/"
        assert api.get(address).json() == {
            "idle_minutes": 9,
            "when_busy": "give_up",
            "restart_over_snmp": False,
            "snmp": {},
            "snmp_secrets_set": [],
            "snmp_secrets_held": False,
        }
        sent = {"restart_over_snmp": True, "snmp": {"version": "2c", "community": COMMUNITY}}
        response = api.patch(address, sent)
        assert response.status_code == 200
        assert response.json()["snmp"] == {"version": "2c"}
        assert response.json()["snmp_secrets_set"] == ["community"]
        # GET, edit, PUT works and keeps them
        assert api.put(address, api.get(address).json() | {"idle_minutes": 30}).status_code == 200
        row = RestartSettings.objects.get()
        assert (row.idle_minutes, row.snmp_device().target.secrets) == (30, {"community": COMMUNITY})
        for text in (api.get(address).content.decode(), str(list(AuditEvent.objects.values()))):
            assert COMMUNITY not in text

    @pytest.mark.parametrize(
        ("sent", "field"),
        [
            ({"idle_minutes": 9999}, "idle_minutes"),
            ({"when_busy": "x"}, "when_busy"),
            ({"snmp": {"version": "3"}}, "snmp"),
            ({"snmp": 5}, "snmp"),
            ({"speed": 5}, "speed"),
        ],
    )
    def test_what_does_not_fit_is_named(self, api: APIClient, sent: dict[str, Any], field: str) -> None:
        response = api.patch(f"{ROOT}/devices/{make_device().pk}/restart-settings/", sent)
        assert (response.status_code, list(response.json()["errors"])) == (400, [field])

    def test_a_version_that_was_changed_meanwhile(self, api: APIClient) -> None:
        address = f"{ROOT}/devices/{make_device().pk}/restart-settings/"
        version = api.get(address)["ETag"]
        assert api.patch(address, {"idle_minutes": 1}, HTTP_IF_MATCH=version).status_code == 200
        assert api.patch(address, {"idle_minutes": 2}, HTTP_IF_MATCH=version).status_code == 412


class TestIdentity:
    def test_what_differs_is_shown(self, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
        told = Identity("Example", "MFP", "A1", "")
        monkeypatch.setattr(identify, "_ways", lambda _device: {"IPP": lambda: told})
        device = make_device(vendor="Example", serial_number="OLD")
        answer = api.post(f"{ROOT}/devices/{device.pk}/identity/").json()
        assert answer["answered_by"] == ["IPP"]
        assert answer["differences"] == [
            {"field": "model", "stored": "", "found": "MFP"},
            {"field": "serial_number", "stored": "OLD", "found": "A1"},
        ]
        device.refresh_from_db()
        assert device.serial_number == "OLD"

    def test_no_answer_is_a_conflict(self, api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identify, "_ways", lambda _device: {})
        response = api.post(f"{ROOT}/devices/{make_device().pk}/identity/")
        assert (response.status_code, response.json()["code"]) == (409, "not_identified")


class TestConnectors:
    def test_each_says_what_it_wants_to_know_and_what_nobody_tried(self, api: APIClient) -> None:
        found = {each["name"]: each for each in api.get(f"{ROOT}/connectors/").json()["connectors"]}
        assert {"virtual", "sftp", "http_upload", "download"} <= set(found)
        profile = next(each for each in found["http_upload"]["settings"] if each["name"] == "profile")
        labels = {each["value"]: each["label"] for each in profile["choices"]}
        assert "not tried on hardware" in labels["brother"]
        password = next(each for each in found["sftp"]["settings"] if each["name"] == "password")
        assert password["is_secret"]
        assert found["sftp"]["can_test"]
        assert not found["download"]["can_test"]

    def test_a_try_tells_what_it_found(self, api: APIClient) -> None:
        settings = {"profile": "generic", "password": "s3cret-of-it", "login": "none"}
        device = make_device(host="127.0.0.1", connector="http_upload", connector_settings=settings)
        answer = api.post(f"{ROOT}/devices/{device.pk}/connector-test/").json()
        assert [each["is_good"] for each in answer["findings"]] == [False]
        assert "s3cret-of-it" not in str(answer)
        event = AuditEvent.objects.get(action="device.connector_test")
        assert event.changes == {"good": False}

    def test_one_that_cannot(self, api: APIClient) -> None:
        response = api.post(f"{ROOT}/devices/{make_device().pk}/connector-test/")
        assert (response.status_code, response.json()["code"]) == (409, "connector_cannot_test")


class TestPkcs12:
    def test_once(self, api: APIClient) -> None:
        key = real_key()
        address = f"{ROOT}/devices/{key.device_id}/keys/{key.pk}/pkcs12/"
        response = api.post(address, headers={"Idempotency-Key": "k-1"})
        assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
        answer = response.json()
        private_key, certificate, chain = pkcs12.load_key_and_certificates(
            base64.b64decode(answer["pkcs12"]), answer["password"].encode()
        )
        assert private_key is not None
        assert certificate is not None
        assert len(chain) == 1
        # neither sent again nor asked anew does it come a second time
        again = api.post(address, headers={"Idempotency-Key": "k-1"})
        assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
        assert api.post(address).json()["code"] == "already_fetched"
        assert answer["password"] not in str(list(AuditEvent.objects.values()))

    def test_for_other_connectors_it_has_no_way_out(self, api: APIClient, operator_api: APIClient) -> None:
        key = make_key(make_device())
        address = f"{ROOT}/devices/{key.device_id}/keys/{key.pk}/pkcs12/"
        assert api.post(address).json()["code"] == "connector_is_not_download"
        assert operator_api.post(address).status_code == 403
        assert api.post(f"{ROOT}/devices/{key.device_id}/keys/{key.pk + 1}/pkcs12/").status_code == 404


def found(host: str, **fields: Any) -> FoundDevice:
    return FoundDevice.objects.create(host=host, answered_by="IPP", found_at=datetime.now(UTC), **fields)


class TestSearches:
    def test_one_is_started_watched_and_canceled(self, api: APIClient) -> None:
        sent = {"network": "127.0.0.0/24", "snmp": {"version": "2c", "community": COMMUNITY}}
        response = api.post(f"{ROOT}/device-searches/", sent)
        assert response.status_code == 202
        made = response.json()
        assert (made["state"], made["total"], made["position"]) == ("waiting", 254, 0)
        assert COMMUNITY not in response.content.decode()
        address = f"{ROOT}/device-searches/{made['id']}/"
        assert COMMUNITY not in api.get(address).content.decode()
        assert api.post(f"{address}cancel/").json()["state"] == "canceled"
        assert api.post(f"{address}cancel/").json()["code"] == "search_ended"

    @pytest.mark.parametrize(
        ("sent", "field"),
        [
            ({"network": "10.0.0.0/8"}, "network"),
            ({}, "network"),
            ({"network": "127.0.0.0/30", "snmp": {"version": "2c"}}, "snmp"),
            ({"network": "127.0.0.0/30", "ipp_port": 0}, "ipp_port"),
        ],
    )
    def test_what_does_not_fit_is_named(self, api: APIClient, sent: dict[str, Any], field: str) -> None:
        response = api.post(f"{ROOT}/device-searches/", sent)
        assert (response.status_code, list(response.json()["errors"])) == (400, [field])

    def test_operators_search_nothing_and_add_what_was_found(self, operator_api: APIClient) -> None:
        assert operator_api.post(f"{ROOT}/device-searches/", {"network": "127.0.0.0/30"}).status_code == 403
        row = found("10.1.1.1", model="MFP")
        response = operator_api.post(f"{ROOT}/found-devices/add/", {"found": [row.pk]})
        assert response.status_code == 201
        assert [each["host"] for each in response.json()] == ["10.1.1.1"]
        assert operator_api.delete(f"{ROOT}/found-devices/{row.pk}/").status_code == 403

    def test_what_was_found_is_listed_added_and_taken_off(self, api: APIClient) -> None:
        make_device(host="10.1.1.1")
        known, new = found("10.1.1.1"), found("10.1.1.2", serial_number="A1")
        listed = api.get(f"{ROOT}/found-devices/").json()["results"]
        assert [(each["host"], each["is_known"]) for each in listed] == [
            ("10.1.1.1", True),
            ("10.1.1.2", False),
        ]
        narrowed = api.get(f"{ROOT}/found-devices/?is_known=false").json()["results"]
        assert [each["id"] for each in narrowed] == [new.pk]
        response = api.post(f"{ROOT}/found-devices/add/", {"found": [known.pk, new.pk]})
        assert (response.status_code, response.json()["code"]) == (409, "device_known")
        assert Device.objects.count() == 1
        assert api.delete(f"{ROOT}/found-devices/{known.pk}/").status_code == 204
        assert not FoundDevice.objects.filter(pk=known.pk).exists()

    def test_no_query_per_row(self, api: APIClient) -> None:
        counts = []
        for start in (0, 3, 6):
            for number in range(start, start + 3):
                found(f"10.1.1.{number}", serial_number=str(number))
            with CaptureQueriesContext(connection) as captured:
                assert api.get(f"{ROOT}/found-devices/").status_code == 200
            counts.append(len(captured))
        assert counts[1] == counts[2]
