"""The start page over REST, and certificates as files."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tests.devices.factories import make_device, make_key, make_server, make_timed_device

pytestmark = pytest.mark.django_db

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_the_fleet_at_a_glance(api: APIClient) -> None:
    timed = make_timed_device(make_server())
    make_key(timed)
    make_device()
    fleet = api.get("/api/v1/overview/").json()
    assert (fleet["total"], fleet["timers_on"]) == (2, 1)
    assert fleet["by_status"] == {
        "to_be_processed": 1,
        "processing": 0,
        "error": 0,
        "successful": 0,
        "none": 1,
    }
    (due,) = fleet["due"]
    assert (due["device"], due["device_name"], due["status"]) == (timed.pk, timed.name, "to_be_processed")
    assert [row["device"] for row in fleet["expiring"]] == [timed.pk]
    assert len(fleet["hours"]) == 24


def test_it_costs_the_same_for_few_and_many(api: APIClient) -> None:
    server, counts = make_server(), []
    for number in (2, 8):
        for _ in range(number):
            make_key(make_timed_device(server))
        with CaptureQueriesContext(connection) as captured:
            api.get("/api/v1/overview/")
        counts.append(len(captured))
    assert counts[0] == counts[1]


class TestPem:
    @pytest.mark.parametrize("accept", ["*/*", "application/json", "application/x-pem-file"])
    def test_at_its_own_address(self, viewer_api: APIClient, accept: str) -> None:
        key = make_key(make_device(), certificate=PEM, chain=PEM)
        address = f"/api/v1/devices/{key.device_id}/keys/{key.pk}.pem"
        response = viewer_api.get(address, headers={"Accept": accept})
        assert (response.status_code, response["Content-Type"]) == (200, "application/x-pem-file")
        assert response.content.decode() == PEM * 2
        assert viewer_api.get(address, headers={"If-None-Match": response["ETag"]}).status_code == 304

    def test_by_accept(self, viewer_api: APIClient) -> None:
        key = make_key(make_device(), certificate=PEM)
        address = f"/api/v1/devices/{key.device_id}/keys/{key.pk}/"
        assert viewer_api.get(address).json()["certificate"] == PEM
        response = viewer_api.get(address, headers={"Accept": "application/x-pem-file"})
        assert (response.status_code, response.content.decode()) == (200, PEM)

    def test_what_there_is_not_is_a_problem(self, viewer_api: APIClient) -> None:
        device = make_device()
        for address, accept in (("77.pem", "*/*"), ("77/", "application/x-pem-file")):
            response = viewer_api.get(
                f"/api/v1/devices/{device.pk}/keys/{address}", headers={"Accept": accept}
            )
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
            assert response["Content-Type"] == "application/problem+json"
