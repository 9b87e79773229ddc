"""Credentials of device groups over REST: they go in and never come out."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.models import DeviceGroup
from tests.devices.factories import make_device

pytestmark = pytest.mark.django_db

GROUPS, DEVICES = "/api/v1/device-groups/", "/api/v1/devices/"
PASSWORD = "s3cret-of-the-group"
PAPPL = {"pappl": {"username": "fleet", "password": PASSWORD}}


def test_they_go_in_and_never_come_out(api: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    made = api.post(GROUPS, {"name": "Office", "connector_settings": PAPPL})
    assert made.status_code == 201, made.content
    address = f"{GROUPS}{made.json()['id']}/"
    got = api.get(address).json()
    assert got["connector_settings"] == {"pappl": {"username": "fleet"}}
    assert got["connector_secrets_set"] == {"pappl": ["password"]}
    assert api.put(address, got).status_code == 200, "GET, edit, PUT"
    assert api.patch(address, {"time_zone": "Europe/Berlin"}).status_code == 200
    group = DeviceGroup.objects.get()
    assert group.reveal_connector_secrets() == {"pappl": {"password": PASSWORD}}
    for body in (made.content, api.get(address).content, api.get(GROUPS).content):
        assert PASSWORD.encode() not in body
    assert PASSWORD not in caplog.text
    assert api.patch(address, {"connector_settings": {}}).json()["connector_secrets_set"] == {}


def test_what_does_not_fit_is_named(api: APIClient) -> None:
    answer = api.post(GROUPS, {"name": "Office", "connector_settings": {"pappl": {"port": 443}}})
    assert (answer.status_code, set(answer.json()["errors"])) == (400, {"connector_settings"})
    answer = api.post(GROUPS, {"name": "Office", "connector_settings": {"pappl": "admin"}})
    assert answer.status_code == 400


def test_a_device_says_what_it_has_from_its_group(api: APIClient, operator_api: APIClient) -> None:
    group = api.post(GROUPS, {"name": "Office", "connector_settings": PAPPL}).json()["id"]
    body = {"name": "one", "host": "10.0.0.1", "connector": "pappl", "group": group}
    one = api.post(DEVICES, body).json()
    assert (one["connector_secrets_set"], one["connector_secrets_from_group"]) == ([], ["password"])
    assert one["connector_secrets_held"] is False
    two = operator_api.post(DEVICES, body | {"name": "two", "host": "10.6.6.6"}).json()
    assert (two["connector_secrets_from_group"], two["connector_secrets_held"]) == (["password"], True)
    assert api.patch(f"{DEVICES}{two['id']}/", {"group": group}).json()["connector_secrets_held"] is False


def test_an_administrator_has_them_sent_to_all(api: APIClient, operator_api: APIClient) -> None:
    group = api.post(GROUPS, {"name": "Office", "connector_settings": PAPPL, "entrust_devices": True}).json()[
        "id"
    ]
    body = {"name": "two", "host": "10.6.6.6", "connector": "pappl", "group": group}
    device = operator_api.post(DEVICES, body).json()["id"]
    address = f"{GROUPS}{group}/"
    assert operator_api.patch(address, {"entrust_devices": True}).status_code == 403
    answer = api.patch(address, {"entrust_devices": True})
    assert (answer.status_code, "entrust_devices" in answer.json()) == (200, False)
    assert api.get(f"{DEVICES}{device}/").json()["connector_secrets_held"] is False


def test_lists_cost_no_query_more(api: APIClient) -> None:
    counts = []
    for number in (1, 5):
        for _ in range(number):
            group = DeviceGroup.objects.create(
                name=f"Group {DeviceGroup.objects.count()}", connector_secrets_set={"pappl": ["password"]}
            )
            make_device(connector="pappl", group=group)
        with CaptureQueriesContext(connection) as captured:
            rows = api.get(DEVICES).json()["results"]
        assert all(row["connector_secrets_from_group"] == ["password"] for row in rows)
        counts.append(len(captured))
    assert counts[0] == counts[1]
