"""What is wrong with the certificate that a device serves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from devices.rules.drift import Drift, drift_of, names_host
from scep import keys
from tests.devices.delivery.issued import certificate

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
BEGIN = NOW - timedelta(days=1)
KEY, WEAK = keys.generate_rsa(), keys.generate_rsa(1024)


def found(
    key: rsa.RSAPrivateKey = KEY,
    *,
    host: str = "10.1.2.3",
    now: datetime = NOW,
    other: bool = False,
    days: int = 365,
) -> Drift | None:
    served = certificate("10.1.2.3", key, not_before=BEGIN, days=days)
    expected = "00" * 32 if other else served.fingerprint(hashes.SHA256()).hex()
    return drift_of(served, expected_sha256=expected, host=host, now=now)


def test_nothing_is_wrong() -> None:
    assert found() is None


def test_another_certificate() -> None:
    assert found(other=True) is Drift.OTHER_CERTIFICATE


@pytest.mark.parametrize("now", [NOW + timedelta(days=366), BEGIN - timedelta(seconds=1)])
def test_one_whose_time_is_over_or_has_not_begun(now: datetime) -> None:
    assert found(now=now) is Drift.EXPIRED


def test_a_short_key() -> None:
    assert found(WEAK) is Drift.WEAK_KEY


def test_another_address() -> None:
    assert found(host="10.1.2.4") is Drift.WRONG_NAME
    assert found(host="mfp.example.com") is Drift.WRONG_NAME


@pytest.mark.parametrize(
    ("name", "host", "fits"),
    [
        ("MFP.example.com", "mfp.example.com", True),
        ("*.example.com", "mfp.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "example.com", False),
        ("mfp.example.com", "mfp.example.org", False),
    ],
)
def test_names(name: str, host: str, fits: bool) -> None:
    assert names_host(certificate(name, KEY), host) is fits


def test_without_a_subject_alternative_name_the_common_name_counts() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "10.1.2.3")])
    old = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(NOW)
        .sign(KEY, hashes.SHA256())
    )
    assert (names_host(old, "10.1.2.3"), names_host(old, "10.1.2.4")) == (True, False)
