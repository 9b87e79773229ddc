"""R10 [Auto Adjust Issuance Request Time]: the request is sent a random 1 to 600 seconds after the specified time, so
that many MFPs do not hit the SCEP server at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.manual.office import Office, definitions, log_rows, now, shown, when
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

START = now() + timedelta(days=2)


def adjusted(office: Office, server: int) -> int:
    return office.timed(server, request_start_at=START.isoformat(), auto_adjust=True)


def test_the_label_and_what_it_is_for(office: Office) -> None:
    page = office.page("device-settings", office.add_device(office.add_server("http://127.0.0.1:1/scep")))
    assert page.label_of("auto_adjust") == "Auto Adjust Issuance Request Time"
    assert page.described("auto_adjust") == (
        "The request is sent a random 1 to 600 seconds after the specified time, "
        "so that many devices do not ask the SCEP server at once."
    )


def test_each_request_gets_a_random_1_to_600_seconds_after_the_specified_time(office: Office) -> None:
    server, offsets = office.add_server("http://127.0.0.1:1/scep"), []
    rows = [{"name": f"floor-{number}", "host": f"10.30.0.{number}"} for number in range(1, 61)]
    timer: dict[str, Any] = {"timer_enabled": True, "request_start_at": START.isoformat()}
    for device in office.call("post", "devices/", rows, status=201):
        settings = office.save(device["id"], server=server, **timer)
        offsets.append(settings["offset_seconds"])
        assert when(settings["next_request_at"]) == START + timedelta(seconds=offsets[-1])
    assert all(1 <= offset <= 600 for offset in offsets)
    # 60 of 600 evenly drawn numbers: a quarter stays empty once in 8 million runs
    assert all(any(low < offset <= low + 150 for offset in offsets) for low in (0, 150, 300, 450))


def test_it_is_sent_then_and_not_before(office: Office, scepserver: RealCa) -> None:
    device = adjusted(office, scepserver.id)
    request_at = when(office.settings(device)["next_request_at"])
    assert office.work_at(request_at - timedelta(minutes=1)) == 0
    assert office.work_at(request_at) == 1
    assert office.certificate(device)


def test_it_is_drawn_once_and_shown(office: Office) -> None:
    device = adjusted(office, office.add_server("http://127.0.0.1:1/scep"))
    drawn = office.settings(device)["offset_seconds"]
    for organization in ("Example", "Another"):
        office.save(device, organization=organization)
        office.form("device-settings", device).submit()
        assert office.settings(device)["offset_seconds"] == drawn
    page = office.device_page(device)
    assert definitions(page)["Auto Adjust Issuance Request Time"] == f"yes, {drawn} s drawn"
    (row,) = log_rows(page)
    assert row[0].startswith(shown(START + timedelta(seconds=drawn)))
    assert row[0].endswith(f"{drawn} s offset")


def test_off_means_at_the_specified_time(office: Office) -> None:
    device = office.timed(
        office.add_server("http://127.0.0.1:1/scep"), request_start_at=START.isoformat(), auto_adjust=False
    )
    settings = office.settings(device)
    assert (settings["offset_seconds"], when(settings["next_request_at"])) == (0, START)
    assert definitions(office.device_page(device))["Auto Adjust Issuance Request Time"] == "no"


def test_switched_off_later_the_offset_is_gone(office: Office) -> None:
    device = adjusted(office, office.add_server("http://127.0.0.1:1/scep"))
    settings = office.save(device, auto_adjust=False)
    assert (settings["offset_seconds"], when(settings["next_request_at"])) == (0, START)
