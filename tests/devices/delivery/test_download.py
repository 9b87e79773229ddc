"""Fetching a key as PKCS #12: once, by administrators, read by OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from devices import inventory, secrets
from devices.audit import SYSTEM, Actor
from devices.delivery import download
from devices.delivery.connectors.base import Target
from devices.delivery.connectors.download import DownloadConnector
from devices.delivery.errors import AwaitsPerson
from devices.errors import Conflict
from devices.models import AuditEvent, KeyAndCertificate
from tests.devices.delivery.materials import make_material
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db


def real_key(**fields: Any) -> KeyAndCertificate:
    """One whose private key and certificate belong together."""
    material = make_material("Office", common_name="10.1.2.3")
    device = make_device(**{"connector": "download", "name": "hq 3f/01", **fields})
    return make_key(
        device,
        name="Office",
        private_key_encrypted=secrets.encrypt(material.private_key),
        certificate=material.certificate_pem().decode(),
        chain=material.chain_pem().decode(),
        fingerprint_sha256=material.fingerprint_sha256,
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_openssl_opens_it_under_the_password(actor: Actor, tmp_path: Path, legacy: bool) -> None:
    key = real_key(connector_settings={"legacy_pkcs12": True} if legacy else {})
    fetched = download.fetch(actor, key)
    assert fetched.file_name == "hq-3f-01-Office.p12"
    assert len(fetched.password) == download.PASSWORD_LENGTH
    path = tmp_path / "key.p12"
    path.write_bytes(fetched.pkcs12)
    words = ["openssl", "pkcs12", "-in", str(path), "-nodes", "-info"]
    done = subprocess.run(
        [*words, "-passin", f"pass:{fetched.password}", *(["-legacy"] if legacy else [])],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert "BEGIN PRIVATE KEY" in done.stdout
    assert ("pbeWithSHA1And3-KeyTripleDES-CBC" in done.stderr) == legacy
    wrong = subprocess.run([*words, "-passin", "pass:other"], capture_output=True, check=False, timeout=60)
    assert wrong.returncode != 0
    assert fetched.password not in repr(fetched)


def test_once(actor: Actor) -> None:
    key = real_key()
    fetched = download.fetch(actor, key)
    with pytest.raises(Conflict) as refused:
        download.fetch(actor, key)
    assert refused.value.code == "already_fetched"
    event = AuditEvent.objects.get(action="key.fetch")
    assert (event.actor_name, event.changes["key"]) == ("administrator", "Office")
    assert fetched.password not in str(list(AuditEvent.objects.values()))


def test_for_devices_with_that_connector_alone(actor: Actor) -> None:
    key = real_key()
    inventory.update_device(SYSTEM, key.device, connector="none")
    with pytest.raises(Conflict) as refused:
        download.fetch(actor, KeyAndCertificate.objects.get(pk=key.pk))
    assert refused.value.code == "connector_is_not_download"
    assert KeyAndCertificate.objects.get(pk=key.pk).fetched_at is None


def test_by_administrators_alone(operator: Any) -> None:
    with pytest.raises(PermissionDenied):
        download.fetch(Actor.of(operator, AuditEvent.Source.API), real_key())


def test_a_key_that_cannot_be_read_is_not_counted_as_fetched(actor: Actor) -> None:
    key = real_key()
    KeyAndCertificate.objects.filter(pk=key.pk).update(private_key_encrypted=b"nonsense")
    with pytest.raises(secrets.SecretUnreadable):
        download.fetch(actor, key)
    assert KeyAndCertificate.objects.get(pk=key.pk).fetched_at is None


def test_the_connector_waits_for_a_person() -> None:
    with pytest.raises(AwaitsPerson, match="Office"):
        DownloadConnector(Target("10.0.0.1")).install(make_material("Office"))
    assert download.is_by_hand("download")
    assert not download.is_by_hand("virtual")
    assert not download.is_by_hand("none")
