"""R16 [Status]: [To Be Processed] with the next [Request Date/Time]; [Processing...] while polling; [Error] for a
communication error or the key limit; [Successful] with the date and time at which the certificate was issued."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from tests.devices.enrollment.steps import Ca
from tests.fleet.dashboard.html import Document
from tests.manual.office import DAY, Office, log_rows, now, shown, when
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db


def status(office: Office, device: int) -> tuple[str, str, str]:
    """[Status] of the newest line, over REST and on the device's page, and of the device in the list."""
    page = Document(office.pages.get(reverse("device-list"), {"search": office.device(device)["name"]}))
    (listed,) = [
        element.text
        for element in page.elements
        if "status" in element.get("class").split() and element.tag == "span"
    ]
    return office.log(device)[0]["status"], log_rows(office.device_page(device))[0][1], listed


def test_the_headings(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id)
    page = office.device_page(device)
    assert "Certificate Issuance Request Status" in [heading.text for heading in page.all("h2")]
    heads = [head.text for head in page.all("th")]
    assert heads[:3] == ["Request Date/Time", "Status", "Details"]


def test_to_be_processed_with_the_next_request_date_and_time(office: Office, scepserver: RealCa) -> None:
    start = now() + 3 * DAY
    device = office.timed(scepserver.id, request_start_at=start.isoformat())
    assert status(office, device) == ("to_be_processed", "To Be Processed", "To Be Processed")
    assert when(office.log(device)[0]["request_at"]) == start
    assert log_rows(office.device_page(device))[0][0] == shown(start)
    assert when(office.device(device)["next_request_at"]) == start


def test_processing_while_polling(office: Office, responder: Ca) -> None:
    responder.behave(pending=2)
    device = office.timed(responder.server.pk, polling_count=5, polling_interval_seconds=60)
    for _ in range(2):
        office.work_at(office.clock() + timedelta(seconds=61))
        assert status(office, device) == ("processing", "Processing...", "Processing...")
        assert office.log(device)[0]["details"] == ""
    office.work_at(office.clock() + timedelta(seconds=61))
    assert office.log(device)[0]["status"] == "successful"


def test_error_for_a_communication_error(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id)
    with scepserver.stopped():
        office.work()
    assert status(office, device) == ("error", "Error", "Error")


def test_error_for_the_key_limit(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id, key_limit=1)
    for _ in range(2):
        office.send_request(device)
        office.work()
    assert status(office, device) == ("error", "Error", "Error")
    assert office.log(device)[1]["status"] == "successful"


def test_successful_with_the_date_and_time_of_issuing(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id)
    before = now()
    office.work()
    rest, page, listed = status(office, device)
    line = office.ended(device)
    issued = when(line["completed_at"])
    assert before <= issued <= now() + timedelta(seconds=1)
    assert when(office.keys(device)[0]["issued_at"]) == issued
    assert (rest, listed) == ("successful", "Successful")
    assert page == f"Successful{shown(issued)}"
    assert line["details"] == ""


def test_the_list_can_be_narrowed_down_to_each(office: Office, scepserver: RealCa) -> None:
    waiting = office.timed(scepserver.id, request_start_at=(now() + DAY).isoformat())
    successful, refused = office.timed(scepserver.id), office.timed(scepserver.id, challenge_password="wrong")
    office.work()
    found = {
        value: [row["id"] for row in office.call("get", f"devices/?status={value}", status=200)["results"]]
        for value in ("to_be_processed", "processing", "successful", "error")
    }
    assert found == {
        "to_be_processed": [waiting],
        "processing": [],
        "successful": [successful],
        "error": [refused],
    }
