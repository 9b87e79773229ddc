"""Templates over REST: kept, previewed for a selection, and applied by a job."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.models import AuditEvent, Device, Job, ScepServer, ScepSettings, SettingsTemplate
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device
from tests.devices.transfer.files import work

pytestmark = pytest.mark.django_db

TEMPLATES, JOBS = "/api/v1/settings-templates/", "/api/v1/jobs/"


@pytest.fixture
def server() -> ScepServer:
    return make_server(name="New CA")


@pytest.fixture
def template_id(api: APIClient, server: ScepServer) -> int:
    settings = {"server": server.pk, "key_length": 3072}
    made: int = api.post(TEMPLATES, {"name": "Office", "settings": settings}).json()["id"]
    return made


@pytest.fixture
def fleet(server: ScepServer) -> list[Device]:
    """One for each outcome: changes, nothing changes, refused."""
    old = make_server(name="Old CA")
    return [
        make_device(old, name="a", location="Berlin"),
        make_device(server, name="b", settings={"key_length": 3072}),
        make_timed_device(old),
    ]


def test_a_template_is_kept(api: APIClient, server: ScepServer) -> None:
    settings = {
        "server": server.pk,
        "request_start_at": "2087-03-01T07:00:00",
        "signature_algorithm": "sha384",
        "key_use": "IEEE 802.1X",
        "request_interval_days": None,
    }
    body = {"name": "Office", "settings": settings, "challenge_password": CHALLENGE}
    response = api.post(TEMPLATES, body)
    assert response.status_code == 201, response.content
    made = response.json()
    kept = settings | {"signature_algorithm": "SHA-384", "key_use": "ieee_802_1x"}
    assert made == {
        "id": made["id"],
        "name": "Office",
        "description": "",
        "settings": kept,
        "has_challenge_password": True,
    }
    address = f"{TEMPLATES}{made['id']}/"
    assert api.get(address).json() == made
    assert api.put(address, made).json() == made, "GET, edit, PUT works"
    changed = api.patch(address, {"settings": {"key_length": 4096}}).json()
    assert changed["settings"] == {"key_length": 4096}, "settings are replaced as a whole"
    assert changed["has_challenge_password"], "left out stays"
    assert not api.patch(address, {"challenge_password": ""}).json()["has_challenge_password"]
    assert api.delete(address).status_code == 204
    assert not SettingsTemplate.objects.exists()
    sources = AuditEvent.objects.filter(target_type="settingstemplate").values_list("source", flat=True)
    assert {*sources} == {"api"}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"settings": {"key_length": 2048}}, {"name"}),
        ({"name": "x"}, {"settings"}),
        ({"name": "x", "settings": {}}, {"settings"}),
        ({"name": "x", "settings": [1]}, {"settings"}),
        ({"name": "x", "setings": {"key_length": 2048}}, {"setings"}),
        ({"name": "x", "settings": {"key_size": 2048}}, {"settings.key_size"}),
        ({"name": "x", "settings": {"offset_seconds": 7}}, {"settings.offset_seconds"}),
        ({"name": "x", "settings": {"challenge_password": "x"}}, {"settings.challenge_password"}),
        ({"name": "x", "settings": {"key_length": 512}}, {"settings.key_length"}),
        ({"name": "x", "settings": {"polling_count": 101}}, {"settings.polling_count"}),
        ({"name": "x", "settings": {"server": 987654}}, {"settings.server"}),
        ({"name": "x", "settings": {"server": None}}, {"settings.server"}),
        ({"name": "x", "settings": {"common_name": "a.example.com"}}, {"settings.common_name"}),
        ({"name": "x", "settings": {"key_use": "ipsec"}}, {"settings.ipsec_destination"}),
        (
            {"name": "x", "settings": {"request_start_at": "2087-03-01T07:00:00Z"}},
            {"settings.request_start_at"},
        ),
        (
            {"name": "x", "settings": {"request_start_at": "2087-03-01T07:00:00+01:00"}},
            {"settings.request_start_at"},
        ),
        ({"name": "x", "settings": {"request_start_at": "soon"}}, {"settings.request_start_at"}),
        (
            {"name": "x", "settings": {"timer_enabled": True, "request_start_at": None}},
            {"settings.request_start_at"},
        ),
    ],
)
def test_bad_input_names_its_field(api: APIClient, body: dict[str, Any], errors: set[str]) -> None:
    response = api.post(TEMPLATES, body)
    assert response.status_code == 400, response.content
    found = response.json()["errors"]
    nested = found.pop("settings") if isinstance(found.get("settings"), dict) else {}
    named = {"settings" if name == "non_field_errors" else f"settings.{name}" for name in nested}
    assert {*found, *named} == errors
    assert not SettingsTemplate.objects.exists()


def test_a_server_that_a_template_names_is_not_deleted(
    api: APIClient, server: ScepServer, template_id: int
) -> None:
    refused = api.delete(f"/api/v1/scep-servers/{server.pk}/")
    assert (refused.status_code, refused.json()["code"]) == (409, "server_in_use")
    assert "Office" in refused.json()["detail"]


class TestPreview:
    def test_totals_and_rows(self, api: APIClient, template_id: int, fleet: list[Device]) -> None:
        answer = api.post(f"{TEMPLATES}{template_id}/preview/", {"filter": {}})
        assert answer.status_code == 200, answer.content
        found = answer.json()
        assert found["totals"] == {"changed": 1, "unchanged": 1, "refused": 1}
        assert (found["page"], found["pages"]) == (1, 1)
        rows = {row["device"]: row for row in found["results"]}
        assert rows[fleet[0].pk] == {
            "device": fleet[0].pk,
            "device_name": "a",
            "outcome": "changed",
            "changes": {"server": ["Old CA", "New CA"], "key_length": [2048, 3072]},
            "refusal": "",
        }
        assert rows[fleet[1].pk]["outcome"] == "unchanged"
        assert rows[fleet[1].pk]["changes"] == {}
        assert rows[fleet[2].pk]["outcome"] == "refused"
        assert "suspend_timers" in rows[fleet[2].pk]["refusal"]
        assert not AuditEvent.objects.filter(action="scep_settings.update", source="api").exists()

    def test_a_part_of_it(self, api: APIClient, template_id: int, fleet: list[Device]) -> None:
        address = f"{TEMPLATES}{template_id}/preview/"
        refused = api.post(address, {"filter": {}, "outcome": "refused"}).json()
        assert [row["device"] for row in refused["results"]] == [fleet[2].pk]
        assert refused["totals"] == {"changed": 1, "unchanged": 1, "refused": 1}
        second = api.post(address, {"filter": {}, "page": 2, "page_size": 1}).json()
        assert [row["device"] for row in second["results"]] == [fleet[1].pk]
        assert (second["page"], second["pages"]) == (2, 3)
        berlin = api.post(address, {"filter": {"search": "berlin"}}).json()
        assert berlin["totals"] == {"changed": 1, "unchanged": 0, "refused": 0}
        suspended = api.post(address, {"devices": [fleet[2].pk], "suspend_timers": True}).json()
        assert suspended["totals"] == {"changed": 1, "unchanged": 0, "refused": 0}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "devices"),
            ({"devices": [1], "filter": {}}, "devices"),
            ({"devices": [987654]}, "devices"),
            ({"filter": {"serch": "x"}}, "filter"),
            ({"filter": {}, "outcome": "fine"}, "outcome"),
            ({"filter": {}, "page": 0}, "page"),
            ({"filter": {}, "page_size": 501}, "page_size"),
            ({"filter": {}, "suspend": True}, "suspend"),
        ],
    )
    def test_bad_input_names_its_field(
        self, api: APIClient, template_id: int, body: dict[str, Any], field: str
    ) -> None:
        response = api.post(f"{TEMPLATES}{template_id}/preview/", body)
        assert response.status_code == 400, response.content
        assert set(response.json()["errors"]) == {field}

    def test_as_many_queries_for_three_as_for_thirty(
        self, api: APIClient, template_id: int, fleet: list[Device]
    ) -> None:
        address, counted = f"{TEMPLATES}{template_id}/preview/", []
        api.post(address, {"filter": {}})
        for _ in range(2):
            with CaptureQueriesContext(connection) as captured:
                assert api.post(address, {"filter": {}}).status_code == 200
            counted.append(len(captured))
            for _ in range(27):
                make_device(make_server())
        assert counted[0] == counted[1]

    def test_r1_viewers_do_not(self, viewer_api: APIClient, api: APIClient, template_id: int) -> None:
        body: dict[str, Any] = {"filter": {}}
        assert viewer_api.post(f"{TEMPLATES}{template_id}/preview/", body).status_code == 403
        assert APIClient().post(f"{TEMPLATES}{template_id}/preview/", body).status_code == 401
        assert viewer_api.get(f"{TEMPLATES}{template_id}/").status_code == 200


class TestApplying:
    def test_by_a_job(self, api: APIClient, template_id: int, fleet: list[Device]) -> None:
        body = {"kind": "apply_template", "filter": {}, "parameters": {"template": template_id}}
        response = api.post(JOBS, body)
        assert response.status_code == 202, response.content
        job = response.json()
        assert job["parameters"]["template_name"] == "Office"
        assert job["parameters"]["settings"]["key_length"] == 3072
        assert job["parameters"]["suspend_timers"] is False
        work()
        job = api.get(f"{JOBS}{job['id']}/").json()
        assert (job["state"], job["done"], job["refused"]) == ("finished", 2, 1)
        items = {item["device"]: item for item in api.get(f"{JOBS}{job['id']}/items/").json()["results"]}
        assert items[fleet[0].pk]["message"] == ""
        assert "already" in items[fleet[1].pk]["message"]
        assert items[fleet[2].pk]["state"] == "refused"
        assert ScepSettings.objects.get(device=fleet[0]).key_length == 3072

    def test_no_answer_holds_the_challenge_password(self, api: APIClient, fleet: list[Device]) -> None:
        body = {"name": "Password", "settings": {}, "challenge_password": CHALLENGE}
        made = api.post(TEMPLATES, body)
        address = f"{TEMPLATES}{made.json()['id']}/"
        job = api.post(
            JOBS,
            {"kind": "apply_template", "filter": {}, "parameters": {"template": made.json()["id"]}},
        )
        stored = bytes(SettingsTemplate.objects.get().challenge_password_encrypted or b"")
        answers = [
            *(made, job, api.get(TEMPLATES), api.get(address), api.get(JOBS)),
            api.post(f"{address}preview/", {"filter": {}}),
        ]
        for answer in answers:
            assert answer.status_code < 300
            assert CHALLENGE.encode() not in answer.content
            assert stored not in answer.content

    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({}, "parameters"),
            ({"template": "Office"}, "parameters"),
            ({"template": 1, "suspend": True}, "parameters"),
            ({"template": 987654}, "template"),
        ],
    )
    def test_bad_parameters_start_nothing(
        self, api: APIClient, fleet: list[Device], parameters: dict[str, Any], field: str
    ) -> None:
        response = api.post(JOBS, {"kind": "apply_template", "filter": {}, "parameters": parameters})
        assert response.status_code == 400, response.content
        assert set(response.json()["errors"]) == {field}
        assert not Job.objects.exists()
