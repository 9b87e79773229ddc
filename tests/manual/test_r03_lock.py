"""R3 They cannot be updated while the device's [Enable Timer for Certificate Issuance Auto Request] is on. The
refusal says so and says how to go on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.manual.office import Office
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

CHANGES = [{"url": "http://ca2.example.com/scep"}, {"port": 8081}, {"timeout": 99}]


def schedule(office: Office, device: int) -> tuple[Any, ...]:
    """What must survive: the timer and the request that waits."""
    settings, line = office.settings(device), office.log(device)[0]
    names = ("timer_enabled", "request_start_at", "offset_seconds", "next_request_at")
    return (*(settings[name] for name in names), line["id"], line["request_at"], line["status"])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("timers", [1, 3])
def test_the_refusal_says_why_and_how_to_go_on(office: Office, change: dict[str, Any], timers: int) -> None:
    server = office.add_server("http://127.0.0.1:1/scep", port=1)
    for _ in range(timers):
        office.timed(server)
    before = office.call("get", f"scep-servers/{server}/", status=200)
    refused = office.call("patch", f"scep-servers/{server}/", change, status=409)
    assert refused["code"] == "timer_enabled"
    devices = "timer of 1 device that uses" if timers == 1 else "timers of 3 devices that use"
    assert f"[Communication Settings] cannot be updated while the {devices} this server" in refused["detail"]
    assert "update, and resume in one go (suspend_timers)" in refused["detail"]
    assert office.call("get", f"scep-servers/{server}/", status=200) == before


def test_the_page_locks_the_fields_and_offers_the_way_on(office: Office) -> None:
    server = office.add_server("http://127.0.0.1:1/scep")
    device = office.timed(server)
    page = office.page("server-edit", server)
    for name in ("url", "port", "timeout"):
        assert "disabled" in page.control(name).attributes
        assert "Locked: the timer of 1 device that uses this server is on." in page.described(name)
    (way_on,) = page.all("a", href="?suspend=1")
    assert way_on.text == "Suspend these timers, update, resume"
    settings = office.page("device-settings", device)
    assert "disabled" in settings.control("server").attributes
    assert "Locked while the timer is on." in settings.described("server")
    assert settings.all("a", href="?suspend=1")


def test_a_device_cannot_change_its_server_either(office: Office) -> None:
    server, other = office.add_server("http://127.0.0.1:1/scep"), office.add_server("http://127.0.0.1:2/scep")
    device = office.timed(server)
    refused = office.save(device, status=409, server=other)
    assert refused["code"] == "timer_enabled"
    assert "[Enable Timer for Certificate Issuance Auto Request] is on" in refused["detail"]
    assert "Suspend the timer" in refused["detail"]
    assert office.settings(device)["server"] == server


def test_suspended_updated_and_resumed_the_request_goes_to_the_new_address_in_its_time(
    office: Office, scepserver: RealCa
) -> None:
    server = office.add_server("http://127.0.0.1:1/nowhere", allow_des_replies=True)
    device = office.timed(server)
    before = schedule(office, device)
    change = {"url": scepserver.url, "suspend_timers": True}
    office.call("patch", f"scep-servers/{server}/", change, status=200)
    assert schedule(office, device) == before
    assert office.work() == 1
    assert office.certificate(device)


def test_a_device_moves_to_another_server_without_losing_its_schedule(
    office: Office, scepserver: RealCa
) -> None:
    device = office.timed(office.add_server("http://127.0.0.1:1/nowhere"))
    before = schedule(office, device)
    office.save(device, server=scepserver.id, suspend_timers=True)
    assert schedule(office, device) == before
    office.work()
    assert office.certificate(device)
    assert office.audit(device)[1]["changes"]["suspended_timers"] == 1, "one audited step"


@pytest.mark.parametrize("change", CHANGES)
def test_with_every_timer_off_they_change(office: Office, change: dict[str, Any]) -> None:
    server = office.add_server("http://127.0.0.1/scep")
    device = office.timed(server)
    office.save(device, timer_enabled=False)
    assert office.call("patch", f"scep-servers/{server}/", change, status=200).items() >= change.items()
    office.save(device, server=office.add_server("http://127.0.0.1:2/scep"))


def test_timers_at_other_servers_and_other_fields_lock_nothing(office: Office) -> None:
    server, other = office.add_server("http://127.0.0.1:1/scep"), office.add_server("http://127.0.0.1:2/scep")
    office.timed(server)
    office.call("patch", f"scep-servers/{other}/", {"timeout": 99}, status=200)
    office.call("patch", f"scep-servers/{server}/", {"max_requests_at_once": 2}, status=200)
    same = office.call("get", f"scep-servers/{server}/", status=200)
    office.call("put", f"scep-servers/{server}/", same, status=200)
