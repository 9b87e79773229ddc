"""R6 [Key Use Location]: [None], [TLS], [IEEE 802.1X], [IPSec]; with [IPSec] a drop-down of that device's IPSec
destinations. Anything but [None] assigns the new key to that function. If the function is disabled on the device, the
key is still assigned, the function is not switched on, and the user is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.manual.office import Office, log_rows
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

SWITCHES = {"tls": "tls_enabled", "ieee_802_1x": "ieee_802_1x_enabled", "ipsec": "ipsec_enabled"}
USES = [("tls", "TLS"), ("ieee_802_1x", "IEEE 802.1X"), ("ipsec", "IPSec (branch)")]


def enroll(office: Office, scepserver: RealCa, use: str, *, switched_on: bool) -> int:
    """A device that got a certificate for `use` by a manual request."""
    functions = dict.fromkeys(SWITCHES.values(), switched_on)
    device = office.add_device(scepserver.id, ipsec_destinations=["head office", "branch"], **functions)
    office.send_request(device, key_use=use, ipsec_destination="branch" if use == "ipsec" else "")
    office.work()
    assert office.certificate(device)
    return device


@pytest.mark.parametrize("form", ["device-request", "device-settings"])
def test_the_choices_and_the_drop_down_of_the_devices_own_destinations(office: Office, form: str) -> None:
    server = office.add_server("http://127.0.0.1:1/scep")
    office.add_device(server, ipsec_destinations=["somebody else's"])
    device = office.add_device(server, ipsec_destinations=["head office", "branch"])
    page = office.page(form, device)
    assert page.options("key_use") == ["None", "TLS", "IEEE 802.1X", "IPSec"]
    assert page.options("ipsec_destination")[1:] == ["head office", "branch"]
    none_yet = office.page(form, office.add_device(server))
    assert "no IPSec destinations yet" in none_yet.described("ipsec_destination")


@pytest.mark.parametrize(("use", "shown"), USES)
def test_the_new_key_is_assigned_to_the_function(
    office: Office, scepserver: RealCa, use: str, shown: str
) -> None:
    device = enroll(office, scepserver, use, switched_on=True)
    (key,) = office.keys(device)
    assert (key["key_use"], key["ipsec_destination"]) == (use, "branch" if use == "ipsec" else "")
    page = office.device_page(device)
    assert shown in [cell.text for cell in page.all("td", data_label="Key Use Location")]
    assert office.ended(device)["explanation"] == "", "nothing to be told"


def test_none_assigns_nothing_and_leaves_functions_their_keys(office: Office, scepserver: RealCa) -> None:
    device = enroll(office, scepserver, "tls", switched_on=True)
    office.send_request(device, key_use="none")
    office.work()
    assert [key["key_use"] for key in office.keys(device)] == ["none", "tls"]


def test_a_function_has_one_key_the_newest(office: Office, scepserver: RealCa) -> None:
    device = enroll(office, scepserver, "ipsec", switched_on=True)
    for destination in ("branch", "head office"):
        office.send_request(device, key_use="ipsec", ipsec_destination=destination)
        office.work()
    assert [(key["key_use"], key["ipsec_destination"]) for key in office.keys(device)] == [
        ("ipsec", "head office"),
        ("ipsec", "branch"),
        ("none", ""),
    ]


@pytest.mark.parametrize(("use", "shown"), USES)
def test_a_disabled_function_is_assigned_not_switched_on_and_the_user_is_told(
    office: Office, scepserver: RealCa, use: str, shown: str
) -> None:
    device = enroll(office, scepserver, use, switched_on=False)
    assert office.keys(device)[0]["key_use"] == use
    assert office.device(device)[SWITCHES[use]] is False
    line = office.ended(device)
    assert line["status"] == "successful"
    assert "assigned to a function that is off on the device" in line["explanation"]
    assert "was not switched on" in line["explanation"]
    assert line["explanation"] in log_rows(office.device_page(device))[0][2]


@pytest.mark.parametrize("form", ["device-request", "device-settings"])
def test_and_before_the_request_is_sent(office: Office, form: str) -> None:
    server = office.add_server("http://127.0.0.1:1/scep")
    device = office.add_device(server, tls_enabled=True, ieee_802_1x_enabled=False, ipsec_enabled=False)
    said = office.page(form, device).described("key_use")
    assert "Off on this device: IEEE 802.1X, IPSec." in said
    assert "the function is not switched on" in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_use": "ipsec"},
        {"key_use": "ipsec", "ipsec_destination": "nowhere"},
        {"key_use": "tls", "ipsec_destination": "branch"},
    ],
)
def test_ipsec_takes_one_of_its_destinations_and_nothing_else_does(
    office: Office, wrong: dict[str, Any]
) -> None:
    server = office.add_server("http://127.0.0.1:1/scep")
    device = office.add_device(server, ipsec_destinations=["branch"])
    for refused in (
        office.send_request(device, status=400, **wrong),
        office.save(device, status=400, **wrong),
    ):
        assert set(refused["errors"]) == {"ipsec_destination"}
