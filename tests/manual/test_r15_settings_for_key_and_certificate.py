"""R15 [Settings for Key and Certificate To Be Issued]: the same fields as R4."""

from __future__ import annotations

from typing import Any

import pytest

from tests.devices.factories import CHALLENGE
from tests.fleet.dashboard.filling import errors_at
from tests.manual.office import Office, definitions
from tests.manual.real_ca import RealCa, request_text
from tests.manual.test_r04_request_fields import LABELS

pytestmark = pytest.mark.django_db

SETTINGS: dict[str, Any] = {
    "key_name": "Timer key",
    "signature_algorithm": "SHA-384",
    "key_length": 3072,
    "organization": "Example",
    "common_name": "mfp-r15.example.com",
    "key_use": "ieee_802_1x",
}


def test_the_same_fields_under_the_same_labels_with_the_same_choices(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    settings, manual = office.page("device-settings", device), office.page("device-request", device)
    assert "Settings for Key and Certificate To Be Issued" in [
        legend.text for legend in settings.all("legend")
    ]
    assert {name: settings.label_of(name) for name in LABELS} == LABELS
    for name in ("signature_algorithm", "key_length", "key_use", "ipsec_destination"):
        assert settings.options(name) == manual.options(name)
    for name in LABELS:
        assert settings.control(name).get("maxlength") == manual.control(name).get("maxlength")


def test_an_automatic_request_asks_for_just_that(office: Office, scepserver: RealCa) -> None:
    device = office.timed(scepserver.id, **SETTINGS)
    office.work()
    csr = request_text(scepserver.csr_of(office.certificate(device)))
    for part in (
        "Signature Algorithm: sha384WithRSAEncryption",
        "Public-Key: (3072 bit)",
        "Subject: CN=mfp-r15.example.com,O=Example",
        "DNS:mfp-r15.example.com",
        f"challengePassword        :{CHALLENGE}",
    ):
        assert part in csr
    (key,) = office.keys(device)
    assert (key["name"], key["key_use"], key["key_length"]) == ("Timer key", "ieee_802_1x", 3072)


def test_the_page_shows_them_and_of_the_password_only_that_there_is_one(office: Office) -> None:
    device = office.timed(office.add_server("http://127.0.0.1:1/scep"), **SETTINGS)
    page = office.device_page(device)
    terms = definitions(page)
    assert {label: terms[label] for label in LABELS.values()} == {
        "Key Name": "Timer key",
        "Signature Algorithm": "SHA-384",
        "Key Length (bit)": "3072",
        "Organization": "Example",
        "Common Name": "mfp-r15.example.com",
        "Challenge Password": "stored",
        "Key Use Location": "IEEE 802.1X",
    }
    for source in (page.source, office.page("device-settings", device).source, str(office.settings(device))):
        assert CHALLENGE not in source


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_name", "K" * 65),
        ("signature_algorithm", "MD5"),
        ("key_length", 512),
        ("organization", "O" * 65),
        ("common_name", "10.1.2.300"),
        ("challenge_password", "p" * 256),
        ("key_use", "Fax"),
    ],
)
def test_what_no_request_can_hold_is_refused_at_its_field(office: Office, field: str, value: Any) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    assert set(office.save(device, status=400, **{field: value})["errors"]) == {field}
    assert set(errors_at(office.form("device-settings", device).submit(422, **{field: str(value)}))) == {
        field
    }
