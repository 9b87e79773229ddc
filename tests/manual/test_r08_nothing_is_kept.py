"""R8 What is entered for a manual request is not kept: no setting of the device changes, and its secrets are gone
from the database once the request has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from django.db import connection

from devices import secrets
from devices.secrets import SecretUnreadable
from tests.devices.factories import CHALLENGE
from tests.manual.office import Office
from tests.manual.real_ca import RealCa, request_text

pytestmark = pytest.mark.django_db

ENTERED: dict[str, Any] = {
    "key_name": "Once",
    "signature_algorithm": "SHA-512",
    "key_length": 3072,
    "organization": "Entered once",
    "common_name": "once.example.com",
    "key_use": "tls",
}


def stored() -> Iterator[tuple[str, bytes]]:
    """Where and what: every value of every table of the database, and what our key opens of it."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(names, row, strict=True):
                    if isinstance(value, bytes | memoryview):
                        yield f"{table}.{name}", bytes(value)
                        try:
                            yield f"{table}.{name}, decrypted", secrets.decrypt(bytes(value))
                        except SecretUnreadable:
                            continue
                    elif value is not None:
                        yield f"{table}.{name}", str(value).encode()


def places(needle: str) -> list[str]:
    """Where `needle` stands in the database, encrypted or not."""
    return sorted({place for place, value in stored() if needle.encode() in value})


def private_keys() -> list[str]:
    """Where private keys stand."""
    found = []
    for place, value in stored():
        try:
            if isinstance(load_der_private_key(value, None), RSAPrivateKey):
                found.append(place)
        except ValueError:
            continue
    return found


def test_no_setting_of_the_device_changes(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.save(device, organization="Stored", key_name="Stored", key_length=2048)
    before = office.settings(device)
    office.send_request(device, **ENTERED)
    waiting = office.settings(device)
    assert waiting.pop("next_request_at"), "that of the request that waits, and no setting"
    assert waiting.items() <= before.items()
    office.work()
    assert office.certificate(device)
    assert office.settings(device) == before
    assert before["has_challenge_password"] is False


def test_the_timer_goes_by_the_settings_afterwards(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.save(device, organization="Stored")
    office.send_request(device, **ENTERED)
    office.work()
    office.timed(scepserver.id, device=device)
    assert office.work() == 1
    csr = request_text(scepserver.csr_of(office.certificate(device)))
    assert "O=Stored" in csr
    assert "Public-Key: (2048 bit)" in csr
    assert "once.example.com" not in csr


def test_its_secrets_are_gone_from_every_table_once_it_has_ended(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.send_request(device, **ENTERED)
    waiting = places(CHALLENGE)
    assert waiting == ["devices_issuancerequest.challenge_password_encrypted, decrypted"], (
        "encrypted until then"
    )
    office.work()
    certificate = x509.load_pem_x509_certificate(office.certificate(device).encode())
    assert certificate.public_key()
    assert places(CHALLENGE) == []
    assert private_keys() == ["devices_keyandcertificate.private_key_encrypted, decrypted"], (
        "the key belongs to its certificate now"
    )


def test_they_are_gone_after_an_error_too(office: Office, scepserver: RealCa) -> None:
    device = office.add_device(scepserver.id)
    office.send_request(device, challenge_password="not-the-right-one")
    office.work()
    assert office.ended(device)["status"] == "error"
    assert places("not-the-right-one") == []
    assert private_keys() == []


def test_they_are_gone_after_a_request_for_a_selection(office: Office, scepserver: RealCa) -> None:
    devices = [office.add_device(scepserver.id) for _ in range(2)]
    body = {"kind": "manual_request", "devices": devices, "parameters": {"challenge_password": CHALLENGE}}
    office.call("post", "jobs/", body, status=202)
    assert places(CHALLENGE) == ["devices_job.secrets_encrypted, decrypted"]
    office.work_on_jobs()
    assert places(CHALLENGE) == ["devices_issuancerequest.challenge_password_encrypted, decrypted"]
    office.work()
    assert [office.ended(device)["status"] for device in devices] == ["successful"] * 2
    assert places(CHALLENGE) == []


def test_the_form_says_so_and_never_shows_the_password_again(office: Office) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    note = "What you enter here is used once and not kept: no setting of the device changes."
    assert note in office.page("device-request", device).text
    page = office.form("device-request", device).submit(
        422, challenge_password=CHALLENGE, common_name="no name at all"
    )
    assert CHALLENGE not in page
