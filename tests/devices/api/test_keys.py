"""A device's keys over REST: which one is the default key (R14)."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from devices.models import AuditEvent, KeyAndCertificate
from tests.devices.conftest import client_of
from tests.devices.factories import PRIVATE_KEY, make_device, make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> KeyAndCertificate:
    return make_key(make_device())


def address_of(key: KeyAndCertificate) -> str:
    return f"/api/v1/devices/{key.device_id}/keys/{key.pk}/"


def test_r14_the_default_key_is_marked_and_unmarked(api: APIClient, key: KeyAndCertificate) -> None:
    address = address_of(key)
    marked = api.patch(address, {"is_default": True})
    assert (marked.status_code, marked.json()["is_default"]) == (200, True)
    assert PRIVATE_KEY.decode() not in marked.content.decode()
    # GET, edit, PUT
    assert api.put(address, api.get(address).json() | {"is_default": False}).json()["is_default"] is False
    assert api.get(address).json()["is_default"] is False
    events = AuditEvent.objects.filter(action="key.set_default").order_by("pk")
    assert [(event.source, event.changes["default_key"]) for event in events] == [
        ("api", [None, "SCEP"]),
        ("api", ["SCEP", None]),
    ]


def test_nothing_else_of_a_key_changes(api: APIClient, key: KeyAndCertificate) -> None:
    before = api.get(address_of(key)).json()
    sent = {"name": "X", "key_use": "tls", "certificate": "X", "issued_at": "2031-01-01T00:00:00Z"}
    assert api.patch(address_of(key), sent).json() == before
    assert api.patch(address_of(key), {}).json() == before
    assert not AuditEvent.objects.filter(action="key.set_default").exists()


@pytest.mark.parametrize(
    ("sent", "field"), [({"is_defualt": True}, "is_defualt"), ({"is_default": "x"}, "is_default")]
)
def test_what_does_not_fit_is_named(
    api: APIClient, key: KeyAndCertificate, sent: dict[str, Any], field: str
) -> None:
    response = api.patch(address_of(key), sent)
    assert (response.status_code, list(response.json()["errors"])) == (400, [field])


def test_r1_others_are_refused(
    operator_api: APIClient, viewer_api: APIClient, administrator: User, key: KeyAndCertificate
) -> None:
    narrow = client_of(administrator, "read", "devices")
    for client in (operator_api, viewer_api, narrow):
        assert client.patch(address_of(key), {"is_default": True}).status_code == 403
    assert not KeyAndCertificate.objects.get().is_default
    settings = client_of(administrator, "settings")
    assert settings.patch(address_of(key), {"is_default": True}).status_code == 200


def test_a_version_that_was_changed_meanwhile(api: APIClient, key: KeyAndCertificate) -> None:
    version = api.get(address_of(key))["ETag"]
    assert api.patch(address_of(key), {"is_default": True}, HTTP_IF_MATCH=version).status_code == 200
    assert api.patch(address_of(key), {"is_default": False}, HTTP_IF_MATCH=version).status_code == 412
    assert KeyAndCertificate.objects.get().is_default


def test_of_another_device_there_is_no_such_key(api: APIClient, key: KeyAndCertificate) -> None:
    address = f"/api/v1/devices/{make_device().pk}/keys/{key.pk}/"
    assert api.patch(address, {"is_default": True}).status_code == 404
    assert api.delete(address_of(key)).status_code == 405
