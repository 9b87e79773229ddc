"""R7 [Send Request], then [Restart]. A manual request cannot be sent while the timer is on."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.urls import reverse

from tests.conftest import member_of
from tests.devices.conftest import client_of
from tests.devices.factories import CHALLENGE
from tests.fleet.dashboard.html import Document
from tests.manual.mfp import Mfp
from tests.manual.office import Office, log_rows
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

LOCKED = "A manual request cannot be sent while"


def test_send_request_on_the_page(office: Office, scepserver: RealCa, tmp_path: Path) -> None:
    device = office.add_device(scepserver.id)
    address = reverse("device-request", args=[device])
    assert [a.text for a in office.device_page(device).all("a", href=address)] == ["Send Request"]
    assert "Send Request" in [button.text for button in office.page("device-request", device).all("button")]
    office.form("device-request", device).submit(challenge_password=CHALLENGE, organization="Example")
    assert office.work() == 1
    page = office.device_page(device)
    assert log_rows(page)[0][1].startswith("Successful")
    assert log_rows(page)[0][3] == "Manual"
    assert scepserver.verifies(office.certificate(device), tmp_path)


def test_send_request_over_rest(office: Office, scepserver: RealCa, tmp_path: Path) -> None:
    device = office.add_device(scepserver.id)
    sent = office.send_request(device)
    assert (sent["status"], sent["trigger"]) == ("to_be_processed", "manual")
    assert office.work() == 1
    assert scepserver.verifies(office.certificate(device), tmp_path)


def test_send_request_for_a_selection(office: Office, scepserver: RealCa) -> None:
    devices = [office.add_device(scepserver.id) for _ in range(3)]
    office.timed(scepserver.id, device=devices[1], request_start_at="2099-01-01T08:00:00Z")
    address = reverse("manual-requests") + "?" + "&".join(f"device={device}" for device in devices)
    page = Document(office.pages.get(address))
    assert "Certificate Issuance Request: 3 devices" in page.text
    assert "The timer of 1 of them is on: a manual request is refused there." in page.text
    body = {"challenge_password": CHALLENGE, "organization": "Selected"}
    job = office.call(
        "post", "jobs/", {"kind": "manual_request", "devices": devices, "parameters": body}, status=202
    )
    office.work_on_jobs()
    results = office.call("get", f"jobs/{job['id']}/items/", status=200)["results"]
    assert [(item["device"], item["state"]) for item in results] == [
        (devices[0], "done"),
        (devices[1], "refused"),
        (devices[2], "done"),
    ]
    assert LOCKED in results[1]["message"]
    assert office.work() == 2
    for device in (devices[0], devices[2]):
        assert office.certificate(device)
        assert "O=Selected" in office.keys(device)[0]["subject"]


def test_not_while_the_timer_is_on(office: Office, scepserver: RealCa) -> None:
    before = scepserver.messages()
    device = office.timed(scepserver.id, request_start_at="2099-01-01T08:00:00Z")
    refused = office.send_request(device, status=409)
    assert refused["code"] == "timer_enabled"
    assert refused["detail"] == (
        "A manual request cannot be sent while [Enable Timer for Certificate Issuance Auto Request] is on. "
        "Switch the timer off first."
    )
    page = office.device_page(device)
    (button,) = [button for button in page.all("button") if button.text == "Send Request"]
    assert "disabled" in button.attributes
    assert LOCKED in page.text
    assert reverse("device-request", args=[device]) not in page.links
    assert LOCKED in office.form("device-request", device).submit(422, challenge_password=CHALLENGE)
    assert [line["trigger"] for line in office.log(device)] == ["timer"]
    assert office.work() == 0
    assert scepserver.messages() == before


def test_the_way_on_is_to_switch_the_timer_off(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, request_start_at="2099-01-01T08:00:00Z")
    office.save(device, timer_enabled=False)
    office.send_request(device)
    assert office.work() == 1
    assert office.certificate(device)


def test_one_at_a_time(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.send_request(device)
    refused = office.send_request(device, status=409)
    assert refused["code"] == "request_open"
    assert "Wait until it has ended." in refused["detail"]
    assert office.work() == 1


def test_without_a_server_it_says_to_choose_one(office: Office) -> None:
    refused = office.send_request(office.add_device(), status=400)
    assert refused["errors"] == {"server": ["Choose a SCEP server in the device's settings first."]}


def test_then_restart_on_the_page(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device, starts = mfp.connected(office, scepserver.id), mfp.starts
    office.form("device-request", device).submit(challenge_password=CHALLENGE)
    office.work()
    assert office.certificate(device)
    assert office.restarts(device) == [], "a manual request leaves the restart to people"
    address = reverse("device-restart", args=[device])
    page = office.device_page(device)
    assert address in page.posts
    assert "Restart" in [button.text for button in page.all("button")]
    assert office.pages.post(address).status_code == 302
    restart = mfp.watched(office, device)
    assert (restart["state"], restart["trigger"], restart["asked_by"]) == ("done", "manual", "administrator")
    assert mfp.starts == starts + 1
    assert "Restarted" in office.device_page(device).text


def test_then_restart_over_rest(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device, starts = mfp.connected(office, scepserver.id), mfp.starts
    office.send_request(device)
    office.work()
    assert office.certificate(device)
    asked = office.call("post", f"devices/{device}/restarts/", status=201)
    assert asked["state"] == "waiting"
    refused = office.call("post", f"devices/{device}/restarts/", status=409)
    assert refused["code"] == "restart_open"
    assert mfp.watched(office, device)["state"] == "done"
    assert mfp.starts == starts + 1


def test_restart_while_the_timer_is_on(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device, starts = mfp.connected(office, scepserver.id), mfp.starts
    office.timed(scepserver.id, device=device, request_start_at="2099-01-01T08:00:00Z")
    office.call("post", f"devices/{device}/restarts/", status=201)
    assert mfp.watched(office, device)["state"] == "done"
    assert mfp.starts == starts + 1


@pytest.mark.parametrize(("group", "status"), [("Operator", 201), ("Viewer", 403), ("", 403)])
def test_who_may_restart(office: Office, mfp: Mfp, group: str, status: int) -> None:
    device = mfp.connected(office, office.add_server("http://127.0.0.1:1/scep"))
    assert client_of(member_of(group)).post(f"/api/v1/devices/{device}/restarts/").status_code == status


def test_a_device_without_a_connector_is_restarted_by_hand(office: Office) -> None:
    device = office.add_device()
    refused = office.call("post", f"devices/{device}/restarts/", status=409)
    assert refused["code"] == "no_connector"
    assert "restart it by hand" in refused["detail"]
    (button,) = [button for button in office.device_page(device).all("button") if button.text == "Restart"]
    assert "disabled" in button.attributes
