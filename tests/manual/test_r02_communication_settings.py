"""R2 [SCEP Server URL], [Port Number], [Communication Timeout] in seconds: the connection is given up when the server
does not answer within it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.devices.enrollment.steps import Ca
from tests.fleet.dashboard.filling import errors_at
from tests.manual.office import Office, definitions
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

FIELDS = {"url": "SCEP Server URL", "port": "Port Number", "timeout": "Communication Timeout"}


def test_the_fields_and_their_labels(office: Office) -> None:
    page = office.page("server-add")
    assert "Communication Settings" in [legend.text for legend in page.all("legend")]
    assert {name: page.label_of(name) for name in FIELDS} == FIELDS
    assert "Seconds, 1 to 300: without an answer within it the connection is given up." in page.described(
        "timeout"
    )
    assert "1 to 65535" in page.described("port")


def test_url_and_port_lead_to_the_server(office: Office, scepserver: RealCa) -> None:
    apart = office.add_server("http://127.0.0.1/scep", port=scepserver.port, allow_des_replies=True)
    for server in (apart, scepserver.id):
        device = office.add_device(server)
        office.send_request(device)
        office.work()
        assert office.certificate(device)


def test_each_device_asks_the_server_that_it_uses(office: Office, scepserver: RealCa, responder: Ca) -> None:
    devices = [office.add_device(server) for server in (scepserver.id, responder.server.pk)]
    for device in devices:
        office.send_request(device)
    assert office.work() == 2
    issuers = [office.keys(device)[0]["issuer"] for device in devices]
    assert "O=Example" in issuers[0]
    assert "Responder CA" in issuers[1]


def test_the_connection_is_given_up_when_the_server_does_not_answer_within_the_timeout(
    office: Office, scepserver: RealCa
) -> None:
    office.known(scepserver.id)
    office.call("patch", f"scep-servers/{scepserver.id}/", {"timeout": 1}, status=200)
    device, before = office.add_device(scepserver.id), scepserver.messages()
    office.send_request(device)
    with scepserver.silent():
        office.work()
    line = office.ended(device)
    assert (line["status"], line["details"]) == ("error", "Communication Error (TOP ERROR)")
    assert "within 1 s" in line["explanation"]
    assert scepserver.messages() == before + 1, "it had the request, and did not answer"


def test_a_devices_page_shows_where_it_asks(office: Office) -> None:
    server = office.add_server("http://ca.example.com/scep", port=8081, name="Office CA", timeout=25)
    shown = definitions(office.device_page(office.add_device(server)))["SCEP server"]
    for part in ("Office CA", "http://ca.example.com:8081/scep", "Communication Timeout: 25 s"):
        assert part in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("url", value) for value in ("", "ca.example.com/scep", "ftp://ca.example.com/", "http:///scep")),
        *(("port", value) for value in (0, 65536, -1)),
        *(("timeout", value) for value in (0, 301, "soon")),
    ],
)
def test_what_is_out_of_range_is_refused_at_its_field(office: Office, field: str, value: Any) -> None:
    good = {"url": "http://ca.example.com/scep"}
    refused = office.call("post", "scep-servers/", {"name": "New", **good, field: value}, status=400)
    assert set(refused["errors"]) == {field}
    page = office.form("server-add").submit(422, **{"name": "New", **good, field: str(value)})
    assert set(errors_at(page)) == {field}


@pytest.mark.parametrize(("field", "values"), [("port", (1, 65535)), ("timeout", (1, 300))])
def test_both_ends_of_each_range_are_taken(office: Office, field: str, values: tuple[int, int]) -> None:
    for value in values:
        assert office.add_server("http://ca.example.com/scep", **{field: value})
