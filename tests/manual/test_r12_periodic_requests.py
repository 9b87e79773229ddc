"""R12 [Send Periodic Issuance Requests] with [Request Interval: Every]. After a successful automatic request the next
one is shown in [Next Request Date/Time]."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.manual.office import DAY, Office, definitions, log_rows, shown, when
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

NEXT = "Next Request Date/Time"


def test_the_labels(office: Office) -> None:
    device = office.add_device()
    page = office.page("device-settings", device)
    assert "Send Periodic Issuance Requests" in [legend.text for legend in page.all("legend")]
    assert page.label_of("request_interval_days") == "Request Interval: Every"
    terms = definitions(office.device_page(device))
    assert terms["Send Periodic Issuance Requests"] == "no"
    office.save(device, request_interval_days=30)
    assert definitions(office.device_page(device))["Send Periodic Issuance Requests"] == "every 30 days"
    assert NEXT in terms


def test_after_a_success_the_next_request_is_shown_and_counted_from_it(
    office: Office, scepserver: RealCa
) -> None:
    device = office.timed(scepserver.id, request_interval_days=30)
    office.work()
    assert office.certificate(device)
    line = office.ended(device)
    following = when(line["completed_at"]) + 30 * DAY
    assert when(office.settings(device)["next_request_at"]) == following
    page = office.device_page(device)
    assert definitions(page)[NEXT] == shown(following)
    request_at, status, _details, trigger = log_rows(page)[0]
    assert (request_at, status, trigger) == (shown(following), "To Be Processed", "Periodic")


def test_it_is_sent_again_and_again_with_a_new_key_each_time(office: Office, scepserver: RealCa) -> None:
    device, before = office.timed(scepserver.id, request_interval_days=90), scepserver.messages()
    office.work()
    for number in (2, 3):
        following = when(office.settings(device)["next_request_at"])
        assert office.work_at(following - timedelta(minutes=1)) == 0
        assert office.work_at(following) == 1
        assert office.certificate(device)
        assert len({key["fingerprint_sha256"] for key in office.keys(device)}) == number
    assert scepserver.messages() == before + 3
    assert [line["trigger"] for line in office.log(device)] == ["periodic", "periodic", "periodic", "timer"]


def test_without_an_interval_nothing_follows(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id)
    office.work()
    assert office.certificate(device)
    assert office.settings(device)["next_request_at"] is None
    assert office.work_at(office.clock() + 300 * DAY) == 0


def test_after_a_failure_the_next_one_keeps_the_rhythm(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, challenge_password="wrong", request_interval_days=30)
    office.work()
    line = office.ended(device)
    assert line["status"] == "error"
    assert when(office.settings(device)["next_request_at"]) == when(line["request_at"]) + 30 * DAY


def test_a_manual_success_schedules_nothing(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.save(device, request_interval_days=30)
    office.send_request(device)
    office.work()
    assert office.certificate(device)
    assert office.settings(device)["next_request_at"] is None


def test_another_interval_moves_the_request_that_waits(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, request_interval_days=30)
    office.work()
    success = when(office.ended(device)["completed_at"])
    settings = office.save(device, request_interval_days=10)
    assert when(settings["next_request_at"]) == success + 10 * DAY
    assert office.save(device, request_interval_days=None)["next_request_at"] is None


def test_the_range(office: Office) -> None:
    device = office.add_device()
    for value in (0, 3651, -1):
        refused = office.save(device, status=400, request_interval_days=value)
        assert set(refused["errors"]) == {"request_interval_days"}
    for value in (1, 3650):
        assert office.save(device, request_interval_days=value)["request_interval_days"] == value
