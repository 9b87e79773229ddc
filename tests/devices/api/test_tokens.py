"""Tokens over REST."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import ApiToken
from tests.conftest import PASSWORD
from tests.devices.conftest import client_of
from tests.devices.factories import make_device, make_server

pytestmark = pytest.mark.django_db

TOKENS = "/api/v1/auth/tokens/"


def bearer(token: str, scheme: str = "Bearer") -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"{scheme} {token}")
    return client


def test_one_is_issued_shown_once_used_and_revoked(api: APIClient) -> None:
    ends = (timezone.now() + timedelta(days=30)).isoformat()
    made = api.post(TOKENS, {"name": "CMDB", "scopes": ["read", "devices"], "expires_at": ends})
    assert made.status_code == 201
    token = made.json().pop("token")
    for scheme in ("Token", "Bearer", "bearer"):
        assert bearer(token, scheme).get("/api/v1/devices/").status_code == 200
    address = f"{TOKENS}{made.json()['id']}/"
    for shown in (api.get(TOKENS), api.get(address)):
        assert token not in shown.content.decode()
    assert api.get(address).json()["last_used_at"]
    assert api.delete(address).status_code == 204
    assert bearer(token).get("/api/v1/devices/").status_code == 401


@pytest.mark.parametrize(
    "value", ["Token", "Token x", "Bearer ä", "Bearer " + "a" * 10_000, "Basic eDp5", "x"]
)
def test_what_is_no_token_is_out(value: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=value)
    response = client.get("/api/v1/devices/")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Token, Bearer"


def test_scopes_narrow_every_address(administrator: User) -> None:
    device = make_device(make_server())
    requests = f"/api/v1/devices/{device.pk}/issuance-requests/"
    reader, sender = client_of(administrator, "read"), client_of(administrator, "requests")
    assert reader.get(requests).status_code == 200
    refused = reader.post(requests, {})
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert "“requests”" in refused.json()["detail"]
    job = {"kind": "manual_request", "devices": [device.pk]}
    assert "“requests”" in reader.post("/api/v1/jobs/", job).json()["detail"]
    refused = sender.get(requests)
    assert refused.status_code == 403
    assert "“read”" in refused.json()["detail"]
    assert sender.post(requests, {}).status_code == 201


def test_everybody_has_tokens_of_their_own(api: APIClient, viewer_api: APIClient) -> None:
    made = viewer_api.post(TOKENS, {"name": "mine", "scopes": ["read"]}).json()
    assert viewer_api.get(f"{TOKENS}{made['id']}/").status_code == 200
    assert api.get(f"{TOKENS}{made['id']}/").status_code == 404
    assert api.delete(f"{TOKENS}{made['id']}/").status_code == 404
    assert APIClient().post(TOKENS, {"name": "x", "scopes": ["read"]}).status_code == 401
    narrow = client_of(User.objects.get(username="viewer"), "devices")
    assert narrow.post(TOKENS, {"name": "x", "scopes": ["full"]}).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": "read"}, "scopes"),
        ({"name": "x", "scopes": ["paint"]}, "scopes"),
        ({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "scopes": ["read"], "token": "mine"}, "token"),
    ],
)
def test_bad_input_names_its_field(api: APIClient, body: dict[str, object], field: str) -> None:
    before = ApiToken.objects.count()
    response = api.post(TOKENS, body)
    assert (response.status_code, set(response.json()["errors"])) == (400, {field})
    assert ApiToken.objects.count() == before


def test_for_a_password_as_ever(administrator: User) -> None:
    credentials = {"username": "administrator", "password": PASSWORD}
    answers = [APIClient().post("/api/v1/auth/token/", credentials).json() for _ in range(2)]
    for answer in answers:
        assert set(answer) == {"token"}
        assert bearer(answer["token"], "Token").get("/api/v1/devices/").status_code == 200
    row = ApiToken.objects.first()
    assert row is not None
    assert (row.scopes, row.expires_at) == (["full"], None)
