"""Every error under /api/ is a problem (RFC 9457), also those that no view answers."""

from __future__ import annotations

import json

import pytest
from django.db import DataError
from django.test import Client, override_settings
from rest_framework.test import APIClient

from devices import inventory

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"


@pytest.mark.parametrize(
    "address", ["/api/v1/nothing/", "/api/v2/devices/", "/api/", "/api/v1/devices/x/y/z/"]
)
@pytest.mark.parametrize("debug", [True, False])
def test_an_address_that_nobody_knows(api: APIClient, address: str, debug: bool) -> None:
    with override_settings(DEBUG=debug):
        response = api.get(address)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (404, 404, "not_found")
    assert response["Content-Type"] == "application/problem+json"
    assert problem["title"] == "Not Found"
    assert response["Content-Security-Policy"], "what middleware adds stays"
    assert response["X-Request-ID"]


def test_a_page_that_nobody_knows_is_a_page(viewer_client: Client) -> None:
    assert viewer_client.get("/nothing/")["Content-Type"].startswith("text/html")


def test_a_method_that_nobody_knows(api: APIClient) -> None:
    response = api.delete(DEVICES)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) >= {"GET", "POST"}
    assert response["Content-Type"] == "application/problem+json"


def test_a_body_of_another_kind(api: APIClient) -> None:
    response = api.generic("POST", DEVICES, "<device/>", content_type="application/xml")
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_an_answer_of_another_kind(api: APIClient) -> None:
    response = api.get(DEVICES, headers={"Accept": "image/png"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


def test_a_crash_tells_nothing_of_the_inside(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object, **fields: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(inventory, "create_devices", crash)
    api.raise_request_exception = False
    response = api.post(DEVICES, [{"name": "a", "host": "10.0.0.1"}])
    assert (response.status_code, response.json()["code"]) == (500, "server_error")
    assert "secret" not in response.content.decode()
    assert response["Content-Type"] == "application/problem+json"
    with override_settings(DEBUG=True):
        assert "the secret inside" in api.post(DEVICES, [{"name": "a", "host": "10.0.0.1"}]).content.decode()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"name": "a",\n "host": }', {"line": 2, "column": 10}),
        ('{"name": "a"', {"line": 1, "column": 13}),
        (" ", {"line": 1, "column": 2}),
        ("[" * 200_000, {}),
        ('{"key_limit": NaN}', {}),
        ('{"key_limit": ' + "9" * 5000 + "}", {}),
        ('{"ipsec_destinations": ["a\\u0000"]}', {}),
        ('{"ipsec_destinations": ["a\\ud800"]}', {}),
        ('{"a\\u0000": 1}', {}),
    ],
)
def test_json_that_is_none_is_refused_by_line_and_column(
    api: APIClient, body: str, place: dict[str, int]
) -> None:
    response = api.generic("POST", DEVICES, body, content_type="application/json")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "parse_error")
    assert {name: problem[name] for name in ("line", "column") if name in problem} == place


def test_what_the_database_cannot_hold(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **fields: object) -> None:
        raise DataError("integer out of range: the secret value")

    monkeypatch.setattr(inventory, "create_devices", refuse)
    response = api.post(DEVICES, [{"name": "a", "host": "10.0.0.1"}])
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("2027-01-01T00:00:00Z", 200),
        ("0271-08-04T10:26:59+20:52", 200),
        ("2027-01-01T00:00:00-23:59", 200),
        ("0001-01-01T00:00:00+14:00", 400),
        ("9999-12-31T23:59:59-14:00", 400),
        ("noon", 400),
    ],
)
def test_moments_at_the_edges(api: APIClient, moment: str, status: int) -> None:
    for address, name in ((DEVICES, "expires_before"), ("/api/v1/audit-events/", "since")):
        response = api.get(address, {name: moment})
        assert response.status_code == status, response.content
        if status == 400:
            assert set(response.json()["errors"]) == {name}


def test_bytes_that_are_no_utf_8(api: APIClient) -> None:
    response = api.post(DEVICES, b'{"name": "B\xfcro"}', content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (400, "parse_error")
    assert "UTF-8" in response.json()["detail"]


def test_both_halves_of_a_surrogate_pair_are_a_character(api: APIClient) -> None:
    body = json.dumps({"name": "mfp \N{PRINTER}", "host": "10.0.0.1"})
    assert "\\ud83d" in body
    assert api.generic("POST", DEVICES, body, content_type="application/json").status_code == 201


def test_a_text_that_is_no_object_is_refused_by_the_view(api: APIClient) -> None:
    assert api.generic("POST", DEVICES, '"x"', content_type="application/json").json()["code"] == "invalid"
