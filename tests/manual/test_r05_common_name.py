"""R5 [Common Name]: the CSR carries the name as a subjectAltName too, iPAddress for an address, dNSName for a name.
The form says which one to choose and why."""

from __future__ import annotations

import pytest

from tests.manual.office import Office
from tests.manual.real_ca import RealCa, certificate_text, request_text

pytestmark = pytest.mark.django_db

NAMES = [
    ("192.0.2.41", "IP Address:192.0.2.41"),
    ("2001:db8::41", "IP Address:2001:DB8:0:0:0:0:0:41"),
    ("mfp-r5.example.com", "DNS:mfp-r5.example.com"),
]


def alternative_names(text: str) -> str:
    """The line below “X509v3 Subject Alternative Name” of `openssl -text`."""
    lines = [line.strip() for line in text.splitlines()]
    (place,) = [i for i, line in enumerate(lines) if line.startswith("X509v3 Subject Alternative Name")]
    return lines[place + 1]


@pytest.mark.parametrize(("name", "alternative"), NAMES)
def test_the_csr_carries_the_name_as_a_subject_alternative_name_too(
    office: Office, scepserver: RealCa, name: str, alternative: str
) -> None:
    device = office.add_device(scepserver.id)
    office.send_request(device, common_name=name)
    office.work()
    certificate = office.certificate(device)
    csr = request_text(scepserver.csr_of(certificate))
    assert f"Subject: CN={name}\n" in csr
    assert alternative_names(csr) == alternative
    assert alternative_names(certificate_text(certificate)) == alternative, "and the server issues it so"


@pytest.mark.parametrize(("name", "alternative"), NAMES)
def test_without_a_common_name_the_devices_own_address_is_taken(
    office: Office, scepserver: RealCa, name: str, alternative: str
) -> None:
    device = office.timed(scepserver.id, device=office.add_device(scepserver.id, host=name))
    office.work()
    csr = request_text(scepserver.csr_of(office.certificate(device)))
    assert f"Subject: CN={name}\n" in csr
    assert alternative_names(csr) == alternative


@pytest.mark.parametrize("form", ["device-request", "device-settings"])
def test_the_form_says_which_one_to_choose_and_why(office: Office, form: str) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"), host="10.9.8.7")
    page = office.page(form, device)
    said = page.described("common_name")
    assert "IP address or FQDN. Windows IPPS clients need the IP address; an FQDN needs DNS." in said
    assert page.control("common_name").get("placeholder") == "10.9.8.7"


@pytest.mark.parametrize("name", ["printer room 3", "10.1.2.300", "fe80::1::2", "-mfp.example.com", "a..b"])
def test_what_is_neither_an_address_nor_a_host_name_is_refused(office: Office, name: str) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    for refused in (
        office.send_request(device, status=400, common_name=name),
        office.save(device, status=400, common_name=name),
    ):
        (message,) = refused["errors"]["common_name"]
        assert "neither an IP address nor a host name (FQDN)" in message
