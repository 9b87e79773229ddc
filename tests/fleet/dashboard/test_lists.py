"""The list of devices: search, filters, sorting, pages, and as many queries for five as for fifty."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from devices import inventory
from devices.audit import SYSTEM
from devices.models import Device
from fleet.dashboard.views.common import PAGE_SIZE
from tests.devices.api.test_deployments import make_deployment
from tests.devices.factories import make_device, make_server, make_timed_device
from tests.fleet.dashboard.conftest import make_key, make_line
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db


def shown(page: Document) -> list[str]:
    """Names of the devices in the table, as they stand."""
    targets = {
        reverse("device-detail", args=[pk]): name for pk, name in Device.objects.values_list("pk", "name")
    }
    found = [targets[link.get("href")] for link in page.all("a") if link.get("href") in targets]
    return list(dict.fromkeys(found))


@pytest.fixture
def three() -> None:
    make_device(name="alpha", host="10.0.0.3", location="Berlin")
    make_device(name="beta", host="10.0.0.2", location="Berlin")
    make_device(name="gamma", host="10.0.0.1", location="Recife")
    Device.objects.filter(name="beta").update(status="error", details="Deferred")


@pytest.mark.usefixtures("three")
class TestDeviceList:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", ["alpha", "beta", "gamma"]),
            ("search=berlin", ["alpha", "beta"]),
            ("status=error", ["beta"]),
            ("status=none", ["alpha", "gamma"]),
            ("details=Deferred", ["beta"]),
            ("ordering=host", ["gamma", "beta", "alpha"]),
            ("ordering=-name", ["gamma", "beta", "alpha"]),
            ("search=berlin&ordering=-name", ["beta", "alpha"]),
            # what nobody can mean sorts by name
            ("ordering=scep_settings__challenge_password_encrypted", ["alpha", "beta", "gamma"]),
            ("ordering=--name", ["alpha", "beta", "gamma"]),
            # the same value comes by id, which turns round with it: one walk along an index
            ("ordering=location&search=berlin", ["alpha", "beta"]),
            ("ordering=-location&search=berlin", ["beta", "alpha"]),
            ("page=99", ["alpha", "beta", "gamma"]),
        ],
    )
    def test_finds_and_sorts(self, viewer_client: Client, query: str, expected: list[str]) -> None:
        assert shown(Document(viewer_client.get(f"{reverse('device-list')}?{query}"))) == expected

    def test_what_was_chosen_stays_in_the_form(self, viewer_client: Client) -> None:
        page = Document(viewer_client.get(reverse("device-list"), {"search": "berlin", "status": "error"}))
        assert page.control("search").get("value") == "berlin"
        (chosen,) = page.all("option", value="error")
        assert "selected" in chosen.attributes

    def test_a_filter_without_sense_is_explained(self, viewer_client: Client) -> None:
        page = Document(viewer_client.get(reverse("device-list"), {"status": "sideways"}))
        assert shown(page) == []
        assert "sideways is not one of the available choices" in page.text

    def test_the_sorted_column_says_so(self, viewer_client: Client) -> None:
        page = Document(viewer_client.get(reverse("device-list"), {"ordering": "-host", "search": "berlin"}))
        (head,) = [head for head in page.all("th") if head.get("aria-sort") in {"ascending", "descending"}]
        assert head.get("aria-sort") == "descending"
        assert head.text.startswith("Address")
        assert "?ordering=host&search=berlin" in page.links

    def test_htmx_gets_the_table_alone(self, viewer_client: Client) -> None:
        response = viewer_client.get(reverse("device-list"), headers={"HX-Request": "true"})
        page = Document(response)
        assert not page.all("html")
        assert shown(page) == ["alpha", "beta", "gamma"]
        assert "HX-Request" in response["Vary"]

    def test_a_page_that_the_browser_restores_is_whole(self, viewer_client: Client) -> None:
        headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
        page = Document(viewer_client.get(reverse("device-list"), headers=headers))
        assert page.all("html")

    def test_nothing_found_says_how_to_go_on(self, viewer_client: Client) -> None:
        page = Document(viewer_client.get(reverse("device-list"), {"search": "nowhere"}))
        assert shown(page) == []
        assert reverse("device-list") in page.links


class TestEmptyFleet:
    def test_an_administrator_is_led_to_the_first_device(self, administrator_client: Client) -> None:
        for name in ("device-list", "start"):
            assert reverse("device-add") in Document(administrator_client.get(reverse(name))).links

    def test_a_viewer_is_not(self, viewer_client: Client) -> None:
        for name in ("device-list", "start"):
            response = viewer_client.get(reverse(name))
            assert response.status_code == 200
            assert reverse("device-add") not in Document(response).links


def test_pages_keep_the_filter(viewer_client: Client) -> None:
    inventory.create_devices(
        SYSTEM, [{"name": f"p-{n:03}", "host": "10.0.0.1"} for n in range(PAGE_SIZE + 3)]
    )
    first = Document(viewer_client.get(reverse("device-list"), {"search": "p-"}))
    assert len(shown(first)) == PAGE_SIZE
    assert "?search=p-&page=2" in first.links
    second = Document(viewer_client.get(reverse("device-list"), {"search": "p-", "page": "2"}))
    assert shown(second) == ["p-050", "p-051", "p-052"]


def populate(count: int) -> None:
    """`count` devices that differ in everything a list shows."""
    server = make_server()
    group = inventory.create_group(SYSTEM, name=f"Group of {count}", time_zone="Asia/Tokyo")
    for number in range(count):
        device = make_timed_device(server)
        inventory.update_device(SYSTEM, device, group=group)
        device = Device.objects.select_related("scep_settings__server").get(pk=device.pk)
        make_line(device, 2, details=f"Communication Error (TOP ERROR {500 + number})")
        make_deployment(make_key(device))


def queries(client: Client, path: str, django_connection: Any) -> int:
    with CaptureQueriesContext(django_connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize(
    "path",
    ["device-list", "start", "overview", "server-list", "group-list", "load"],
)
def test_as_many_queries_for_five_devices_as_for_forty(
    path: str, viewer_client: Client, settings: Settings
) -> None:
    from django.db import connection

    viewer_client.get(reverse(path))  # the session is there, the content types are cached
    populate(5)
    few = queries(viewer_client, reverse(path), connection)
    populate(35)
    assert queries(viewer_client, reverse(path), connection) == few
