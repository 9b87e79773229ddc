"""Jobs over REST: one action over many devices."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.models import Device, Job
from tests.devices.factories import CHALLENGE, make_device, make_server
from tests.devices.transfer.files import work

pytestmark = pytest.mark.django_db

JOBS = "/api/v1/jobs/"


@pytest.fixture
def fleet() -> list[Device]:
    server = make_server()
    return [make_device(server, location="Berlin" if number else "Tokyo") for number in range(3)]


def test_r7_by_ids_with_progress_and_results(api: APIClient, fleet: list[Device]) -> None:
    no_server = make_device()
    parameters = {"organization": "Example", "signature_algorithm": "sha384", "challenge_password": CHALLENGE}
    ids = [device.pk for device in (*fleet, no_server)]
    response = api.post(JOBS, {"kind": "manual_request", "devices": ids, "parameters": parameters})
    assert response.status_code == 202, response.content
    job = response.json()
    assert (job["state"], job["total"], job["done"]) == ("waiting", 4, 0)
    assert job["parameters"] == {"organization": "Example", "signature_algorithm": "SHA-384"}
    work()
    job = api.get(f"{JOBS}{job['id']}/").json()
    assert (job["state"], job["done"], job["refused"]) == ("finished", 3, 1)
    items = api.get(f"{JOBS}{job['id']}/items/", {"state": "refused"}).json()["results"]
    assert [(item["device"], item["state"]) for item in items] == [(no_server.pk, "refused")]
    assert "Choose a SCEP server" in items[0]["message"]
    assert CHALLENGE not in api.get(JOBS).content.decode()


def test_by_filter_as_the_list_takes_it(api: APIClient, fleet: list[Device]) -> None:
    job = api.post(JOBS, {"kind": "manual_request", "filter": {"search": "berlin"}}).json()
    assert job["total"] == 2
    everything = api.post(JOBS, {"kind": "manual_request", "filter": {}}).json()
    assert everything["total"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "manual_request"}, "devices"),
        ({"kind": "manual_request", "devices": [1], "filter": {}}, "devices"),
        ({"kind": "manual_request", "devices": []}, "devices"),
        ({"kind": "manual_request", "devices": [987654]}, "devices"),
        ({"kind": "manual_request", "filter": {"serch": "x"}}, "filter"),
        ({"kind": "manual_request", "filter": {"status": "fine"}}, "filter"),
        ({"kind": "paint", "filter": {}}, "kind"),
        ({"kind": "manual_request", "filter": {}, "parameters": {"key_length": 512}}, "parameters"),
        ({"kind": "manual_request", "filter": {}, "parameters": {"key_size": 2048}}, "parameters"),
        ({"kind": "manual_request", "filter": {}, "parameters": {"key_use": "ipsec"}}, "ipsec_destination"),
    ],
)
def test_bad_input_names_its_field_and_starts_nothing(
    api: APIClient, fleet: list[Device], body: dict[str, Any], field: str
) -> None:
    response = api.post(JOBS, body)
    assert response.status_code == 400, response.content
    assert set(response.json()["errors"]) == {field}
    assert not Job.objects.exists()


def test_r1_viewers_start_and_cancel_nothing(
    api: APIClient, viewer_api: APIClient, fleet: list[Device]
) -> None:
    body = {"kind": "manual_request", "filter": {}}
    assert viewer_api.post(JOBS, body).status_code == 403
    assert APIClient().post(JOBS, body).status_code == 401
    job = api.post(JOBS, body).json()
    assert viewer_api.post(f"{JOBS}{job['id']}/cancel/").status_code == 403
    assert viewer_api.get(f"{JOBS}{job['id']}/").status_code == 200
    assert viewer_api.get(f"{JOBS}{job['id']}/items/").status_code == 200


def test_canceling(api: APIClient, fleet: list[Device]) -> None:
    job = api.post(JOBS, {"kind": "manual_request", "filter": {}}).json()
    assert api.post(f"{JOBS}{job['id']}/cancel/").json()["state"] == "canceled"
    refused = api.post(f"{JOBS}{job['id']}/cancel/")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_ended")
    work()
    assert Job.objects.get().done == 0
