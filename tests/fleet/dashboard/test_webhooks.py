"""The pages about webhooks: administrators' alone, secrets shown once, deliveries looked at."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices.audit import SYSTEM
from devices.models import Webhook, WebhookDelivery
from devices.webhooks import service, signing
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

FORM = {
    "name": "CMDB",
    "url": "https://cmdb.example.com/",
    "events": "certificate.expiring",
    "days_before_expiry": "30",
}


@pytest.fixture
def webhook() -> Webhook:
    return service.create(SYSTEM, name="Old", url="http://127.0.0.1:9/", events=["certificate.expiring"])[0]


def test_a_drawn_secret_is_shown_once(administrator_client: Client) -> None:
    response = administrator_client.post(reverse("webhook-add"), FORM | {"is_enabled": "on"})
    secret = Document(response).all("input", id="secret")[0].get("value")
    webhook = Webhook.objects.get()
    assert webhook.reveal_secret() == secret
    assert "no-store" in response["Cache-Control"]
    for name, arguments in (
        ("webhook-list", []),
        ("webhook-detail", [webhook.pk]),
        ("webhook-edit", [webhook.pk]),
    ):
        assert secret not in Document(administrator_client.get(reverse(name, args=arguments))).source


def test_ones_own_secret_is_stored_and_kept(administrator_client: Client) -> None:
    secret = signing.draw_secret()
    response = administrator_client.post(reverse("webhook-add"), FORM | {"secret": secret})
    webhook = Webhook.objects.get()
    assert response["Location"] == reverse("webhook-detail", args=[webhook.pk])
    administrator_client.post(reverse("webhook-edit", args=[webhook.pk]), FORM | {"name": "New"})
    webhook.refresh_from_db()
    assert (webhook.name, webhook.reveal_secret(), webhook.is_enabled) == ("New", secret, False)


def test_bad_input_stands_at_its_field(administrator_client: Client) -> None:
    wrong = {**FORM, "url": "ftp://x/", "secret": "short"}
    response = administrator_client.post(reverse("webhook-add"), wrong)
    assert response.status_code == 422
    found = {e.get("id") for e in Document(response).elements if e.get("id").endswith("_error")}
    assert "id_url_error" in found
    assert not Document(response).control("secret").get("value")


def test_a_test_event_stands_among_the_deliveries(administrator_client: Client, webhook: Webhook) -> None:
    page = reverse("webhook-detail", args=[webhook.pk])
    assert "Nothing was sent yet" in Document(administrator_client.get(page)).text
    response = administrator_client.post(reverse("webhook-test", args=[webhook.pk]), follow=True)
    shown = Document(response).text
    assert "webhook.test" in shown
    assert "Waiting" in shown
    WebhookDelivery.objects.update(
        state="failed", completed_at=timezone.now(), next_action_at=None, status_code=500, answer="<b>no</b>"
    )
    document = Document(administrator_client.get(page))
    assert "500 <b>no</b>" in document.text
    assert "Given up" in document.text


@pytest.mark.parametrize("name", ["webhook-list", "webhook-detail", "webhook-test"])
def test_nobody_else_sees_them(
    name: str, webhook: Webhook, client: Client, viewer_client: Client, operator_client: Client
) -> None:
    address = reverse(name, args=[] if name == "webhook-list" else [webhook.pk])
    send: Any = "post" if name == "webhook-test" else "get"
    assert getattr(client, send)(address)["Location"].startswith(reverse("sign-in"))
    for looking in (viewer_client, operator_client):
        assert getattr(looking, send)(address).status_code == 403
        assert reverse("webhook-list") not in Document(looking.get(reverse("token-list"))).links
    assert not WebhookDelivery.objects.exists()


def test_lists_cost_the_same_for_few_and_many(administrator_client: Client, webhook: Webhook) -> None:
    counts = []
    for number in (2, 20):
        for index in range(number):
            service.create(
                SYSTEM, name=f"{number}-{index}", url="http://127.0.0.1:9/", events=["device.drift"]
            )
            service.send_test(SYSTEM, webhook)
        for address in (reverse("webhook-list"), reverse("webhook-detail", args=[webhook.pk])):
            with CaptureQueriesContext(connection) as captured:
                administrator_client.get(address)
            counts.append(len(captured))
    assert counts[:2] == counts[2:]
