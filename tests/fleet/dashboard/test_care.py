"""Pages about one device's connection, a key by hand, and finding devices."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from django.test import Client
from django.urls import reverse

from devices import doorbell
from devices.delivery import identify
from devices.delivery.connectors.base import Identity
from devices.models import AuditEvent, Device, DeviceSearch, FoundDevice, RestartSettings
from devices.models.device import SECRETS_HELD
from devices.models.restart_settings import SNMP_SECRETS_HELD
from tests.devices.delivery.test_download import real_key
from tests.devices.factories import make_device
from tests.fleet.dashboard.filling import Form, errors_at
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

COMMUNITY = "community-of-the-device"


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_searches", lambda: True)


class TestRestarts:
    def test_they_are_set_and_the_password_is_not_shown(self, administrator_client: Client) -> None:
        device = make_device()
        form = Form(administrator_client, "device-restart-settings", device.pk)
        form.submit(
            restart_over_snmp="on",
            use_snmp="on",
            snmp__version="2c",
            snmp__community=COMMUNITY,
            idle_minutes="30",
            when_busy="restart",
        )
        row = RestartSettings.objects.get()
        assert (row.idle_minutes, row.when_busy, row.restart_over_snmp) == (30, "restart", True)
        assert row.snmp_device().target.secrets == {"community": COMMUNITY}
        page = administrator_client.get(form.address).content.decode()
        assert COMMUNITY not in page
        # left empty it stays; without SNMP it goes
        form.submit(idle_minutes="31")
        assert RestartSettings.objects.get().snmp_secrets_set == ["community"]
        page = administrator_client.get(reverse("device-connection", args=[device.pk])).content.decode()
        assert "31 minutes at most" in page
        assert "even during a batch import or export" in page
        form.submit(use_snmp="", restart_over_snmp="")
        assert not RestartSettings.objects.get().has_snmp

    def test_what_does_not_fit_is_said_at_its_field(self, administrator_client: Client) -> None:
        form = Form(administrator_client, "device-restart-settings", make_device().pk)
        page = form.submit(422, use_snmp="on", snmp__username="x", snmp__auth_password="short")
        assert set(errors_at(page)) == {"snmp__auth_password", "snmp__privacy_password"}
        assert "restart_over_snmp" in errors_at(form.submit(422, restart_over_snmp="on"))


class TestIdentity:
    def test_what_differs_is_shown_and_taken_over_when_it_is_confirmed(
        self, operator_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = Identity("Example", "MFP <9>", "A1", "")
        monkeypatch.setattr(identify, "_ways", lambda _device: {"IPP": lambda: told})
        device = make_device(vendor="Example", serial_number="OLD")
        address = reverse("device-identify", args=[device.pk])
        page = operator_client.post(address).content.decode()
        assert re.findall(r'name="found_(\w+)" value="([^"]*)"', page) == [
            ("model", "MFP &lt;9&gt;"),
            ("serial_number", "A1"),
        ]
        device.refresh_from_db()
        assert device.serial_number == "OLD", "nothing before it is confirmed"
        sent = {"take_over": ["serial_number"], "found_serial_number": "A1", "found_model": "MFP"}
        assert operator_client.post(address, sent).status_code == 302
        device.refresh_from_db()
        assert (device.serial_number, device.model) == ("A1", "")

    def test_one_that_says_nothing_and_one_that_is_somebody_elses(
        self, operator_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identify, "_ways", lambda _device: {})
        make_device(serial_number="A1")
        address = reverse("device-identify", args=[make_device().pk])
        assert "did not say what it is" in operator_client.post(address).content.decode()
        response = operator_client.post(address, {"take_over": "serial_number", "found_serial_number": "A1"})
        assert response.status_code == 422
        assert "Another device has this serial number" in response.content.decode()


class TestConnectorTest:
    def test_the_page_tells_what_was_found(self, operator_client: Client) -> None:
        settings = {"profile": "generic", "password": "s3cret-of-it", "login": "none"}
        device = make_device(connector="http_upload", connector_settings=settings)
        page = operator_client.post(reverse("device-connector-test", args=[device.pk])).content.decode()
        assert "not good" in page
        assert "Path of the page with the form" in page
        assert "s3cret-of-it" not in page

    def test_without_a_connector_there_is_nothing_to_try(self, operator_client: Client) -> None:
        device = make_device()
        page = operator_client.get(reverse("device-connection", args=[device.pk])).content.decode()
        assert "Try the settings" not in page
        response = operator_client.post(reverse("device-connector-test", args=[device.pk]))
        assert response.status_code == 409

    def test_the_form_says_what_nobody_tried(self, operator_client: Client) -> None:
        page = operator_client.get(reverse("device-add")).content.decode()
        assert "Brother (built from public reports, not tried on hardware)" in page


class TestKeyByHand:
    def test_it_is_handed_out_once(self, administrator_client: Client) -> None:
        key = real_key()
        page = administrator_client.get(reverse("device-detail", args=[key.device_id])).content.decode()
        address = reverse("key-fetch", args=[key.device_id, key.pk])
        assert address in page
        response = administrator_client.post(address)
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        page = response.content.decode()
        password = re.search(r'id="secret" value="([^"]+)"', page)
        file = re.search(r'href="data:application/x-pkcs12;base64,([^"]+)" download="([^"]+)"', page)
        assert password is not None
        assert file is not None
        assert file[2] == "hq-3f-01-Office.p12"
        content = base64.b64decode(file[1].replace("&#x3D;", "="))
        private_key, _certificate, _chain = pkcs12.load_key_and_certificates(content, password[1].encode())
        assert private_key is not None
        assert administrator_client.post(address).status_code == 409
        page = administrator_client.get(reverse("device-detail", args=[key.device_id])).content.decode()
        assert address not in page
        assert password[1] not in str(list(AuditEvent.objects.values()))

    def test_nobody_else_is_offered_it(self, operator_client: Client) -> None:
        key = real_key()
        page = operator_client.get(reverse("device-detail", args=[key.device_id])).content.decode()
        assert reverse("key-fetch", args=[key.device_id, key.pk]) not in page


def found(host: str, **fields: Any) -> FoundDevice:
    return FoundDevice.objects.create(host=host, answered_by="IPP", found_at=datetime.now(UTC), **fields)


class TestFinding:
    def test_a_search_is_started_and_canceled(self, administrator_client: Client) -> None:
        form = Form(administrator_client, "search-add")
        page = form.submit(422, network="10.0.0.0/8")
        assert "at most 4096" in errors_at(page)["network"]
        form.submit(network="127.0.0.0/30", use_snmp="on", snmp__version="2c", snmp__community=COMMUNITY)
        search = DeviceSearch.objects.get()
        assert (search.total, search.snmp) == (
            2,
            {"version": "2c", "port": 161, "auth_protocol": "SHA-256", "privacy_protocol": "AES-128"},
        )
        page = administrator_client.get(reverse("found-list")).content.decode()
        assert "127.0.0.0/30" in page
        assert COMMUNITY not in page
        administrator_client.post(reverse("search-cancel", args=[search.pk]))
        search.refresh_from_db()
        assert (search.state, search.snmp_secrets_encrypted) == ("canceled", None)

    def test_the_page_goes_on_by_itself_until_the_search_has_ended(
        self, administrator_client: Client, operator_client: Client
    ) -> None:
        def state(client: Client = administrator_client) -> Document:
            return Document(client.get(reverse("found-state")))

        def has_ended() -> bool:
            return any("data-ended" in element.attributes for element in state().elements)

        assert "An administrator starts it." in state(operator_client).text
        assert "An administrator starts it." not in state().text
        Form(administrator_client, "search-add").submit(network="127.0.0.0/30")
        assert not has_ended()
        assert "Nothing found yet" in state().text
        DeviceSearch.objects.update(
            state="finished", next_action_at=None, lease=None, completed_at=datetime.now(UTC)
        )
        assert has_ended()
        assert "No address answered as a printer." in state().text

    def test_what_is_ticked_is_added(self, operator_client: Client) -> None:
        make_device(host="10.1.1.1")
        known, new = found("10.1.1.1"), found("10.1.1.2", vendor="Example", model="MFP")
        page = operator_client.get(reverse("found-list")).content.decode()
        assert re.findall(r'name="found" value="(\d+)"', page) == [str(new.pk)], (
            "the known one is not offered"
        )
        assert reverse("search-add") not in page
        assert operator_client.post(reverse("found-add"), {"found": [new.pk]}).status_code == 302
        assert Device.objects.get(host="10.1.1.2").model == "MFP"
        refused = operator_client.post(reverse("found-add"), {"found": [known.pk]})
        assert (refused.status_code, "are there already" in refused.content.decode()) == (409, True)
        assert operator_client.post(reverse("found-add"), {}).status_code == 422

    def test_no_query_per_row(self, operator_client: Client, django_assert_max_num_queries: Any) -> None:
        for number in range(30):
            found(f"10.1.1.{number}")
        with django_assert_max_num_queries(12):
            operator_client.get(reverse("found-list"))


class TestHeldPassword:
    """The device's address was changed by somebody who may not decide where its password goes."""

    def test_it_is_said_when_it_happens_on_the_pages_and_before_an_administrator_saves(
        self, operator_client: Client, administrator_client: Client
    ) -> None:
        device = make_device(connector="pappl", connector_settings={"password": "s3cret-of-pappl"})
        assert (
            "Its password is stored."
            in Document(operator_client.get(reverse("device-detail", args=[device.pk]))).text
        )
        form = Form(operator_client, "device-edit", device.pk)
        form.submit(host="10.6.6.6")
        page = Document(operator_client.get(reverse("device-detail", args=[device.pk])))
        assert page.text.count(SECRETS_HELD) == 2, "once as a message, once beside the connector"
        for name in ("device-edit", "device-connection"):
            assert SECRETS_HELD in Document(operator_client.get(reverse(name, args=[device.pk]))).text
        asked = Document(administrator_client.get(form.address)).text
        assert "is not sent to this address yet. It is when you save." in asked
        Form(administrator_client, "device-edit", device.pk).submit()
        device.refresh_from_db()
        assert not device.secrets_held
        page = Document(administrator_client.get(reverse("device-detail", args=[device.pk])))
        assert SECRETS_HELD not in page.text

    def test_those_for_snmp_as_well(self, operator_client: Client) -> None:
        device = make_device()
        form = Form(operator_client, "device-restart-settings", device.pk)
        form.submit(use_snmp="on", snmp__version="2c", snmp__community="s3cret-community")
        Form(operator_client, "device-edit", device.pk).submit(host="10.6.6.6")
        assert SNMP_SECRETS_HELD in Document(operator_client.get(form.address)).text
        connection = Document(operator_client.get(reverse("device-connection", args=[device.pk])))
        assert SNMP_SECRETS_HELD in connection.text
        form.submit(snmp__community="another-community")
        connection = Document(operator_client.get(reverse("device-connection", args=[device.pk])))
        assert SNMP_SECRETS_HELD not in connection.text
