"""Who the client is behind proxies, and how often it may guess."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from rest_framework.throttling import SimpleRateThrottle

from devices.models import AuditEvent
from fleet.security import ClientAddressMiddleware
from tests.conftest import PASSWORD

PROXY = "10.0.0.9"


def seen(forwarded: str | None, proxies: int) -> str:
    """The client's address as views see it."""
    found: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append(request.META["REMOTE_ADDR"])
        return HttpResponse()

    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=PROXY)
    with override_settings(PROXIES=proxies):
        ClientAddressMiddleware(view)(request)
    return found[0]


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("192.0.2.1", 0, PROXY),
        (None, 1, PROXY),
        ("192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.8", 2, "192.0.2.1"),
        ("192.0.2.1", 2, PROXY),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("unknown", 1, PROXY),
        ("", 1, PROXY),
    ],
)
def test_only_what_our_proxies_say_is_believed(forwarded: str | None, proxies: int, address: str) -> None:
    assert seen(forwarded, proxies) == address


@pytest.mark.django_db
def test_the_audit_trail_names_the_client(administrator_client: Client) -> None:
    with override_settings(PROXIES=1):
        administrator_client.post(
            reverse("group-add"),
            {"name": "HQ", "time_zone": "UTC"},
            headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.1"},
        )
    assert AuditEvent.objects.get().address == "192.0.2.1"


@pytest.mark.django_db
def test_guessing_is_slowed_down_whatever_headers_say(
    administrator: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all within one minute, however long they take
    monkeypatch.setattr(SimpleRateThrottle, "timer", staticmethod(lambda: 1_800_000_000.0))
    address = reverse("sign-in")
    for number in range(30):
        client.post(
            address,
            {"username": "administrator", "password": "wrong"},
            headers={"X-Forwarded-For": f"192.0.2.{number}"},
        )
    page = client.post(address, {"username": "administrator", "password": PASSWORD}).content.decode()
    assert "Too many tries" in page
    token = client.post(
        "/api/v1/auth/token/",
        {"username": "administrator", "password": PASSWORD},
        content_type="application/json",
    )
    assert token.status_code == 429, "both doors count together"
