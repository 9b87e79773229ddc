"""Lists over REST: every row once, in order, page after page, however many rows share a value or have none."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.filters import DEVICE_ORDERINGS
from devices.models import Device
from tests.devices.factories import just_passed

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"
MOMENTS = ("status_at", "next_request_at", "expires_at")


def make(number: int, **fields: Any) -> None:
    """Devices with a few locations, models, states and moments between them, every third without any moment."""
    Device.objects.bulk_create(
        Device(
            name=f"mfp-{n:05}",
            host=f"10.0.0.{n % 7}",
            serial_number=f"S{n * 37 % 101:03}-{n}",
            model=f"X{n % 3}",
            location=f"Floor {n % 2}",
            status=("", "error", "successful")[n % 3],
            **{name: just_passed() + timedelta(hours=n % 4) if n % 3 else None for name in MOMENTS},
            **fields,
        )
        for n in range(number)
    )


def walk(api: APIClient, address: str, link: str = "next") -> list[list[dict[str, Any]]]:
    """The pages from `address` on, each as it came."""
    pages = []
    while address:
        page = api.get(address).json()
        pages.append(page["results"])
        address = page[link]
        assert len(pages) < 100, "goes round in circles"
    return pages


def sorted_by(name: str, *, is_descending: bool) -> list[str]:
    """The names of all devices as the list should have them: by value, then by id; without a value last."""
    with_value = Device.objects.exclude(**{name: None}) if name in MOMENTS else Device.objects.all()
    rows = sorted(with_value, key=lambda row: (getattr(row, name), row.pk), reverse=is_descending)
    without = Device.objects.exclude(pk__in=[row.pk for row in rows])
    rows += sorted(without, key=lambda row: row.pk, reverse=is_descending)
    return [row.name for row in rows]


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("name", DEVICE_ORDERINGS)
def test_devices_by_every_column_forth_and_back(api: APIClient, name: str, sign: str) -> None:
    make(31)
    pages = walk(api, f"{DEVICES}?page_size=4&ordering={sign}{name}")
    expected = sorted_by(name, is_descending=sign == "-")
    assert [row["name"] for page in pages for row in page] == expected
    last = api.get(f"{DEVICES}?page_size=4&ordering={sign}{name}").json()
    while last["next"]:
        last = api.get(last["next"]).json()
    back = walk(api, last["previous"], "previous")
    shown = [row["name"] for page in reversed(back) for row in page]
    assert [*shown, *(row["name"] for row in last["results"])] == expected


@pytest.mark.parametrize("name", ["location", "expires_at"])
def test_thousands_with_one_value_end_somewhere(api: APIClient, name: str) -> None:
    Device.objects.bulk_create(
        Device(name=f"mfp-{n}", host="10.0.0.1", location="Lobby") for n in range(2600)
    )
    pages = walk(api, f"{DEVICES}?page_size=500&ordering={name}")
    assert len({row["id"] for page in pages for row in page}) == 2600
    assert [len(page) for page in pages] == [500] * 5 + [100]


def test_what_comes_and_goes_meanwhile_moves_nobody_else(api: APIClient) -> None:
    make(12)
    first = api.get(f"{DEVICES}?page_size=4&ordering=name").json()
    shown = [row["name"] for row in first["results"]]
    Device.objects.filter(name=shown[0]).delete()
    Device.objects.create(name="a-new-one", host="10.0.0.1")
    assert api.get(first["next"]).json()["results"][0]["name"] == "mfp-00004"
    # a page whose rows are all gone leads back to those that are there
    Device.objects.filter(name__gt="mfp-00003").delete()
    empty = api.get(first["next"]).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert [row["name"] for row in api.get(empty["previous"]).json()["results"]] == ["a-new-one", *shown[1:]]


def test_a_page_costs_the_same_for_many_and_few(api: APIClient) -> None:
    make(9)
    counts: dict[str, set[int]] = {}
    for more in range(2):
        for name in DEVICE_ORDERINGS:
            address: str | None = f"{DEVICES}?page_size=3&ordering={name}"
            for _page in range(3):
                assert address
                with CaptureQueriesContext(connection) as captured:
                    address = api.get(address).json()["next"]
                counts.setdefault(name, set()).add(len(captured))
        if not more:
            Device.objects.bulk_create(Device(name=f"more-{n}", host="10.0.0.1") for n in range(40))
    plain = max(counts["name"])
    assert {max(counts[name]) for name in DEVICE_ORDERINGS if name not in MOMENTS} == {plain}
    assert {max(counts[name]) for name in MOMENTS} == {plain + 1}, "those with a moment, then those without"


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize(
    "place",
    ["x", "1 x", "1 0001-01-01T00:00:00+23:59", "1 10000-01-01", "-1", "9" * 30, "1 2026-13-01 00:00"],
)
def test_a_place_that_no_page_gave_is_refused(api: APIClient, name: str, place: str) -> None:
    make(3)
    cursor = b64encode(f"p={place.replace('+', '%2B')}".encode()).decode()
    response = api.get(DEVICES, {"ordering": name, "cursor": cursor})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["cursor"])


def test_a_place_of_another_ordering_is_refused(api: APIClient) -> None:
    make(5)
    address = api.get(f"{DEVICES}?page_size=2&ordering=name").json()["next"]
    response = api.get(address.replace("ordering=name", "ordering=expires_at"))
    assert (response.status_code, list(response.json()["errors"])) == (400, ["cursor"])


def test_the_document_names_them(api: APIClient) -> None:
    schema = api.get("/api/v1/schema/?format=json").json()
    parameters = schema["paths"]["/api/v1/devices/"]["get"]["parameters"]
    (ordering,) = [each for each in parameters if each["name"] == "ordering"]
    assert set(ordering["schema"]["enum"]) == {
        f"{sign}{name}" for name in DEVICE_ORDERINGS for sign in ("", "-")
    }
