"""The pages about API tokens: everybody's own, and each shown once."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices import tokens
from devices.audit import Actor
from devices.models import ApiToken, AuditEvent
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

ADD, LIST = "token-add", "token-list"


def test_a_token_is_shown_once_and_works(viewer_client: Client, viewer: User) -> None:
    form = Document(viewer_client.get(reverse(ADD)))
    assert {box.get("value") for box in form.all("input", name="scopes")} >= {"full", "read", "devices"}
    response = viewer_client.post(reverse(ADD), {"name": "CMDB", "scopes": ["read", "devices"]})
    token = Document(response).all("input", id="secret")[0].get("value")
    assert "no-store" in response["Cache-Control"]
    assert tokens.user_of(token, timezone.now()) == viewer
    page = Document(viewer_client.get(reverse(LIST)))
    assert "CMDB" in page.text
    assert "read, devices" in page.text
    assert token not in page.source
    assert AuditEvent.objects.get().source == "dashboard"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"scopes": "read"}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": "paint"}, "scopes"),
        ({"name": "x", "scopes": "read", "expires_at": "2020-01-01T00:00:00"}, "expires_at"),
    ],
)
def test_bad_input_stands_at_its_field(viewer_client: Client, data: dict[str, str], field: str) -> None:
    response = viewer_client.post(reverse(ADD), data)
    assert response.status_code == 422
    errors = [e for e in Document(response).elements if e.get("id") == f"id_{field}_error"]
    assert [error for error in errors if error.text]
    assert not ApiToken.objects.exists()


def test_revoking_asks_and_is_for_ones_own(
    viewer_client: Client, administrator_client: Client, viewer: User
) -> None:
    row, token = tokens.issue(Actor.of(viewer, AuditEvent.Source.API), name="CMDB", scopes=["read"])
    address = reverse("token-revoke", args=[row.pk])
    for method in (administrator_client.get, administrator_client.post):
        assert method(address).status_code == 404
    assert "CMDB" not in Document(administrator_client.get(reverse(LIST))).text
    assert "Revoke CMDB" in Document(viewer_client.get(address)).text
    assert viewer_client.post(address)["Location"] == reverse(LIST)
    assert tokens.user_of(token, timezone.now()) is None


@pytest.mark.parametrize("name", [LIST, ADD])
def test_strangers_sign_in_first_and_forgeries_fail(name: str, client: Client, viewer: User) -> None:
    assert client.get(reverse(name))["Location"].startswith(reverse("sign-in"))
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(viewer)
    assert strict.post(reverse(name), {"name": "x", "scopes": "full"}).status_code in {403, 405}
    assert not ApiToken.objects.exists()


def test_the_list_costs_the_same_for_few_and_many(viewer_client: Client, viewer: User) -> None:
    actor, counts = Actor.of(viewer, AuditEvent.Source.API), []
    for number in (2, 20):
        for _ in range(number):
            tokens.issue(actor, name="x", scopes=["read"])
        with CaptureQueriesContext(connection) as captured:
            viewer_client.get(reverse(LIST))
        counts.append(len(captured))
    assert counts[0] == counts[1]
