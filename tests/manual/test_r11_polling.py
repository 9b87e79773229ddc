"""R11 [Perform Polling When Communication Error Occurs or When Issuance Request Is Deferred]: number of polls and
interval between them. No polling, but an error at once, when: the device's limit of keys and certificates is reached;
the response data carries an error; the SCEP server has an error."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.devices.enrollment.steps import Ca
from tests.manual.office import DAY, Office, definitions, log_rows
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

LABEL = "Perform Polling When Communication Error Occurs or When Issuance Request Is Deferred"
POLLS = {"polling_count": 3, "polling_interval_seconds": 120}


def wait(office: Office, seconds: int) -> int:
    """Let `seconds` pass, then work; how many requests were due."""
    return office.work_at(office.clock() + timedelta(seconds=seconds))


def due(office: Office, *, after: datetime, seconds: int) -> int:
    """How many requests are due so many seconds after `after`, whatever time it is."""
    return office.work_at(after + timedelta(seconds=seconds))


def ends_at_once(office: Office, device: int) -> str:
    """The [Details] of a request that ended at its first step, though polls are left, and is not taken up again."""
    (line,) = office.log(device)[:1]
    assert line["status"] == "error", line
    assert line["polls_left"] == POLLS["polling_count"]
    assert wait(office, 3600) == 0
    details: str = line["details"]
    return details


def test_the_label_and_the_fields(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    page = office.page("device-settings", device)
    assert LABEL in [legend.text for legend in page.all("legend")]
    assert page.label_of("polling_count") == "Number of polls"
    assert page.label_of("polling_interval_seconds") == "Polling interval"
    assert definitions(office.device_page(device))[LABEL] == "no"
    office.save(device, **POLLS)
    assert definitions(office.device_page(device))[LABEL] == "3 times, every 120 s"


def test_a_deferred_request_is_polled_so_often_and_in_that_interval(office: Office, responder: Ca) -> None:
    responder.behave(pending=99)
    device = office.timed(responder.server.pk, **POLLS)
    began = office.clock()
    assert office.work() == 1
    for left in (2, 1, 0):
        ended = office.clock()
        line = office.log(device)[0]
        assert (line["status"], line["polls_left"]) == ("processing", left)
        assert due(office, after=began, seconds=119) == 0, "not before the interval has passed"
        began = ended + timedelta(seconds=120)
        assert due(office, after=ended, seconds=120) == 1
    assert office.ended(device)["details"] == "Deferred"
    assert responder.log == [("PKCSReq", "pending"), *[("CertPoll", "pending")] * 3]
    assert wait(office, 3600) == 0


def test_a_deferred_request_that_is_granted_meanwhile_gets_its_certificate(
    office: Office, responder: Ca
) -> None:
    responder.behave(pending=2)
    device = office.timed(responder.server.pk, **POLLS)
    office.work()
    transaction = office.log(device)[0]["transaction_id"]
    wait(office, 121)
    wait(office, 121)
    assert office.certificate(device)
    assert office.ended(device)["transaction_id"] == transaction
    assert responder.log == [("PKCSReq", "pending"), ("CertPoll", "pending"), ("CertPoll", "issued")]


def test_a_communication_error_is_polled_until_the_server_is_back(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, **POLLS)
    with scepserver.stopped():
        office.work()
        line = office.log(device)[0]
        assert (line["status"], line["polls_left"]) == ("processing", 2)
        assert wait(office, 121) == 1
    assert wait(office, 121) == 1
    assert office.certificate(device)
    assert office.ended(device)["transaction_id"] == line["transaction_id"], "the same request"


def test_a_communication_error_is_an_error_when_no_poll_is_left(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, **POLLS)
    with scepserver.stopped():
        office.work()
        for _ in range(3):
            assert office.log(device)[0]["status"] == "processing"
            assert wait(office, 121) == 1
    assert office.ended(device)["details"] == "Communication Error (TOP ERROR)"


def test_no_answer_in_time_is_polled_too(office: Office, scepserver: RealCa) -> None:
    office.known(scepserver.id)
    office.call("patch", f"scep-servers/{scepserver.id}/", {"timeout": 1}, status=200)
    device = office.timed(scepserver.id, **POLLS)
    with scepserver.silent():
        office.work()
    assert office.log(device)[0]["status"] == "processing"
    again = {"timeout": 60, "suspend_timers": True}
    office.call("patch", f"scep-servers/{scepserver.id}/", again, status=200)
    assert wait(office, 121) == 1
    assert office.certificate(device)


def test_without_polling_the_first_failure_is_the_last(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id)
    with scepserver.stopped():
        office.work()
    assert office.ended(device)["details"] == "Communication Error (TOP ERROR)"
    assert wait(office, 3600) == 0


def test_a_request_that_is_polled_shows_how_many_polls_are_left(office: Office, responder: Ca) -> None:
    responder.behave(pending=99)
    device = office.timed(responder.server.pk, **POLLS)
    office.work()
    (row,) = log_rows(office.device_page(device))
    assert row[1] == "Processing..."
    assert "2 polls left" in row[2]


def test_never_when_the_limit_of_keys_and_certificates_is_reached(office: Office, scepserver: RealCa) -> None:
    device = office.timed(
        scepserver.id, device=office.add_device(scepserver.id, key_limit=1), request_interval_days=1, **POLLS
    )
    office.work()
    assert office.certificate(device)
    before = scepserver.messages()
    assert office.work_at(office.clock() + DAY + timedelta(minutes=1)) == 1
    assert office.ended(device)["details"] == "Key and Certificate Registration Limit Error"
    assert office.ended(device)["polls_left"] == 3
    assert wait(office, 3600) == 0
    assert scepserver.messages() == before, "the limit is checked before the server is asked"
    assert len(office.keys(device)) == 1


def test_never_when_the_response_data_carries_an_error(office: Office, scepserver: RealCa) -> None:
    before = scepserver.messages()
    device = office.timed(scepserver.id, challenge_password="wrong", **POLLS)
    office.work()
    assert ends_at_once(office, device) == "Communication Error (SCEP ERROR Fail Info 2)"
    assert scepserver.messages() == before + 1


@pytest.mark.parametrize(
    ("behavior", "details"),
    [
        *(({"fail_info": n}, f"Communication Error (SCEP ERROR Fail Info {n})") for n in (0, 1, 3, 4)),
        ({"html": True}, "Communication Error (TOP ERROR 200)"),
        ({"reply_for_somebody_else": True}, "Communication Error (SCEP ERROR Fail Info 1)"),
    ],
)
def test_never_whatever_error_the_response_data_carries(
    office: Office, responder: Ca, behavior: dict[str, Any], details: str
) -> None:
    responder.behave(**behavior)
    device = office.timed(responder.server.pk, **POLLS)
    office.work()
    assert ends_at_once(office, device) == details


@pytest.mark.parametrize("status", [500, 503, 403])
def test_never_when_the_scep_server_has_an_error(office: Office, responder: Ca, status: int) -> None:
    responder.behave(http_status=status)
    device = office.timed(responder.server.pk, **POLLS)
    office.work()
    assert ends_at_once(office, device) == f"Communication Error (TOP ERROR {status})"


def test_never_when_there_is_no_such_address_at_the_server(office: Office, scepserver: RealCa) -> None:
    server = office.add_server(scepserver.url.replace("/scep", "/nowhere"))
    device = office.timed(server, **POLLS)
    office.work()
    assert ends_at_once(office, device) == "Communication Error (TOP ERROR 404)"


def test_an_error_while_it_is_polled_ends_it(office: Office, responder: Ca) -> None:
    responder.behave(pending=1, fail_info=2)
    device = office.timed(responder.server.pk, **POLLS)
    office.work()
    assert wait(office, 121) == 1
    line = office.ended(device)
    assert (line["details"], line["polls_left"]) == ("Communication Error (SCEP ERROR Fail Info 2)", 2)
    assert wait(office, 3600) == 0


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [("polling_count", (-1, 101), (0, 100)), ("polling_interval_seconds", (0, 86401), (1, 86400))],
)
def test_the_ranges(office: Office, field: str, bad: tuple[int, int], good: tuple[int, int]) -> None:
    device = office.add_device()
    for value in bad:
        assert set(office.save(device, status=400, **{field: value})["errors"]) == {field}
    for value in good:
        assert office.save(device, **{field: value})[field] == value
