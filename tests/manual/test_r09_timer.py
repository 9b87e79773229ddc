"""R9 [Enable Timer for Certificate Issuance Auto Request] with [Request Start Date/Time]."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.devices.factories import CHALLENGE
from tests.fleet.dashboard.filling import errors_at
from tests.manual.office import Office, definitions, log_rows, now, shown, when
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def in_group(office: Office, server: int, zone: str) -> int:
    """A device in a new group of the time zone."""
    body = {"name": f"Group in {zone}", "time_zone": zone}
    group = office.call("post", "device-groups/", body, status=201)["id"]
    return office.add_device(server, group=group)


def test_the_labels(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    page = office.page("device-settings", device)
    assert page.all("h1")[0].text.startswith("Settings for Certificate Issuance Auto Request")
    assert page.label_of("timer_enabled") == "Enable Timer for Certificate Issuance Auto Request"
    assert page.label_of("request_start_at") == "Request Start Date/Time"
    terms = definitions(office.device_page(device))
    assert terms["Enable Timer for Certificate Issuance Auto Request"] == "Off"


def test_the_request_is_sent_at_the_start_and_not_before(office: Office, scepserver: RealCa) -> None:
    start, before = now() + timedelta(days=3), scepserver.messages()
    device = office.timed(scepserver.id, request_start_at=start.isoformat())
    assert when(office.settings(device)["next_request_at"]) == start
    assert office.work() == 0
    assert office.work_at(start - MINUTE) == 0
    assert scepserver.messages() == before
    assert office.work_at(start) == 1
    assert office.certificate(device)
    assert scepserver.messages() == before + 1
    assert [line["trigger"] for line in office.log(device)] == ["timer"], "once"
    assert office.work_at(start + timedelta(days=30)) == 0


def test_with_the_timer_off_nothing_is_sent(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, request_start_at=(now() + timedelta(days=3)).isoformat())
    settings = office.save(device, timer_enabled=False)
    assert settings["next_request_at"] is None
    assert office.log(device) == []
    assert office.work_at(now() + timedelta(days=4)) == 0
    assert office.device(device)["status"] == ""


def test_a_start_is_entered_and_shown_in_the_time_zone_of_the_devices_group(
    office: Office, scepserver: RealCa
) -> None:
    device = in_group(office, scepserver.id, "Asia/Tokyo")
    local = (now() + timedelta(days=3)).astimezone(ZoneInfo("Asia/Tokyo")).replace(hour=8, minute=0, second=0)
    page = office.page("device-settings", device)
    assert "In the time zone of the device: Asia/Tokyo." in page.described("request_start_at")
    office.form("device-settings", device).submit(
        timer_enabled="on",
        request_start_at=f"{local:%Y-%m-%dT%H:%M:%S}",
        auto_adjust="",
        challenge_password=CHALLENGE,
    )
    assert when(office.settings(device)["request_start_at"]) == local
    (row,) = log_rows(office.device_page(device))
    assert row[:2] == (shown(local), "To Be Processed")
    assert office.work_at(local - MINUTE) == 0
    assert office.work_at(local) == 1
    assert office.certificate(device)


@pytest.mark.parametrize("month", [1, 7])
def test_in_winter_and_in_summer_the_clock_on_the_wall_counts(office: Office, month: int) -> None:
    device = in_group(office, office.add_server("http://127.0.0.1:1/scep"), "Europe/Berlin")
    office.form("device-settings", device).submit(
        timer_enabled="on", request_start_at=f"2087-{month:02}-15T08:00:00", auto_adjust=""
    )
    local = datetime(2087, month, 15, 8, tzinfo=ZoneInfo("Europe/Berlin"))
    assert when(office.settings(device)["request_start_at"]) == local
    assert local.utcoffset() == timedelta(hours=1 if month == 1 else 2)
    assert log_rows(office.device_page(device))[0][0] == shown(local)


@pytest.mark.parametrize("entered", ["2087-03-30T02:30:00", "2087-10-26T02:30:00"])
def test_a_time_that_the_clocks_skip_or_show_twice_is_refused(office: Office, entered: str) -> None:
    device = in_group(office, office.add_server("http://127.0.0.1:1/scep"), "Europe/Berlin")
    page = office.form("device-settings", device).submit(422, timer_enabled="on", request_start_at=entered)
    assert set(errors_at(page)) == {"request_start_at"}


def test_a_timer_needs_its_start_and_its_server(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    refused = office.save(device, status=400, timer_enabled=True)
    assert refused["errors"] == {
        "request_start_at": ["Enter the [Request Start Date/Time] before you switch the timer on."]
    }
    assert set(office.save(office.add_device(), status=400, timer_enabled=True)["errors"]) == {
        "request_start_at",
        "server",
    }
    past = {"timer_enabled": True, "request_start_at": "2020-01-01T08:00:00Z"}
    (message,) = office.save(device, status=400, **past)["errors"]["request_start_at"]
    assert "in the past" in message
    assert office.log(device) == []


def test_a_later_start_moves_the_request(office: Office, scepserver: RealCa) -> None:
    first, second = now() + timedelta(days=3), now() + timedelta(days=5)
    device = office.timed(scepserver.id, request_start_at=first.isoformat())
    office.save(device, request_start_at=second.isoformat())
    assert office.work_at(first) == 0
    assert office.work_at(second) == 1
    assert office.certificate(device)


def test_a_start_without_an_offset_over_rest_is_the_time_of_the_devices_group(office: Office) -> None:
    device = in_group(office, office.add_server("http://127.0.0.1:1/scep"), "America/Sao_Paulo")
    office.save(device, timer_enabled=True, auto_adjust=False, request_start_at="2099-01-15T08:00:00")
    expected = datetime(2099, 1, 15, 8, 0, tzinfo=ZoneInfo("America/Sao_Paulo"))
    assert when(office.settings(device)["next_request_at"]) == expected
