"""R17 [Details] of an [Error], word for word, over REST and on the page."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.urls import reverse

from tests.devices.enrollment.steps import Ca
from tests.fleet.dashboard.html import Document
from tests.manual.office import Office, log_rows
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db


def says(office: Office, device: int, details: str) -> bool:
    """True when log and device say `details` and nothing else, over REST, on the pages, and in every language."""
    line = office.log(device)[0]
    assert (line["status"], line["details"]) == ("error", details)
    assert line["explanation"], "what was expected, what came, what to do"
    assert office.device(device)["details"] == details
    found = office.call("get", f"devices/?details={details}", status=200)["results"]
    assert device in [row["id"] for row in found]
    for language, why in (("en", "What happened"), ("pt-br", "O que aconteceu")):
        office.pages.post(reverse("set_language"), {"language": language, "next": "/"})
        cell = log_rows(office.device_page(device))[0][2]
        assert cell.startswith(f"{details} {why}")
        listed = Document(office.pages.get(reverse("device-list"), {"details": details}))
        assert details in listed.text
    return True


def asked_once(office: Office, server: int, **settings: Any) -> int:
    """A device whose automatic request had its only try."""
    device = office.timed(server, **settings)
    assert office.work() == 1
    return device


def test_deferred(office: Office, responder: Ca) -> None:
    responder.behave(pending=1)
    assert says(office, asked_once(office, responder.server.pk), "Deferred")


def test_key_and_certificate_registration_limit_error(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id, key_limit=1)
    for _ in range(2):
        office.send_request(device)
        office.work()
    assert says(office, device, "Key and Certificate Registration Limit Error")


def test_no_connection_is_top_error(office: Office, scepserver: RealCa) -> None:
    with scepserver.stopped():
        device = asked_once(office, scepserver.id)
    assert says(office, device, "Communication Error (TOP ERROR)")


def test_a_host_that_does_not_exist_is_top_error(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, nobody = socket.getaddrinfo, "no-such-host.invalid"

    def known(host: Any, *how: Any, **named: Any) -> Any:
        if host == nobody:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(host, *how, **named)

    # some name servers know every name
    monkeypatch.setattr(socket, "getaddrinfo", known)
    device = asked_once(office, office.add_server(f"http://{nobody}/scep"))
    assert says(office, device, "Communication Error (TOP ERROR)")


def test_a_timeout_is_top_error(office: Office, scepserver: RealCa) -> None:
    office.known(scepserver.id)
    office.call("patch", f"scep-servers/{scepserver.id}/", {"timeout": 1}, status=200)
    with scepserver.silent():
        device = asked_once(office, scepserver.id)
    assert says(office, device, "Communication Error (TOP ERROR)")


def test_a_connection_that_is_dropped_is_top_error(office: Office, responder: Ca) -> None:
    responder.behave(drop=True)
    assert says(office, asked_once(office, responder.server.pk), "Communication Error (TOP ERROR)")


def test_an_http_status_stands_in_the_details(office: Office, scepserver: RealCa) -> None:
    device = asked_once(office, office.add_server(scepserver.url.replace("/scep", "/nowhere")))
    assert says(office, device, "Communication Error (TOP ERROR 404)")


@pytest.mark.parametrize("status", [302, 400, 403, 500, 502, 503])
def test_and_so_does_any_other(office: Office, responder: Ca, status: int) -> None:
    responder.behave(http_status=status)
    device = asked_once(office, responder.server.pk)
    assert says(office, device, f"Communication Error (TOP ERROR {status})")


@pytest.mark.parametrize("fail_info", [0, 1, 2, 3, 4])
def test_the_fail_info_of_the_server_stands_in_the_details(
    office: Office, responder: Ca, fail_info: int
) -> None:
    responder.behave(fail_info=fail_info)
    device = asked_once(office, responder.server.pk)
    assert says(office, device, f"Communication Error (SCEP ERROR Fail Info {fail_info})")


def test_fail_info_2_a_transaction_that_is_not_permitted(office: Office, scepserver: RealCa) -> None:
    device = asked_once(office, scepserver.id, challenge_password="wrong")
    assert says(office, device, "Communication Error (SCEP ERROR Fail Info 2)")
    assert "Check the challenge password" in office.ended(device)["explanation"]


def test_fail_info_0_an_algorithm_that_is_not_permitted(office: Office, scepserver: RealCa) -> None:
    device = asked_once(office, office.add_server(scepserver.url, allow_des_replies=False))
    assert says(office, device, "Communication Error (SCEP ERROR Fail Info 0)")
    assert "DES" in office.ended(device)["explanation"]


def test_fail_info_1_a_ca_that_is_not_the_pinned_one(office: Office, scepserver: RealCa) -> None:
    server = office.add_server(scepserver.url, allow_des_replies=True, ca_fingerprint="12" * 32)
    device = asked_once(office, server)
    assert says(office, device, "Communication Error (SCEP ERROR Fail Info 1)")
    assert "12" * 32 in office.ended(device)["explanation"]


def test_a_success_has_none(office: Office, scepserver: RealCa) -> None:
    device = asked_once(office, scepserver.id)
    assert office.certificate(device)
    assert office.ended(device)["details"] == office.device(device)["details"] == ""
