"""ETags: what did not change is not sent again, and what did change is not overwritten unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.urls import URLPattern, URLResolver
from rest_framework.test import APIClient

from devices.api.conditional import CHANGING, ConditionalUpdates
from devices.api.urls import urlpatterns
from devices.models import Device, ScepServer
from tests.devices.conftest import client_of
from tests.devices.factories import make_device, make_key, make_server

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"


def tag(api: APIClient, address: str) -> str:
    return str(api.get(address)["ETag"])


@pytest.fixture
def addresses() -> list[str]:
    """One of each single resource that can be changed."""
    device = make_device(make_server())
    group = "/api/v1/device-groups/"
    return [
        f"{DEVICES}{device.pk}/",
        f"{DEVICES}{device.pk}/scep-settings/",
        f"/api/v1/scep-servers/{ScepServer.objects.get().pk}/",
        group,
    ]


class TestReading:
    def test_every_resource_has_a_strong_tag_that_follows_its_content(
        self, api: APIClient, addresses: list[str]
    ) -> None:
        make_key(Device.objects.get())
        for address in (*addresses, f"{DEVICES}{Device.objects.get().pk}/keys/", DEVICES, "/api/v1/jobs/"):
            first, second = tag(api, address), tag(api, address)
            assert re.fullmatch(r'"[0-9a-f]{32}"', first), address
            assert first == second
            indented = api.get(address, headers={"Accept": "application/json; indent=4"})
            assert indented["ETag"] == first
        before = tag(api, addresses[0])
        api.patch(addresses[0], {"location": "Lobby"})
        assert tag(api, addresses[0]) != before

    def test_who_has_it_is_told_so(self, api: APIClient, addresses: list[str]) -> None:
        known = tag(api, addresses[0])
        for value in (known, f'"other", {known}', f"W/{known}", "*"):
            response = api.get(addresses[0], headers={"If-None-Match": value})
            assert (response.status_code, response.content) == (304, b""), value
            assert response["ETag"] == known
        assert api.get(addresses[0], headers={"If-None-Match": '"other"'}).status_code == 200
        assert api.head(addresses[0], headers={"If-None-Match": known}).status_code == 304

    def test_caches_in_between_keep_nothing(self, api: APIClient) -> None:
        assert api.get(DEVICES)["Cache-Control"] == "private, no-cache"

    def test_errors_have_none(self, api: APIClient) -> None:
        assert "ETag" not in api.get(f"{DEVICES}77/")


class TestChanging:
    CHANGES: tuple[dict[str, Any], ...] = ({"location": "x"}, {"organization": "x"}, {"timeout": 9})

    def test_with_the_version_that_was_read(self, api: APIClient, addresses: list[str]) -> None:
        for address, body in zip(addresses, self.CHANGES, strict=False):
            response = api.patch(address, body, headers={"If-Match": tag(api, address)})
            assert response.status_code == 200, response.content
            assert body.items() <= api.get(address).json().items()

    @pytest.mark.parametrize("value", ['"0123"', "W/{}", '"a", "b"', "x", ""])
    def test_with_another_it_is_refused_and_nothing_changes(
        self, api: APIClient, addresses: list[str], value: str
    ) -> None:
        for address, body in zip(addresses, self.CHANGES, strict=False):
            before = tag(api, address)
            for method, data in (("patch", body), ("put", body), ("delete", None)):
                wrong = {"If-Match": value.format(before)}
                response = getattr(api, method)(address, data, headers=wrong)
                if response.status_code == 405:
                    continue
                assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")
                assert tag(api, address) == before

    def test_with_any_or_several(self, api: APIClient, addresses: list[str]) -> None:
        body = {"location": "x"}
        assert api.patch(addresses[0], body, headers={"If-Match": "*"}).status_code == 200
        several = f'"other", {tag(api, addresses[0])}'
        assert api.patch(addresses[0], {"location": "y"}, headers={"If-Match": several}).status_code == 200

    def test_deleting(self, api: APIClient, addresses: list[str]) -> None:
        known = tag(api, addresses[0])
        api.patch(addresses[0], {"location": "x"})
        assert api.delete(addresses[0], headers={"If-Match": known}).status_code == 412
        assert api.delete(addresses[0], headers={"If-Match": tag(api, addresses[0])}).status_code == 204

    def test_who_may_not_learns_nothing(self, viewer_api: APIClient, addresses: list[str]) -> None:
        assert viewer_api.patch(addresses[0], {}, headers={"If-Match": '"x"'}).status_code == 403

    def test_what_does_not_exist(self, api: APIClient) -> None:
        assert api.patch(f"{DEVICES}77/", {}, headers={"If-Match": '"x"'}).status_code == 404

    def test_bad_input_is_rolled_back(self, api: APIClient, addresses: list[str]) -> None:
        known = tag(api, addresses[0])
        response = api.patch(addresses[0], {"key_limit": 0}, headers={"If-Match": known})
        assert response.status_code == 400
        assert tag(api, addresses[0]) == known


def views(patterns: list[Any]) -> Iterator[URLPattern]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        else:
            yield pattern


def test_every_view_that_changes_a_resource_heeds_if_match() -> None:
    seen = 0
    for pattern in views(urlpatterns):
        callback: Any = pattern.callback
        actions = getattr(callback, "actions", None)
        methods = actions if actions is not None else set(dir(callback.cls))
        if CHANGING & {str(name).upper() for name in methods}:
            seen += 1
            assert issubclass(callback.cls, ConditionalUpdates), pattern
    assert seen >= 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("part", "field"), [("", "location"), ("scep-settings/", "organization")])
def test_of_several_at_once_one_is_taken(part: str, field: str) -> None:
    # a superuser: a transactional test may find no groups
    root = User.objects.create_superuser("root")
    address = f"{DEVICES}{make_device(make_server()).pk}/{part}"
    clients = [client_of(root) for _ in range(4)]
    known, barrier = tag(clients[0], address), Barrier(len(clients))

    def change(number: int) -> int:
        try:
            barrier.wait(timeout=600)
            body = {field: f"value {number}"}
            return int(clients[number].patch(address, body, headers={"If-Match": known}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(clients)) as pool:
        statuses = sorted(pool.map(change, range(len(clients)), timeout=600))
    assert statuses == [200, 412, 412, 412]
