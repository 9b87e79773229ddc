"""What is installed on a device, in the forms that devices want, read back by OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devices.delivery.connectors.base import Material
from devices.rules.keys import KeyUse
from scep import keys
from tests.devices.delivery.issued import authority, certificate, pkcs8

PASSWORD = "a password for the device"


@pytest.fixture(scope="module")
def material() -> Material:
    """One with a chain of one."""
    key = keys.generate_rsa()
    return Material(
        name="TLS",
        key_use=KeyUse.TLS,
        ipsec_destination="",
        private_key=pkcs8(key),
        certificate=certificate("10.1.2.3", key),
        chain=(certificate("Office CA", authority()),),
    )


def openssl(*arguments: str, given: bytes = b"") -> str:
    """What it prints; it must succeed."""
    return subprocess.run(
        ["openssl", *arguments], input=given, capture_output=True, check=True, timeout=60
    ).stdout.decode()


def test_the_private_key_does_not_print(material: Material) -> None:
    assert "private_key" not in repr(material)


def test_pem(material: Material) -> None:
    public = openssl("pkey", "-pubout", given=material.private_key_pem())
    assert openssl("x509", "-noout", "-pubkey", given=material.certificate_pem()) == public
    # the spaces of other formats differ from release to release
    subject = openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253", given=material.chain_pem())
    assert "CN=Office CA" in subject
    printed = openssl("x509", "-noout", "-fingerprint", "-sha256", given=material.certificate_pem())
    assert printed.strip().split("=")[1].replace(":", "").lower() == material.fingerprint_sha256


@pytest.mark.parametrize(
    ("legacy", "algorithm"), [(False, "PBES2"), (True, "pbeWithSHA1And3-KeyTripleDES-CBC")]
)
def test_pkcs12(material: Material, legacy: bool, algorithm: str, tmp_path: Path) -> None:
    file = tmp_path / "key.p12"
    file.write_bytes(material.pkcs12(PASSWORD, legacy=legacy))
    command = ["openssl", "pkcs12", "-in", str(file), "-passin", f"pass:{PASSWORD}", "-nodes", "-info"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert algorithm in done.stderr.decode()
    assert done.stdout.count(b"BEGIN CERTIFICATE") == 2
    assert b"BEGIN PRIVATE KEY" in done.stdout
    assert b"friendlyName: TLS" in done.stdout
