"""Webhooks over REST."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.models import Webhook, WebhookDelivery
from devices.webhooks import signing

pytestmark = pytest.mark.django_db

HOOKS = "/api/v1/webhooks/"
ONE = {"name": "CMDB", "url": "https://cmdb.example.com/hook", "events": ["issuance_request.failed"]}


def test_made_with_a_secret_that_is_shown_once_changed_tried_and_deleted(api: APIClient) -> None:
    made = api.post(HOOKS, ONE)
    assert made.status_code == 201, made.content
    body = made.json()
    secret = body.pop("secret")
    assert signing.key_of(secret)
    assert (body["is_enabled"], body["days_before_expiry"]) == (True, 30)
    address = f"{HOOKS}{body['id']}/"
    got = api.get(address)
    assert got.json() == body
    changed = api.patch(address, {"days_before_expiry": 7}, headers={"If-Match": got["ETag"]})
    assert changed.json()["days_before_expiry"] == 7
    assert api.put(address, body).json()["days_before_expiry"] == 30, "GET, edit, PUT"
    assert Webhook.objects.get().reveal_secret() == secret, "left out, it stays"
    tested = api.post(f"{address}test/")
    assert (tested.status_code, tested.json()["event"]) == (202, "webhook.test")
    (delivery,) = api.get(f"{address}deliveries/", {"state": "waiting"}).json()["results"]
    assert delivery["payload"]["type"] == "webhook.test"
    assert api.get(f"{address}deliveries/{delivery['id']}/").json() == delivery
    assert api.delete(address).status_code == 204
    assert not WebhookDelivery.objects.exists()


def test_made_with_a_secret_of_ones_own_that_is_not_shown(api: APIClient) -> None:
    secret = signing.draw_secret()
    made = api.post(HOOKS, {**ONE, "secret": secret})
    assert made.status_code == 201
    assert secret not in made.content.decode()
    assert Webhook.objects.get().reveal_secret() == secret


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"url": "cmdb.example.com"}, "url"),
        ({"url": "ftp://cmdb.example.com/"}, "url"),
        ({"url": "https://user:pass@cmdb.example.com/"}, "url"),
        ({"url": "https://cmdb.example.com/#part"}, "url"),
        ({"url": "https://cmdb.example.com:99999/"}, "url"),
        ({"url": "https://cmdb example.com/"}, "url"),
        ({"url": "https://cmdb.example.com/\r\nX-Injected: 1"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["issuance_request.failed", "issuance_request.failed"]}, "events"),
        ({"events": ["device.painted"]}, "events"),
        ({"events": ["webhook.test"]}, "events"),
        ({"events": [["x"]]}, "events"),
        ({"secret": "short"}, "secret"),
        ({"days_before_expiry": 0}, "days_before_expiry"),
        ({"days_before_expiry": 366}, "days_before_expiry"),
        ({"secret_encrypted": "x"}, "secret_encrypted"),
    ],
)
def test_bad_input_names_its_field(api: APIClient, wrong: dict[str, Any], field: str) -> None:
    response = api.post(HOOKS, {**ONE, **wrong})
    assert (response.status_code, set(response.json()["errors"])) == (400, {field})
    assert not Webhook.objects.exists()


def test_two_of_one_name_are_refused(api: APIClient) -> None:
    api.post(HOOKS, ONE)
    assert set(api.post(HOOKS, ONE).json()["errors"]) == {"name"}


def test_of_no_webhook_there_are_no_deliveries(api: APIClient) -> None:
    assert api.get(f"{HOOKS}77/deliveries/").status_code == 404
    assert api.post(f"{HOOKS}77/test/").status_code == 404
