"""R7 on the pages: [Restart], the last restarts, and the connector in the device's form."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices.delivery.connectors import registry
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.runner import NEVER_CAME_BACK
from devices.enrollment.ending import FUNCTION_IS_OFF, RESTART_BY_HAND
from devices.models import AuditEvent, Device, Job, Restart
from tests.devices.delivery.doubles import PASSWORD, URL, Secretive
from tests.devices.factories import VIRTUAL, make_device, make_server
from tests.fleet.dashboard.conftest import make_line
from tests.fleet.dashboard.filling import Form, errors_at
from tests.fleet.dashboard.html import Document, Element

pytestmark = pytest.mark.django_db


def page_of(client: Client, device: Device) -> Document:
    return Document(client.get(reverse("device-detail", args=[device.pk])))


def restart_button(page: Document) -> Element | None:
    return next((button for button in page.all("button") if button.text == "Restart"), None)


def make_restart(device: Device, **fields: Any) -> Restart:
    now = timezone.now()
    values = {
        "trigger": "manual",
        "state": "failed",
        "asked_by": "ana",
        "created_at": now,
        "completed_at": now,
    }
    return Restart.objects.create(device=device, **values | fields)


class TestButton:
    def test_r7_it_is_pressed_and_what_comes_of_it_is_shown(self, operator_client: Client) -> None:
        device = make_device(**VIRTUAL)
        page = page_of(operator_client, device)
        button = restart_button(page)
        assert button
        assert "disabled" not in button.attributes
        address = reverse("device-restart", args=[device.pk])
        assert address in page.posts
        response = operator_client.post(address, follow=True)
        assert "The device restarts soon." in Document(response).text
        restart = Restart.objects.get(device=device)
        assert (restart.state, restart.asked_by) == ("waiting", "operator")
        assert AuditEvent.objects.get(action="restart.create").source == "dashboard"
        page = page_of(operator_client, device)
        button = restart_button(page)
        assert button
        assert "disabled" in button.attributes
        (reason,) = [e.text for e in page.elements if e.get("id") == button.get("aria-describedby")]
        assert "under way" in reason
        again = operator_client.post(address)
        assert (again.status_code, "under way" in Document(again).text) == (409, True)

    def test_r7_without_a_connector_it_is_locked_and_says_why(self, administrator_client: Client) -> None:
        page = page_of(administrator_client, make_device())
        button = restart_button(page)
        assert button
        assert "disabled" in button.attributes
        assert "This device has no connector." in page.text

    def test_a_viewer_sees_the_restarts_and_no_button(self, viewer_client: Client) -> None:
        device = make_device(**VIRTUAL)
        make_restart(device, explanation=NEVER_CAME_BACK)
        page = page_of(viewer_client, device)
        assert restart_button(page) is None
        assert NEVER_CAME_BACK in page.text

    def test_the_newest_ones_are_shown_at_one_cost(self, administrator_client: Client) -> None:
        device, counts = make_device(**VIRTUAL), []
        address = reverse("device-state", args=[device.pk])
        for first, last in ((0, 2), (2, 9)):
            for number in range(first, last):
                at = timezone.now() + timedelta(seconds=number)
                make_restart(device, explanation=f"Number {number}.", created_at=at)
            with CaptureQueriesContext(connection) as captured:
                page = Document(administrator_client.get(address))
            counts.append(len(captured))
        assert counts[0] == counts[1]
        assert [number for number in range(9) if f"Number {number}." in page.text] == [4, 5, 6, 7, 8]

    def test_a_restart_that_is_done_says_how_long_it_took(self, viewer_client: Client) -> None:
        device, now = make_device(**VIRTUAL), timezone.now()
        make_restart(device, state="done", requested_at=now - timedelta(seconds=42), completed_at=now)
        assert "Back after 42 s" in page_of(viewer_client, device).text

    def test_in_the_readers_language(self, viewer_client: Client) -> None:
        device = make_device(make_server(), **VIRTUAL)
        make_restart(device, explanation=NEVER_CAME_BACK)
        found = Device.objects.select_related("scep_settings__server").get(pk=device.pk)
        make_line(
            found, 1, state="successful", details="", explanation=f"{FUNCTION_IS_OFF}\n{RESTART_BY_HAND}"
        )
        viewer_client.post(reverse("set_language"), {"language": "pt-br", "next": "/"})
        text = page_of(viewer_client, device).text
        assert "Reinicializações" in text
        for sentence in (NEVER_CAME_BACK, FUNCTION_IS_OFF, RESTART_BY_HAND):
            assert sentence not in text


def test_r7_a_selection_is_restarted(operator_client: Client) -> None:
    devices = [make_device(**VIRTUAL) for _ in range(2)]
    listed = Document(operator_client.get(reverse("device-list")))
    actions = {button.get("formaction") for button in listed.all("button")}
    assert reverse("restart-devices") in actions
    assert reverse("manual-requests") not in actions, "R1"
    address = f"{reverse('restart-devices')}?device={devices[0].pk}&device={devices[1].pk}"
    assert "Restart 2 devices" in Document(operator_client.get(address)).text
    response = operator_client.post(address)
    job = Job.objects.get()
    assert (job.kind, job.total, response["Location"]) == ("restart", 2, reverse("job-detail", args=[job.pk]))
    assert operator_client.get(reverse("restart-devices")).status_code == 400


class TestForm:
    def test_a_connector_is_chosen_with_its_settings(self, administrator_client: Client) -> None:
        device = make_device()
        form = Form(administrator_client, "device-edit", device.pk)
        form.submit(connector="virtual", virtual__url=URL)
        device.refresh_from_db()
        assert (device.connector, device.connector_settings) == ("virtual", {"url": URL})
        events = AuditEvent.objects.count()
        form.submit()
        device.refresh_from_db()
        assert device.connector_settings == {"url": URL}
        assert AuditEvent.objects.count() == events, "saved unchanged"
        form.submit(connector="none")
        device.refresh_from_db()
        assert (device.connector, device.connector_settings) == ("none", {})

    @pytest.mark.parametrize(
        ("url", "words"), [("", "required"), ("http://x/", "not the address of a virtual")]
    )
    def test_what_does_not_fit_is_said_at_its_field(
        self, administrator_client: Client, url: str, words: str
    ) -> None:
        device = make_device()
        form = Form(administrator_client, "device-edit", device.pk)
        page = form.submit(422, connector="virtual", virtual__url=url)
        assert set(errors_at(page)) == {"virtual__url"}
        assert words in errors_at(page)["virtual__url"]

    def test_secrets_go_in_stay_and_are_not_shown(
        self, administrator_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "known", lambda: {"secretive": Secretive, "virtual": VirtualConnector})
        device = make_device()
        form = Form(administrator_client, "device-edit", device.pk)
        form.submit(connector="secretive", secretive__port="8443", secretive__password=PASSWORD)
        device = Device.objects.get(pk=device.pk)
        expected = ({"port": 8443, "pinned": False}, {"password": PASSWORD})
        assert (device.connector_settings, device.connect().target.secrets) == expected
        page = administrator_client.get(form.address).content.decode()
        assert PASSWORD not in page
        assert "It is stored. Leave this empty to keep it." in page
        form.submit(secretive__port="1")
        device = Device.objects.get(pk=device.pk)
        assert device.connect().target.secrets == {"password": PASSWORD}
        page = form.submit(422, secretive__port="0", secretive__password=PASSWORD)
        assert set(errors_at(page)) == {"secretive__port"}
        assert PASSWORD not in page
