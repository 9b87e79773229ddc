"""Forms: what is entered reaches the service, and what is wrong is said at its field."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from devices.models import AuditEvent, Device, DeviceGroup, IssuanceRequest, ScepSettings
from tests.devices.factories import CHALLENGE, PATIENCE, make_device, make_server, make_timed_device
from tests.fleet.dashboard.filling import Form, errors_at
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db


def test_a_device_is_added_and_edited(administrator_client: Client) -> None:
    Form(administrator_client, "device-add").submit(
        name="mfp", host="10.0.0.1", ipsec_destinations="hq\r\n\r\n branch "
    )
    device = Device.objects.get()
    assert device.ipsec_destinations == ["hq", "branch"]
    Form(administrator_client, "device-edit", device.pk).submit(location="Lobby")
    device.refresh_from_db()
    assert (device.location, device.ipsec_destinations) == ("Lobby", ["hq", "branch"])
    event = AuditEvent.objects.get(action="device.update")
    assert (event.changes, event.source) == ({"location": ["", "Lobby"]}, "dashboard")


def test_a_wrong_value_is_said_at_its_field_and_nothing_typed_is_lost(administrator_client: Client) -> None:
    make_device(name="taken")
    page = Form(administrator_client, "device-add").submit(
        422, name="taken", host="10.0.0.300", location="Lobby"
    )
    assert "neither an IP address nor a host name" in errors_at(page)["host"]
    assert 'value="Lobby"' in page
    page = Form(administrator_client, "device-add").submit(422, name="taken", host="10.0.0.3")
    assert "taken" in errors_at(page)["name"]
    assert Device.objects.count() == 1


def test_the_timer_is_switched_on_in_the_time_of_the_device(administrator_client: Client) -> None:
    server = make_server()
    device = make_device(group=DeviceGroup.objects.create(name="BR", time_zone="America/Sao_Paulo"))
    form = Form(administrator_client, "device-settings", device.pk)
    form.submit(
        server=server.pk,
        timer_enabled="on",
        request_start_at="2087-03-01T08:00:00",
        challenge_password=CHALLENGE,
    )
    settings = ScepSettings.objects.get(device=device)
    assert settings.request_start_at == datetime(2087, 3, 1, 11, tzinfo=UTC)
    assert settings.reveal_challenge_password() == CHALLENGE
    request = IssuanceRequest.objects.get(device=device)
    form.submit()
    assert IssuanceRequest.objects.get(device=device).request_at == request.request_at, "saved unchanged"
    assert ScepSettings.objects.get(device=device).has_challenge_password, (
        "an empty password keeps the stored one"
    )


def test_the_challenge_password_is_removed_on_request_only(administrator_client: Client) -> None:
    device = make_device(settings={"challenge_password": CHALLENGE})
    form = Form(administrator_client, "device-settings", device.pk)
    page = form.submit(422, remove_challenge_password="on", challenge_password="new")
    assert "remove_challenge_password" in errors_at(page)
    form.submit(remove_challenge_password="on")
    assert not ScepSettings.objects.get(device=device).has_challenge_password


@pytest.mark.parametrize(
    ("entered_at", "utc"),
    [
        ("2087-03-30T01:59:00", datetime(2087, 3, 30, 0, 59, tzinfo=UTC)),
        ("2087-03-30T03:00:00", datetime(2087, 3, 30, 1, 0, tzinfo=UTC)),
        ("2087-10-26T01:59:00", datetime(2087, 10, 25, 23, 59, tzinfo=UTC)),
        ("2087-10-26T03:00:00", datetime(2087, 10, 26, 2, 0, tzinfo=UTC)),
    ],
)
def test_r9_starts_around_a_change_of_the_clocks(
    administrator_client: Client, entered_at: str, utc: datetime
) -> None:
    device = make_device(make_server(), group=DeviceGroup.objects.create(name="B", time_zone="Europe/Berlin"))
    form = Form(administrator_client, "device-settings", device.pk)
    form.submit(timer_enabled="on", request_start_at=entered_at)
    assert ScepSettings.objects.get(device=device).request_start_at == utc
    form.submit()
    assert ScepSettings.objects.get(device=device).request_start_at == utc, "and back"


@pytest.mark.parametrize("entered_at", ["2087-03-30T02:30:00", "2087-10-26T02:30:00"])
def test_r9_hours_that_do_not_exist_or_exist_twice_are_refused(
    administrator_client: Client, entered_at: str
) -> None:
    device = make_device(make_server(), group=DeviceGroup.objects.create(name="B", time_zone="Europe/Berlin"))
    page = Form(administrator_client, "device-settings", device.pk).submit(
        422, timer_enabled="on", request_start_at=entered_at
    )
    assert "Europe/Berlin" in errors_at(page)["request_start_at"]


def test_a_start_of_other_systems_survives_the_form(administrator_client: Client) -> None:
    start = datetime(2087, 3, 1, 8, 0, 30, 123456, tzinfo=UTC)
    device = make_timed_device(make_server(), request_start_at=start)
    before = IssuanceRequest.objects.filter(device=device).values().get()
    Form(administrator_client, "device-settings", device.pk).submit()
    assert IssuanceRequest.objects.filter(device=device).values().get() == before


def test_a_timer_without_its_start_is_refused_at_the_field(administrator_client: Client) -> None:
    device = make_device(make_server())
    page = Form(administrator_client, "device-settings", device.pk).submit(422, timer_enabled="on")
    assert set(errors_at(page)) == {"request_start_at"}


def test_r3_the_server_is_locked_while_the_timer_is_on(administrator_client: Client) -> None:
    server = make_server("http://127.0.0.1:1/scep")
    device, other = make_timed_device(server), make_server("http://127.0.0.1:2/scep")
    Form(administrator_client, "device-settings", device.pk).submit(server=other.pk)
    assert ScepSettings.objects.get(device=device).server == server
    address = reverse("server-edit", args=[server.pk])
    page = Document(administrator_client.get(address))
    for name in ("url", "port", "timeout"):
        assert "disabled" in page.control(name).attributes
        assert "the timer of 1 device that uses this server is on" in page.described(name)
    # a browser does not send them, and who sends them nevertheless changes nothing
    Form(administrator_client, "server-edit", server.pk).submit(timeout="9", max_requests_at_once="3")
    server.refresh_from_db()
    assert (server.timeout, server.max_requests_at_once) == (PATIENCE, 3)


def test_r7_a_manual_request_is_refused_while_the_timer_is_on(administrator_client: Client) -> None:
    device = make_timed_device(make_server())
    locked = Document(administrator_client.get(reverse("device-request", args=[device.pk])))
    assert "A manual request cannot be sent while the timer is on." in locked.text
    assert "disabled" in next(b for b in locked.all("button") if b.text == "Send Request").attributes
    page = Form(administrator_client, "device-request", device.pk).submit(422)
    assert "A manual request cannot be sent" in page


def test_a_manual_request_is_sent(administrator_client: Client) -> None:
    device = make_device(make_server(), ipsec_destinations=["hq"])
    Form(administrator_client, "device-request", device.pk).submit(
        common_name="mfp.example.com", key_use="ipsec", ipsec_destination="hq", challenge_password=CHALLENGE
    )
    request = IssuanceRequest.objects.get()
    assert (request.common_name, request.ipsec_destination) == ("mfp.example.com", "hq")
    page = Form(administrator_client, "device-request", device.pk).submit(422, challenge_password=CHALLENGE)
    assert "is under way" in page
    assert CHALLENGE not in page


def test_r6_functions_that_are_off_are_named(administrator_client: Client) -> None:
    device = make_device(make_server(), tls_enabled=True, ieee_802_1x_enabled=False)
    page = administrator_client.get(reverse("device-request", args=[device.pk])).content.decode()
    assert "Off on this device: IEEE 802.1X, IPSec." in page


def test_what_is_in_use_cannot_be_deleted(administrator_client: Client) -> None:
    server = make_server()
    make_device(server)
    response = administrator_client.post(reverse("server-delete", args=[server.pk]))
    assert response.status_code == 409
    assert "Devices use this SCEP server" in response.content.decode()


def test_sign_in_and_out(client: Client, administrator: object) -> None:
    from tests.conftest import PASSWORD

    address = reverse("sign-in")
    wrong = client.post(address, {"username": "administrator", "password": "wrong"})
    assert wrong.status_code == 200
    assert 'role="alert"' in wrong.content.decode()
    right = client.post(f"{address}?next=/devices/", {"username": "administrator", "password": PASSWORD})
    assert right["Location"] == "/devices/"
    assert client.post(reverse("sign-out")).status_code == 302
    assert client.get(reverse("start")).status_code == 302


def test_the_language_is_switched(viewer_client: Client) -> None:
    viewer_client.post(reverse("set_language"), {"language": "pt-br", "next": "/"})
    assert '<html lang="pt-br">' in viewer_client.get(reverse("start")).content.decode()


def test_a_groups_time_zone_is_chosen_and_an_alias_is_kept(administrator_client: Client) -> None:
    Form(administrator_client, "group-add").submit(name="Lisbon", time_zone="Europe/Lisbon")
    group = DeviceGroup.objects.get(name="Lisbon")
    assert group.time_zone == "Europe/Lisbon"
    DeviceGroup.objects.filter(pk=group.pk).update(time_zone="EST5EDT")
    Form(administrator_client, "group-edit", group.pk).submit(name="New York")
    group.refresh_from_db()
    assert (group.name, group.time_zone) == ("New York", "EST5EDT")
    page = Form(administrator_client, "group-add").submit(422, name="Moon", time_zone="Moon/Tranquility")
    assert "is not a time zone" in errors_at(page)["time_zone"]
