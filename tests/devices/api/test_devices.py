"""Devices, servers and groups over REST: what comes in, what goes out, and what is refused how."""

from __future__ import annotations

from base64 import b64encode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.models import AuditEvent, Device, DeviceGroup, ScepServer
from tests.devices.factories import PATIENCE, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"
SERVERS = "/api/v1/scep-servers/"


def test_a_device_goes_in_and_comes_out(api: APIClient) -> None:
    group = api.post("/api/v1/device-groups/", {"name": "HQ", "time_zone": "Europe/Berlin"}).json()
    sent = {
        "name": "mfp",
        "host": "10.0.0.1",
        "serial_number": "S1",
        "group": group["id"],
        "ipsec_destinations": ["hq"],
    }
    made = api.post(DEVICES, sent)
    assert made.status_code == 201
    assert sent.items() <= made.json().items()
    assert (made.json()["status"], made.json()["expires_at"]) == ("", None)
    address = f"{DEVICES}{made.json()['id']}/"
    got = api.get(address).json()
    got["location"] = "Lobby"
    assert api.put(address, got).status_code == 200, "GET, edit, PUT"
    assert api.patch(address, {"vendor": "Acme"}).json()["location"] == "Lobby"
    assert api.delete(address).status_code == 204
    assert not Device.objects.exists()
    actions = list(AuditEvent.objects.filter(source="api").order_by("pk").values_list("action", flat=True))
    assert actions == [
        "devicegroup.create",
        "device.create",
        "device.update",
        "device.update",
        "device.delete",
    ]


class TestMany:
    def test_a_list_is_stored(self, api: APIClient) -> None:
        rows = [{"name": f"mfp-{number}", "host": f"10.0.0.{number}"} for number in range(1, 200)]
        response = api.post(DEVICES, rows)
        assert response.status_code == 201
        assert [row["name"] for row in response.json()] == [row["name"] for row in rows]

    def test_with_no_query_per_row(self, api: APIClient) -> None:
        group, counts = DeviceGroup.objects.create(name="HQ").pk, []
        for prefix, number in (("a", 3), ("b", 60)):
            rows = [{"name": f"{prefix}{n}", "host": "10.0.0.1", "group": group} for n in range(number)]
            with CaptureQueriesContext(connection) as captured:
                assert api.post(DEVICES, rows).status_code == 201
            counts.append(len(captured))
        assert counts[1] <= counts[0] + 3, "a statement for many rows, not one for each"

    def test_one_bad_row_and_none_is_stored(self, api: APIClient) -> None:
        rows = [
            {"name": "a", "host": "10.0.0.1"},
            {"name": "b"},
            {"name": "c", "host": "10.0.0.1", "hots": "x"},
        ]
        response = api.post(DEVICES, rows)
        assert response.status_code == 400
        errors = response.json()["errors"]
        assert set(errors) == {"1", "2"}
        assert set(errors["1"]) == {"host"}
        assert "host" in errors["2"]["hots"][0], "what was meant"
        assert not Device.objects.exists()

    def test_doubles_within_the_list(self, api: APIClient) -> None:
        response = api.post(DEVICES, [{"name": "a", "host": "10.0.0.1"}, {"name": "a", "host": "10.0.0.2"}])
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {"1"}

    @pytest.mark.parametrize("body", [[], ["text"], "text", 5, [[]]])
    def test_what_is_no_device(self, api: APIClient, body: object) -> None:
        response = api.post(DEVICES, body, format="json")
        assert response.status_code == 400
        assert response.json()["errors"]


