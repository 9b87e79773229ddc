"""Every page: who gets it, what it costs, and that no secret is in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices.models import (
    Device,
    DeviceGroup,
    IssuanceRequest,
    KeyAndCertificate,
    ScepServer,
    ScepSettings,
    summary,
)
from devices.rules.lifecycle import State
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def add_history(device: Device) -> None:
    """A success with its certificate, and an error after it."""
    key = KeyAndCertificate.objects.create(
        device=device,
        name="SCEP",
        key_length=2048,
        private_key_encrypted=b"THE-PRIVATE-KEY",
        certificate="-----BEGIN CERTIFICATE-----\n",
        subject="CN=mfp",
        not_before=NOW,
        not_after=NOW + timedelta(days=30),
        issued_at=NOW,
    )
    for sequence, state, details in ((91, State.SUCCESSFUL, ""), (92, State.FAILED, "Deferred")):
        IssuanceRequest.objects.create(
            device=device,
            sequence=sequence,
            trigger="timer",
            state=state,
            details=details,
            explanation="It was so." if details else "",
            request_at=NOW,
            completed_at=NOW,
            certificate=None if details else key,
        )
    summary.refresh([device.pk])


@pytest.fixture
def device() -> Device:
    device = make_timed_device(make_server(), challenge_password=CHALLENGE, request_interval_days=30)
    add_history(device)
    return device


def pages(device: Device) -> list[str]:
    """Addresses of everything that can be looked at."""
    server = ScepServer.objects.get()
    group = DeviceGroup.objects.create(name="HQ", time_zone="America/Sao_Paulo")
    return [
        reverse("start"),
        reverse("overview"),
        reverse("device-list"),
        reverse("device-detail", args=[device.pk]),
        reverse("device-state", args=[device.pk]),
        reverse("server-list"),
        reverse("group-list"),
        reverse("certificate", args=[device.pk, device.keys.get().pk]),
        reverse("device-add"),
        reverse("device-edit", args=[device.pk]),
        reverse("device-delete", args=[device.pk]),
        reverse("device-settings", args=[device.pk]),
        reverse("device-request", args=[device.pk]),
        reverse("server-add"),
        reverse("server-edit", args=[server.pk]),
        reverse("server-delete", args=[server.pk]),
        reverse("group-add"),
        reverse("group-edit", args=[group.pk]),
        reverse("group-delete", args=[group.pk]),
    ]


def test_no_page_shows_a_secret(administrator_client: Client, device: Device) -> None:
    stored = ScepSettings.objects.get(device=device).challenge_password_encrypted
    assert stored
    for address in pages(device):
        page = administrator_client.get(address).content
        assert CHALLENGE.encode() not in page, address
        assert bytes(stored) not in page, address
        assert b"THE-PRIVATE-KEY" not in page, address


def test_a_device_page_costs_the_same_for_a_long_log(administrator_client: Client, device: Device) -> None:
    address, queries = reverse("device-detail", args=[device.pk]), []
    for first in (93, 96):
        with CaptureQueriesContext(connection) as captured:
            administrator_client.get(address)
        queries.append(len(captured))
        IssuanceRequest.objects.bulk_create(
            IssuanceRequest(
                device=device,
                sequence=sequence,
                trigger="timer",
                state=State.FAILED,
                request_at=NOW,
                completed_at=NOW,
                server=device.scep_settings.server,
            )
            for sequence in range(first, first + 3)
        )
    assert queries[0] == queries[1]


def test_r16_r17_the_log_shows_the_manuals_words(viewer_client: Client, device: Device) -> None:
    page = viewer_client.get(reverse("device-detail", args=[device.pk])).content.decode()
    for words in (
        "Certificate Issuance Request Status",
        "To Be Processed",
        "Deferred",
        "It was so.",
        "Successful",
    ):
        assert words in page


def test_times_are_those_of_the_devices_group(administrator_client: Client) -> None:
    group = DeviceGroup.objects.create(name="BR", time_zone="America/Sao_Paulo")
    start = datetime(2087, 11, 20, 8, 0, tzinfo=UTC)
    device = make_timed_device(make_server(), request_start_at=start)
    Device.objects.filter(pk=device.pk).update(group=group)
    page = administrator_client.get(reverse("device-detail", args=[device.pk])).content.decode()
    assert "Times in America/Sao_Paulo" in page
    assert "20 Nov 2087, 05:00:00" in page, "08:00 UTC"


def test_the_list_is_filtered_sorted_and_paged(viewer_client: Client) -> None:
    for number in range(60):
        make_device(name=f"dev-{number:02}", location="Berlin" if number % 2 else "Curitiba")
    address = reverse("device-list")
    page = viewer_client.get(address, {"search": "berlin", "ordering": "-name"}).content.decode()
    names = re.findall(r">(dev-\d\d)<", page)
    assert names == [f"dev-{number:02}" for number in range(59, 0, -2)]
    second = viewer_client.get(address, {"page": "2"}).content.decode()
    assert re.findall(r">(dev-\d\d)<", second) == [f"dev-{number}" for number in range(50, 60)]
    fragment = viewer_client.get(address, {"page": "2"}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    assert "dev-50" in fragment


def test_nonsense_in_the_address_is_no_error(viewer_client: Client) -> None:
    make_device()
    response = viewer_client.get(
        reverse("device-list"), {"status": "x", "page": "-3", "ordering": "password"}
    )
    assert response.status_code == 200
    assert "Status: Select a valid choice." in response.content.decode()


def test_an_empty_fleet_says_what_to_do_next(administrator_client: Client, viewer_client: Client) -> None:
    assert reverse("server-add") in administrator_client.get(reverse("start")).content.decode()
    assert "An administrator can add them." in viewer_client.get(reverse("start")).content.decode()
