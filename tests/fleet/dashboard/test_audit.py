"""The audit trail keeps the whole history, and people find their way in it (R18 keeps 20 lines only)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from devices import audit, inventory
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.models import AuditEvent
from fleet.dashboard.views.common import PAGE_SIZE
from tests.devices.factories import CHALLENGE, make_device, make_server
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

TRAIL = reverse("audit-trail")


def rows(page: Document) -> int:
    return len(page.all("th", scope="row"))


def test_old_and_new_values_less_secrets(viewer_client: Client, actor: Actor) -> None:
    device = make_device(make_server())
    requests.save_settings(
        actor, device, organization="Example", polling_count=3, challenge_password=CHALLENGE
    )
    page = Document(viewer_client.get(TRAIL, {"action": "scep_settings", "actor": "administrator"}))
    assert rows(page) == 1
    for words in ("scep_settings.update", "Dashboard, 127.0.0.1", "Example"):
        assert words in page.text
    assert "polling_count: 0 →changed to 3" in page.text
    assert "challenge_password: changed" in page.text
    assert CHALLENGE not in page.source


def test_one_devices_history_outlives_it(viewer_client: Client) -> None:
    device, other = make_device(), make_device()
    for number in range(30):
        audit.record(SYSTEM, "issuance_request.failed", device, {"line": number})
    identifier = device.pk
    inventory.delete_device(SYSTEM, device)
    page = Document(viewer_client.get(TRAIL, {"device": str(identifier)}))
    assert rows(page) == 32, "made, 30 lines and deleted"
    assert other.name not in page.text


def test_older_events_begin_where_the_page_ended(viewer_client: Client) -> None:
    device = make_device()
    for _ in range(PAGE_SIZE + 3):
        audit.record(SYSTEM, "test.event", device)
    first = Document(viewer_client.get(TRAIL, {"action": "test."}))
    assert rows(first) == PAGE_SIZE
    (older,) = [link for link in first.links if "before=" in link]
    second = Document(viewer_client.get(TRAIL + older))
    assert rows(second) == 3
    assert not [link for link in second.links if "before=" in link]


def test_times_are_a_filter_and_nonsense_is_said(viewer_client: Client) -> None:
    make_device()
    tomorrow = f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
    assert rows(Document(viewer_client.get(TRAIL, {"until": tomorrow}))) == 1
    assert "No event matches" in Document(viewer_client.get(TRAIL, {"since": tomorrow})).text
    page = Document(viewer_client.get(TRAIL, {"since": "yesterday"}))
    assert [element for element in page.elements if element.get("id") == "id_since_error"]
    assert rows(page) == 0


def test_an_empty_trail_says_what_will_be_there(viewer_client: Client) -> None:
    assert "Nothing has happened yet" in Document(viewer_client.get(TRAIL)).text


def test_a_page_costs_the_same_queries_for_few_and_many(viewer_client: Client) -> None:
    device = make_device()
    viewer_client.get(TRAIL)
    queries = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            viewer_client.get(TRAIL)
        queries.append(len(captured))
        for _ in range(40):
            audit.record(SYSTEM, "test.event", device)
    assert queries[0] == queries[1]


def test_over_rest(viewer: User, actor: Actor) -> None:
    device = make_device()
    requests.save_settings(actor, device, organization="Example")
    client = APIClient()
    client.force_login(viewer)
    found = client.get(f"/api/v1/audit-events/?device={device.pk}&action=scep_settings").json()
    (event,) = found["results"]
    assert event["changes"] == {"organization": ["", "Example"]}
    assert (event["actor_name"], event["target_name"]) == ("administrator", device.name)
    assert client.delete(f"/api/v1/audit-events/{event['id']}/").status_code == 405
    assert AuditEvent.objects.count() == 2