class TestLists:
    def test_they_are_filtered_and_sorted(self, api: APIClient) -> None:
        server = make_server()
        timed = make_timed_device(server)
        for name, location in (("alpha", "Berlin"), ("beta", "Berlin"), ("gamma", "Curitiba")):
            make_device(name=name, location=location)

        def names(**query: str) -> list[str]:
            return [row["name"] for row in api.get(DEVICES, query).json()["results"]]

        assert names(search="berlin", ordering="-name") == ["beta", "alpha"]
        assert names(status="to_be_processed") == names(server=str(server.pk)) == [timed.name]
        assert names(ordering="location", status="none") == ["alpha", "beta", "gamma"]

    def test_they_come_in_pages(self, api: APIClient) -> None:
        for number in range(7):
            make_device(name=f"mfp-{number}")
        seen, address = [], f"{DEVICES}?page_size=3"
        while address:
            page = api.get(address).json()
            assert set(page) == {"next", "previous", "results"}
            seen += [row["name"] for row in page["results"]]
            address = page["next"]
        assert seen == [f"mfp-{number}" for number in range(7)]

    @pytest.mark.parametrize(
        ("query", "field"), [({"status": "x"}, "status"), ({"ordering": "password"}, "ordering")]
    )
    def test_nonsense_is_refused_by_name(self, api: APIClient, query: dict[str, str], field: str) -> None:
        response = api.get(DEVICES, query)
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {field}

    @pytest.mark.parametrize("address", [DEVICES, "/api/v1/jobs/", "/api/v1/audit-events/"])
    @pytest.mark.parametrize(
        "cursor", ["x", "ñ", "p=\0", "p=abc", "r=1&p=", "o=-1", "o=" + "9" * 30, "p=" + "9" * 30]
    )
    def test_a_cursor_that_no_page_gave_is_refused(self, api: APIClient, address: str, cursor: str) -> None:
        make_device()
        for text in (cursor, b64encode(cursor.encode()).decode()):
            response = api.get(address, {"cursor": text})
            assert response.status_code in {200, 400}, response.content
            if response.status_code == 400:
                assert set(response.json()["errors"]) == {"cursor"}

    @pytest.mark.parametrize("address", [DEVICES, SERVERS, "/api/v1/device-groups/"])
    def test_they_cost_the_same_for_many_and_few(self, api: APIClient, address: str) -> None:
        counts = []
        for number in (3, 30):
            for index in range(number):
                make_device(make_server(), group=DeviceGroup.objects.create(name=f"{number}-{index}"))
            with CaptureQueriesContext(connection) as captured:
                assert len(api.get(address).json()["results"]) >= number
            counts.append(len(captured))
        assert counts[0] == counts[1]


class TestProblems:
    """One shape for every error (RFC 9457)."""

    def test_bad_values(self, api: APIClient) -> None:
        response = api.post(
            DEVICES, {"name": "", "host": "10.0.0.300", "key_limit": 0, "tls_enabled": "maybe"}
        )
        problem = response.json()
        assert response.status_code == problem["status"] == 400
        assert response["Content-Type"] == "application/problem+json"
        assert (problem["title"], problem["code"]) == ("Bad Request", "invalid")
        assert set(problem["errors"]) == {"name", "host", "key_limit", "tls_enabled"}

    def test_what_the_database_knows(self, api: APIClient) -> None:
        make_device(name="taken", serial_number="S1")
        response = api.post(DEVICES, {"name": "taken", "host": "10.0.0.1", "serial_number": "S1"})
        assert set(response.json()["errors"]) == {"name", "serial_number"}

    def test_a_conflict(self, api: APIClient) -> None:
        server = make_server()
        make_timed_device(server)
        for method, body, code in (
            ("patch", {"timeout": 9}, "timer_enabled"),
            ("delete", None, "server_in_use"),
        ):
            response = getattr(api, method)(f"{SERVERS}{server.pk}/", body)
            assert response.status_code == 409
            assert response.json()["code"] == code
            assert response.json()["detail"]
        assert ScepServer.objects.get().timeout == PATIENCE

    def test_no_such_thing(self, api: APIClient) -> None:
        for address in (f"{DEVICES}77/", f"{DEVICES}77/keys/", f"{DEVICES}77/scep-settings/"):
            response = api.get(address)
            assert (response.status_code, response.json()["code"]) == (404, "not_found")

    def test_no_json(self, api: APIClient) -> None:
        response = api.generic("POST", DEVICES, "{", content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (400, "parse_error")
        response = api.generic("POST", DEVICES, "a=1", content_type="application/x-www-form-urlencoded")
        assert response.status_code == 415

    def test_a_device_group_in_use(self, api: APIClient) -> None:
        group = DeviceGroup.objects.create(name="HQ")
        make_device(group=group)
        assert api.delete(f"/api/v1/device-groups/{group.pk}/").json()["code"] == "group_in_use"
