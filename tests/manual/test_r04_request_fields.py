"""R4 Fields of a [Certificate Issuance Request]: [Key Name], [Signature Algorithm], [Key Length (bit)],
[Organization], [Common Name], [Challenge Password], [Key Use Location].

What reaches the server is read with openssl from the CSR that the real server got.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.devices.factories import CHALLENGE
from tests.manual.office import Office
from tests.manual.real_ca import RealCa, certificate_text, request_text

pytestmark = pytest.mark.django_db

LABELS = {
    "key_name": "Key Name",
    "signature_algorithm": "Signature Algorithm",
    "key_length": "Key Length (bit)",
    "organization": "Organization",
    "common_name": "Common Name",
    "challenge_password": "Challenge Password",
    "key_use": "Key Use Location",
}


def options(office: Office, name: str) -> list[str]:
    """What the drop-down `name` of the request form offers."""
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    return office.page("device-request", device).options(name)


def sent(office: Office, scepserver: RealCa, **parameters: Any) -> tuple[str, str]:
    """Send a manual request; `openssl req -text` of its CSR and the issued certificate."""
    device = office.add_device(scepserver.id)
    office.send_request(device, **parameters)
    assert office.work() == 1
    certificate = office.certificate(device)
    return request_text(scepserver.csr_of(certificate)), certificate


def test_the_fields_and_their_labels_in_the_manuals_order(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    page = office.page("device-request", device)
    assert page.all("h1")[0].text.startswith("Certificate Issuance Request")
    assert {name: page.label_of(name) for name in LABELS} == LABELS
    order = [element.get("name") for element in page.elements if element.get("name") in LABELS]
    assert order == [*LABELS]
    assert page.control("challenge_password").get("type") == "password"


def test_the_hashes_that_are_offered_with_sha_1_marked_as_legacy(office: Office) -> None:
    offered = options(office, "signature_algorithm")
    assert offered == ["SHA-256", "SHA-384", "SHA-512", "SHA-1 (legacy)"]


def test_the_lengths_that_are_offered_with_1024_marked_as_legacy(office: Office) -> None:
    assert options(office, "key_length") == ["2048", "3072", "4096", "1024 (legacy)"]


@pytest.mark.parametrize(
    ("algorithm", "named"),
    [
        ("SHA-256", "sha256WithRSAEncryption"),
        ("SHA-384", "sha384WithRSAEncryption"),
        ("SHA-512", "sha512WithRSAEncryption"),
        ("SHA-1", "sha1WithRSAEncryption"),
    ],
)
def test_the_signature_of_the_csr_has_the_hash(
    office: Office, scepserver: RealCa, algorithm: str, named: str
) -> None:
    csr, _certificate = sent(office, scepserver, signature_algorithm=algorithm)
    assert f"Signature Algorithm: {named}" in csr


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 1024])
def test_the_key_has_the_length(office: Office, scepserver: RealCa, bits: int) -> None:
    csr, certificate = sent(office, scepserver, key_length=bits)
    assert f"Public-Key: ({bits} bit)" in csr
    assert f"Public-Key: ({bits} bit)" in certificate_text(certificate)


def test_organization_common_name_and_challenge_password_stand_in_the_csr(
    office: Office, scepserver: RealCa
) -> None:
    csr, certificate = sent(
        office, scepserver, organization="Example, Inc.", common_name="mfp-r4.example.com"
    )
    assert r"Subject: CN=mfp-r4.example.com,O=Example\, Inc." in csr
    assert f"challengePassword        :{CHALLENGE}" in csr
    assert r"Subject: CN=mfp-r4.example.com,O=Example\, Inc." in certificate_text(certificate)


def test_what_is_left_empty_is_left_out(office: Office, scepserver: RealCa) -> None:
    csr, _certificate = sent(office, scepserver, common_name="mfp-r4-empty.example.com")
    assert "Subject: CN=mfp-r4-empty.example.com\n" in csr
    assert "sha256WithRSAEncryption" in csr, "the default"
    assert "Public-Key: (2048 bit)" in csr, "the default"


def test_the_challenge_password_decides(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    for wrong in ("wrong", ""):
        office.send_request(device, challenge_password=wrong)
        office.work()
        assert office.ended(device)["details"] == "Communication Error (SCEP ERROR Fail Info 2)"
    office.send_request(device)
    office.work()
    assert office.certificate(device)


def test_the_key_is_registered_under_its_name(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    for _ in range(2):
        office.send_request(device, key_name="Lobby key #1")
        office.work()
    assert [key["name"] for key in office.keys(device)] == ["Lobby key #1-2", "Lobby key #1"]
    assert "Lobby key #1-2" in office.device_page(device).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_name", ""),
        ("key_name", "K" * 65),
        ("key_name", "Schlüssel"),
        ("signature_algorithm", "MD5"),
        ("key_length", 512),
        ("key_length", 2047),
        ("organization", "O" * 65),
        ("common_name", "printer room 3"),
        ("common_name", "10.1.2.300"),
        ("challenge_password", "p" * 256),
        ("key_use", "Fax"),
    ],
)
def test_what_no_request_can_hold_is_refused_at_its_field(office: Office, field: str, value: Any) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    assert set(office.send_request(device, status=400, **{field: value})["errors"]) == {field}
    page = office.form("device-request", device).submit(422, **{field: str(value)})
    assert f'id="id_{field}_error"' in page
    assert office.log(device) == []
