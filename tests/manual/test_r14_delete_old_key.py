"""R14 [Delete Old Key and Certificate]: the old key and certificate with the same key use are overwritten. The
default key is never overwritten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.manual.office import DAY, Office, definitions
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db


def renewing(office: Office, scepserver: RealCa, *, key_limit: int = 10, **settings: Any) -> int:
    """A device that has its first certificate and asks for the next every day."""
    device = office.add_device(
        scepserver.id, key_limit=key_limit, ipsec_destinations=["head office", "branch"]
    )
    office.timed(scepserver.id, device=device, request_interval_days=1, **settings)
    office.work()
    assert office.certificate(device)
    return device


def renew(office: Office, device: int) -> None:
    """One day later."""
    assert office.work_at(office.clock() + DAY + timedelta(minutes=1)) == 1
    assert office.certificate(device)


def held(office: Office, device: int) -> list[tuple[str, str, str]]:
    """Name, use and destination of each key, newest first."""
    return [(key["name"], key["key_use"], key["ipsec_destination"]) for key in office.keys(device)]


def make_default(office: Office, device: int) -> dict[str, Any]:
    """The device's only key, which is its default key from now on."""
    (key,) = office.keys(device)
    marked: dict[str, Any] = office.call(
        "patch", f"devices/{device}/keys/{key['id']}/", {"is_default": True}, status=200
    )
    assert "Default key" in office.device_page(device).text
    return marked


def test_the_label_and_what_it_does(office: Office) -> None:
    device = office.add_device()
    page = office.page("device-settings", device)
    assert page.label_of("delete_old_key") == "Delete Old Key and Certificate"
    assert page.described("delete_old_key") == (
        "The old key and certificate with the same key use are overwritten; the default key never is."
    )
    assert definitions(office.device_page(device))["Delete Old Key and Certificate"] == "no"


@pytest.mark.parametrize("use", ["tls", "ieee_802_1x"])
def test_the_old_one_with_the_same_use_is_overwritten(office: Office, scepserver: RealCa, use: str) -> None:
    device = renewing(office, scepserver, key_use=use, delete_old_key=True)
    (old,) = office.keys(device)
    renew(office, device)
    (new,) = office.keys(device)
    assert (new["name"], new["key_use"]) == (old["name"], use)
    assert new["fingerprint_sha256"] != old["fingerprint_sha256"]
    assert "1 of 10" in office.device_page(device).text


def test_keys_with_other_uses_stay(office: Office, scepserver: RealCa) -> None:
    device = renewing(office, scepserver, key_name="TLS key", key_use="tls", delete_old_key=True)
    office.save(device, key_name="802.1X key", key_use="ieee_802_1x")
    renew(office, device)
    renew(office, device)
    assert held(office, device) == [("802.1X key", "ieee_802_1x", ""), ("TLS key", "tls", "")]


def test_of_ipsec_the_one_with_the_same_destination(office: Office, scepserver: RealCa) -> None:
    device = renewing(office, scepserver, key_use="ipsec", ipsec_destination="branch", delete_old_key=True)
    office.save(device, key_use="ipsec", ipsec_destination="head office")
    renew(office, device)
    assert held(office, device) == [("SCEP-2", "ipsec", "head office"), ("SCEP", "ipsec", "branch")]
    renew(office, device)
    assert len(office.keys(device)) == 2


def test_off_keeps_the_old_one(office: Office, scepserver: RealCa) -> None:
    device = renewing(office, scepserver, key_use="tls", delete_old_key=False)
    renew(office, device)
    assert held(office, device) == [("SCEP-2", "tls", ""), ("SCEP", "none", "")]


def test_the_default_key_is_never_overwritten(office: Office, scepserver: RealCa) -> None:
    device = renewing(office, scepserver, key_use="tls", delete_old_key=True)
    default = make_default(office, device)
    for _ in range(2):
        renew(office, device)
        assert [key["name"] for key in office.keys(device)] == ["SCEP-2", "SCEP"]
        kept = office.keys(device)[1]
        assert (kept["is_default"], kept["certificate"]) == (True, default["certificate"])


def test_what_is_overwritten_makes_room_and_the_default_key_does_not(
    office: Office, scepserver: RealCa
) -> None:
    device = renewing(office, scepserver, key_limit=1, key_use="tls", delete_old_key=True)
    renew(office, device)
    make_default(office, device)
    before = scepserver.messages()
    assert office.work_at(office.clock() + DAY + timedelta(minutes=1)) == 1
    assert office.ended(device)["details"] == "Key and Certificate Registration Limit Error"
    assert scepserver.messages() == before
    assert len(office.keys(device)) == 1
