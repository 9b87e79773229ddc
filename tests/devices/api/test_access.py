"""Who gets in, and what never gets out."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from devices import templates
from devices.audit import SYSTEM
from devices.models import KeyAndCertificate, ScepServer, ScepSettings, SettingsTemplate, Webhook
from devices.webhooks import service as webhooks
from devices.webhooks import signing
from tests.conftest import PASSWORD
from tests.devices.factories import CHALLENGE, PRIVATE_KEY, make_device, make_key, make_server

pytestmark = pytest.mark.django_db

ROOT = "/api/v1/"

WEBHOOK_SECRET = signing.draw_secret()


@pytest.fixture
def device_id() -> int:
    device = make_device(make_server(), settings={"challenge_password": CHALLENGE})
    make_key(device)
    templates.create(SYSTEM, name="T", settings={"key_length": 2048}, challenge_password=CHALLENGE)
    webhooks.create(
        SYSTEM, name="W", url="http://127.0.0.1:9/", events=["certificate.expiring"], secret=WEBHOOK_SECRET
    )
    return device.pk


def readable(device_id: int) -> list[str]:
    """Every address that answers to GET."""
    own = [
        f"devices/{device_id}/{name}/"
        for name in ("scep-settings", "issuance-requests", "restarts", "keys", "restart-settings")
    ]
    servers = [f"scep-servers/{ScepServer.objects.get().pk}/"]
    kept = [f"settings-templates/{SettingsTemplate.objects.get().pk}/"]
    return [
        *("scep-servers/", "device-groups/", "devices/", f"devices/{device_id}/"),
        *own,
        *servers,
        "jobs/",
        "audit-events/",
        "settings-templates/",
        *kept,
        "forecast/",
        "overview/",
        "connectors/",
        "device-searches/",
        "found-devices/",
        f"devices/{device_id}/keys/{KeyAndCertificate.objects.get().pk}.pem",
        "auth/tokens/",
        "schema/",
        "docs/",
    ]


def confidential() -> list[str]:
    """Every address that answers to GET by administrators alone."""
    webhook = Webhook.objects.get().pk
    return ["webhooks/", f"webhooks/{webhook}/", f"webhooks/{webhook}/deliveries/"]


def writable(device_id: int) -> list[tuple[str, str]]:
    """Method and address of every change."""
    server, template = ScepServer.objects.get().pk, SettingsTemplate.objects.get().pk
    webhook = Webhook.objects.get().pk
    return [
        ("post", "webhooks/"),
        ("put", f"webhooks/{webhook}/"),
        ("patch", f"webhooks/{webhook}/"),
        ("delete", f"webhooks/{webhook}/"),
        ("post", f"webhooks/{webhook}/test/"),
        ("post", "devices/"),
        ("put", f"devices/{device_id}/"),
        ("patch", f"devices/{device_id}/"),
        ("delete", f"devices/{device_id}/"),
        ("put", f"devices/{device_id}/scep-settings/"),
        ("patch", f"devices/{device_id}/scep-settings/"),
        ("post", f"devices/{device_id}/issuance-requests/"),
        ("post", f"devices/{device_id}/restarts/"),
        ("put", f"devices/{device_id}/restart-settings/"),
        ("patch", f"devices/{device_id}/restart-settings/"),
        ("post", f"devices/{device_id}/identity/"),
        ("post", f"devices/{device_id}/connector-test/"),
        ("post", f"devices/{device_id}/keys/{KeyAndCertificate.objects.get().pk}/pkcs12/"),
        ("post", "device-searches/"),
        ("post", "found-devices/add/"),
        ("post", "scep-servers/"),
        ("patch", f"scep-servers/{server}/"),
        ("delete", f"scep-servers/{server}/"),
        ("post", "device-groups/"),
        ("post", "settings-templates/"),
        ("put", f"settings-templates/{template}/"),
        ("patch", f"settings-templates/{template}/"),
        ("delete", f"settings-templates/{template}/"),
        ("post", f"settings-templates/{template}/preview/"),
        ("post", "device-groups/1/spread/"),
    ]


def test_r1_nobody_sees_anything_without_signing_in(device_id: int) -> None:
    for address in (*readable(device_id), *confidential()):
        response = APIClient().get(ROOT + address)
        assert response.status_code == 401, address
        assert response["Content-Type"] == "application/problem+json"
        assert "Token" in response["WWW-Authenticate"]


def test_r1_viewers_look_and_change_nothing(viewer_api: APIClient, device_id: int) -> None:
    for address in readable(device_id):
        assert viewer_api.get(ROOT + address).status_code == 200, address
    for method, address in writable(device_id):
        response = getattr(viewer_api, method)(ROOT + address, {"name": "x", "location": "x"})
        assert response.status_code == 403, (method, address)
        assert response.json()["code"] == "permission_denied"


def test_r1_what_is_administrators_business_alone(
    api: APIClient, viewer_api: APIClient, device_id: int
) -> None:
    for address in confidential():
        assert api.get(ROOT + address).status_code == 200, address
        response = viewer_api.get(ROOT + address)
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied"), address


def test_no_answer_holds_a_secret(api: APIClient, device_id: int) -> None:
    stored = [
        bytes(row.challenge_password_encrypted or b"")
        for row in (ScepSettings.objects.get(device=device_id), SettingsTemplate.objects.get())
    ]
    for address in (*readable(device_id), *confidential()):
        body = api.get(ROOT + address).content
        for secret in (CHALLENGE.encode(), *stored, PRIVATE_KEY, WEBHOOK_SECRET.encode()):
            assert secret not in body, address


def test_a_token_for_user_name_and_password(administrator: User) -> None:
    credentials = {"username": "administrator", "password": PASSWORD}
    token = APIClient().post(f"{ROOT}auth/token/", credentials).json()["token"]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert client.get(f"{ROOT}devices/").status_code == 200


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ({"username": "administrator", "password": "wrong"}, 401),
        ({"username": "nobody", "password": PASSWORD}, 401),
        ({"username": "administrator"}, 400),
    ],
)
def test_wrong_credentials_tell_nothing(
    administrator: User, credentials: dict[str, Any], status: int
) -> None:
    response = APIClient().post(f"{ROOT}auth/token/", credentials)
    assert response.status_code == status
    assert PASSWORD not in response.content.decode()


def test_guessing_passwords_is_slowed_down() -> None:
    statuses = [
        APIClient().post(f"{ROOT}auth/token/", {"username": "x", "password": "y"}).status_code
        for _ in range(31)
    ]
    assert set(statuses[:30]) == {401}
    assert statuses[30] == 429


def test_an_inactive_user_is_out(api: APIClient, administrator: User) -> None:
    administrator.is_active = False
    administrator.save()
    assert api.get(f"{ROOT}devices/").status_code == 401
