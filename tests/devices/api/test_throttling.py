"""How often a token may call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache.backends.redis import RedisCache
from django.test import Client, override_settings
from rest_framework.test import APIClient

from devices.api import throttling
from tests.devices.conftest import client_of
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"


@pytest.fixture(autouse=True)
def three_an_hour(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And a counter that is waited for: one that is slow would limit nobody, here and in the tests before."""
    monkeypatch.setattr(throttling, "_clock", lambda: 7200.0)
    monkeypatch.setattr(throttling, "_pause_ends", 0.0)
    counters = RedisCache(settings.CACHES["counters"]["LOCATION"], {})
    counters.clear()
    monkeypatch.setattr(throttling, "caches", {"counters": counters})
    with override_settings(API_RATE=(3, 3600)):
        yield


def test_a_token_has_its_calls_and_another_has_its_own(administrator: User) -> None:
    first, second = client_of(administrator), client_of(administrator)
    statuses = [first.get(DEVICES).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert second.get(DEVICES).status_code == 200


def test_what_it_is_told(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        api.get(DEVICES)
    monkeypatch.setattr(throttling, "_clock", lambda: 7200.0 + 3590)
    response = api.post(DEVICES, {})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (429, "throttled")
    assert response["Content-Type"] == "application/problem+json"
    assert response["Retry-After"] == "10"
    monkeypatch.setattr(throttling, "_clock", lambda: 7200.0 + 3600)
    assert api.get(DEVICES).status_code == 200


def test_whoever_signed_in_is_counted_too(viewer_client: Client) -> None:
    assert [viewer_client.get(DEVICES).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_pages_are_not(viewer_client: Client) -> None:
    assert {viewer_client.get("/devices/").status_code for _ in range(5)} == {200}


def test_without_a_limit_nobody_counts(api: APIClient) -> None:
    with override_settings(API_RATE=None):
        assert {api.get(DEVICES).status_code for _ in range(5)} == {200}


def test_a_counter_that_is_away_limits_nobody_and_is_left_alone_for_a_while(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = RedisCache(f"redis://127.0.0.1:{free_port()}", {})
    monkeypatch.setattr(throttling, "caches", {"counters": nobody})
    assert {api.get(DEVICES).status_code for _ in range(5)} == {200}
    assert len([record for record in caplog.records if "not counted" in record.message]) == 1
