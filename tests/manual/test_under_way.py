"""What is changed while a request is under way has a defined outcome (docs/administrator.md).

Under way is a request from the moment its key is made: while the SCEP server has it and has not answered, and between
two polls.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.urls import reverse

from tests.devices.enrollment.steps import Ca
from tests.manual.mfp import Mfp
from tests.manual.office import DAY, Office, log_rows, now, shown, when
from tests.manual.real_ca import RealCa, certificate_text, request_text
from tests.peers.scep_server import issued

# what happens meanwhile happens in another thread, on a connection of its own
pytestmark = pytest.mark.django_db(transaction=True)

POLLS = {"polling_count": 5, "polling_interval_seconds": 60}


def rows_about(device: int) -> dict[str, int]:
    """Tables with rows of the device, and how many."""
    found = {}
    with connection.cursor() as cursor:
        for table in ("scepsettings", "issuancerequest", "keyandcertificate"):
            cursor.execute(f"SELECT count(*) FROM devices_{table} WHERE device_id = %s", [device])
            row = cursor.fetchone()
            if row and row[0]:
                found[table] = row[0]
    return found


def poll(office: Office) -> int:
    """One polling interval later."""
    return office.work_at(office.clock() + timedelta(seconds=61))


def between_two_polls(office: Office, responder: Ca, **settings: Any) -> int:
    """A device whose request the server has deferred."""
    responder.behave(pending=1)
    device = office.timed(responder.server.pk, **{**POLLS, **settings})
    office.work()
    assert office.log(device)[0]["status"] == "processing"
    return device


class TestSettings:
    def test_a_request_that_the_server_has_keeps_its_settings_and_the_next_takes_the_new_ones(
        self, office: Office, scepserver: RealCa
    ) -> None:
        device = office.timed(scepserver.id, organization="Before", request_interval_days=30)
        change: dict[str, Any] = {"organization": "After", "key_length": 3072, "request_interval_days": 10}
        with scepserver.meanwhile(lambda: office.save(device, **change)):
            office.work()
        certificate = office.certificate(device)
        assert "O=Before" in certificate_text(certificate)
        assert (office.keys(device)[0]["key_length"], office.settings(device)["key_length"]) == (2048, 3072)
        following = when(office.settings(device)["next_request_at"])
        assert following == when(office.ended(device)["completed_at"]) + 10 * DAY, "what follows is new"
        assert office.work_at(following) == 1
        csr = request_text(scepserver.csr_of(office.certificate(device)))
        assert "O=After" in csr
        assert "Public-Key: (3072 bit)" in csr

    def test_between_two_polls_likewise(self, office: Office, responder: Ca) -> None:
        device = between_two_polls(office, responder, organization="Before", key_use="none")
        office.save(device, organization="After", key_use="tls", polling_count=0, key_name="After")
        assert poll(office) == 1, "it keeps its polls"
        assert "O=Before" in certificate_text(office.certificate(device))
        (key,) = office.keys(device)
        assert (key["name"], key["key_use"]) == ("SCEP", "none")

    def test_a_new_challenge_password_does_not_reach_it(self, office: Office, scepserver: RealCa) -> None:
        device = office.timed(scepserver.id)
        with scepserver.meanwhile(lambda: office.save(device, challenge_password="another")):
            office.work()
        assert office.certificate(device)

    def test_a_request_that_waits_takes_them_at_once(self, office: Office, scepserver: RealCa) -> None:
        device = office.timed(scepserver.id, organization="Before")
        office.save(device, organization="After")
        office.work()
        assert "O=After" in certificate_text(office.certificate(device))

    def test_start_and_server_wait_until_it_has_ended(
        self, office: Office, responder: Ca, scepserver: RealCa
    ) -> None:
        device = between_two_polls(office, responder)
        later = (now() + DAY).isoformat()
        for change in ({"request_start_at": later}, {"server": scepserver.id, "suspend_timers": True}):
            refused = office.save(device, status=409, **change)
            assert refused["code"] == "request_open"
            assert "Wait until it has ended." in refused["detail"]
        assert poll(office) == 1
        assert office.certificate(device)
        office.save(device, server=scepserver.id, suspend_timers=True)
        assert when(office.save(device, request_start_at=later)["next_request_at"]) == when(later)


class TestTimerOff:
    def test_the_request_ends_by_itself_and_nothing_follows(self, office: Office, scepserver: RealCa) -> None:
        device = office.timed(scepserver.id, request_interval_days=30)
        with scepserver.meanwhile(lambda: office.save(device, timer_enabled=False)):
            office.work()
        assert office.certificate(device)
        assert len(office.keys(device)) == 1, "what was issued is registered"
        assert len(office.log(device)) == 1
        assert office.settings(device)["next_request_at"] is None
        assert office.work_at(office.clock() + 31 * DAY) == 0

    def test_between_two_polls_it_is_polled_to_its_end(self, office: Office, responder: Ca) -> None:
        device = between_two_polls(office, responder, request_interval_days=30)
        office.save(device, timer_enabled=False)
        assert office.log(device)[0]["status"] == "processing"
        refused = office.save(device, status=409, timer_enabled=True)
        assert refused["code"] == "request_open", "and on again when it has ended"
        assert office.send_request(device, status=409)["code"] == "request_open"
        assert poll(office) == 1
        assert office.certificate(device)
        assert len(office.log(device)) == 1
        office.timed(responder.server.pk, device=device)

    def test_an_error_ends_it_too(self, office: Office, responder: Ca) -> None:
        device = between_two_polls(office, responder, request_interval_days=30)
        office.save(device, timer_enabled=False)
        responder.behave(http_status=500)
        assert poll(office) == 1
        assert office.ended(device)["details"] == "Communication Error (TOP ERROR 500)"
        assert len(office.log(device)) == 1


class TestDeviceDeleted:
    def deleted(self, office: Office, device: int) -> None:
        office.call("delete", f"devices/{device}/", status=204)

    def is_gone(self, office: Office, device: int, transaction_id: str) -> bool:
        """Nothing is left of the device but its audit trail, which names the request that nobody waits for."""
        office.call("get", f"devices/{device}/", status=404)
        assert rows_about(device) == {}
        newest = office.audit(device)[0]
        assert (newest["action"], newest["actor_name"]) == ("device.delete", "administrator")
        assert newest["changes"] == {"transaction_id": transaction_id}
        assert office.work_at(office.clock() + DAY) == 0
        return True

    def test_while_the_server_has_its_request_the_workers_step_ends_quietly(
        self, office: Office, scepserver: RealCa, caplog: pytest.LogCaptureFixture
    ) -> None:
        device, before = office.timed(scepserver.id, request_interval_days=30), len(issued(scepserver.peer))
        transactions: list[str] = []

        def delete() -> None:
            transactions.append(office.log(device)[0]["transaction_id"])
            self.deleted(office, device)

        with scepserver.meanwhile(delete), caplog.at_level(logging.WARNING):
            assert office.work() == 1
        assert [record for record in caplog.records if record.name.startswith("devices")] == []
        assert self.is_gone(office, device, transactions[0])
        assert len(issued(scepserver.peer)) == before + 1, "the server had issued it all the same"

    def test_between_two_polls(self, office: Office, responder: Ca) -> None:
        device = between_two_polls(office, responder)
        transaction_id = office.log(device)[0]["transaction_id"]
        self.deleted(office, device)
        assert self.is_gone(office, device, transaction_id)
        assert responder.log == [("PKCSReq", "pending")], "nobody polls for it"

    def test_a_request_that_waits_was_never_seen_by_the_server(
        self, office: Office, scepserver: RealCa
    ) -> None:
        before = scepserver.messages()
        device = office.timed(scepserver.id)
        self.deleted(office, device)
        assert rows_about(device) == {}
        assert office.audit(device)[0]["changes"] == {}
        assert office.work() == 0
        assert scepserver.messages() == before

    def test_on_the_page(self, office: Office, responder: Ca) -> None:
        device = between_two_polls(office, responder)
        address = reverse("device-delete", args=[device])
        assert office.pages.post(address).status_code == 302
        assert office.pages.get(reverse("device-detail", args=[device])).status_code == 404
        assert rows_about(device) == {}


class TestElsewhere:
    def test_another_time_zone_of_the_group_shows_the_same_moments_differently(
        self, office: Office, scepserver: RealCa
    ) -> None:
        body = {"name": "Moving", "time_zone": "Europe/Berlin"}
        group = office.call("post", "device-groups/", body, status=201)["id"]
        start = now() + 3 * DAY
        waiting = office.timed(
            scepserver.id,
            device=office.add_device(scepserver.id, group=group),
            request_start_at=start.isoformat(),
        )
        under_way = office.timed(scepserver.id, device=office.add_device(scepserver.id, group=group))
        tokyo = {"time_zone": "Asia/Tokyo"}
        path = f"device-groups/{group}/"
        with scepserver.meanwhile(lambda: office.call("patch", path, tokyo, status=200)):
            office.work()
        assert office.certificate(under_way)
        assert when(office.settings(waiting)["next_request_at"]) == start
        page = office.device_page(waiting)
        assert "Times in Asia/Tokyo" in page.text
        assert log_rows(page)[0][0] == shown(start.astimezone(ZoneInfo("Asia/Tokyo")))
        office.form("device-settings", waiting).submit()
        assert when(office.settings(waiting)["next_request_at"]) == start, "saved unchanged"
        assert office.work_at(start - timedelta(minutes=1)) == 0
        assert office.work_at(start) == 1

    def test_a_new_name_and_address_of_the_device_count_from_the_next_request(
        self, office: Office, scepserver: RealCa
    ) -> None:
        device = office.timed(
            scepserver.id,
            device=office.add_device(scepserver.id, host="before.example.com"),
            request_interval_days=30,
        )
        change = {"name": "renamed", "host": "after.example.com"}
        path = f"devices/{device}/"
        with scepserver.meanwhile(lambda: office.call("patch", path, change, status=200)):
            office.work()
        assert office.ended(device)["common_name"] == "before.example.com"
        assert "DNS:before.example.com" in certificate_text(office.certificate(device))
        assert "renamed" in office.device_page(device).all("h1")[0].text
        names = {event["action"]: event["target_name"] for event in office.audit(device)}
        assert names["device.update"] == "renamed"
        assert office.work_at(when(office.settings(device)["next_request_at"])) == 1
        assert "DNS:after.example.com" in certificate_text(office.certificate(device))

    def test_a_function_that_is_switched_off_meanwhile_is_assigned_and_said(
        self, office: Office, scepserver: RealCa
    ) -> None:
        device = office.timed(scepserver.id, key_use="tls")
        path = f"devices/{device}/"
        with scepserver.meanwhile(lambda: office.call("patch", path, {"tls_enabled": False}, status=200)):
            office.work()
        assert office.certificate(device)
        assert office.keys(device)[0]["key_use"] == "tls"
        assert "off on the device" in office.ended(device)["explanation"]

    def test_a_connector_that_is_chosen_meanwhile_restarts_the_device(
        self, office: Office, scepserver: RealCa, mfp: Mfp
    ) -> None:
        device, starts = office.timed(scepserver.id, auto_restart=True), mfp.starts
        change, path = mfp.connector, f"devices/{device}/"
        with scepserver.meanwhile(lambda: office.call("patch", path, change, status=200)):
            office.work()
        assert office.certificate(device)
        assert office.ended(device)["explanation"] == "", "nobody has to restart it by hand"
        assert mfp.watched(office, device)["state"] == "done"
        assert mfp.starts == starts + 1

    def test_the_servers_address_under_suspended_timers_counts_from_the_next_step(
        self, office: Office, responder: Ca
    ) -> None:
        device = between_two_polls(office, responder)
        change = {"url": responder.url + "/", "timeout": 9, "suspend_timers": True}
        office.call("patch", f"scep-servers/{responder.server.pk}/", change, status=200)
        assert poll(office) == 1
        assert office.certificate(device)
