"""What the demo's CA issues, checked by OpenSSL as well, and that it is kept."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from scep.authority import Authority
from tests.scep.enrolling import NOW, transaction

T = TypeVar("T", bound=x509.ExtensionType)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


def csr(common_name: str = "mfp.example.com") -> x509.CertificateSigningRequest:
    return x509.load_der_x509_csr(transaction(common_name).csr)


def extension(certificate: x509.Certificate, kind: type[T]) -> T:
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_ca_may_sign_certificates_and_speak_scep(authority: Authority) -> None:
    usage = extension(authority.certificate, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_encipherment) == (True, True)
    assert (usage.key_cert_sign, usage.crl_sign) == (True, True)
    assert extension(authority.certificate, x509.BasicConstraints).ca
    assert authority.key.key_size == 2048
    authority.certificate.verify_directly_issued_by(authority.certificate)


def test_an_ra_may_only_speak_scep() -> None:
    made = Authority.create("With RA", now=NOW, with_ra=True)
    usage = extension(made.ra_certificate, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    made.ra_certificate.verify_directly_issued_by(made.certificate)


def test_what_a_certificate_says(authority: Authority) -> None:
    asked = csr("mfp.example.com")
    certificate = authority.issue(asked, now=NOW)
    assert certificate.subject == asked.subject
    assert certificate.issuer == authority.certificate.subject
    assert certificate.public_key() == asked.public_key()
    names = extension(certificate, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["mfp.example.com"]
    assert set(extension(certificate, x509.ExtendedKeyUsage)) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    usage = extension(certificate, x509.KeyUsage)
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    assert not extension(certificate, x509.BasicConstraints).ca
    own, issuers = (
        extension(each, x509.SubjectKeyIdentifier) for each in (certificate, authority.certificate)
    )
    assert extension(certificate, x509.AuthorityKeyIdentifier).key_identifier == issuers.digest
    assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    assert certificate.not_valid_after_utc == (NOW + timedelta(days=365)).replace(microsecond=0)


def test_lifetimes_are_drawn_between_both_ends() -> None:
    made, asked = Authority.create("Spread", now=NOW, validity_days=(10, 12)), csr()
    # certificates have whole seconds: up to one less than as many days
    days = {
        round((made.issue(asked, now=NOW).not_valid_after_utc - NOW) / timedelta(days=1)) for _ in range(60)
    }
    assert days == {10, 11, 12}


def test_nothing_outlives_the_ca() -> None:
    made = Authority.create("Old", now=NOW, validity_days=(5000, 5000))
    assert made.issue(csr(), now=NOW).not_valid_after_utc <= made.certificate.not_valid_after_utc


def test_serial_numbers_are_random_and_in_the_range_of_rfc_5280(authority: Authority) -> None:
    asked = csr()
    numbers = {authority.issue(asked, now=NOW).serial_number for _ in range(50)}
    assert len(numbers) == 50
    assert all(0 < number < 1 << 159 for number in numbers)


@pytest.mark.parametrize("with_ra", [False, True])
def test_openssl_agrees(tmp_path: Path, with_ra: bool) -> None:
    made = Authority.create("For OpenSSL", now=NOW, with_ra=with_ra)
    (tmp_path / "ca.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "mfp.pem").write_bytes(made.issue(csr(), now=NOW).public_bytes(Encoding.PEM))
    for purpose in ("sslserver", "sslclient"):
        verified = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-CAfile", "ca.pem"),
                *("-purpose", purpose, "-verify_hostname", "mfp.example.com", "mfp.pem"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (verified.stdout, verified.stderr) == ("mfp.pem: OK\n", "")


def test_it_is_kept_with_its_key_for_nobody_else_to_read(tmp_path: Path) -> None:
    first = Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    second = Authority.kept_in(tmp_path, "Another name", now=NOW, validity_days=(1, 2))
    assert second.certificate == first.certificate
    assert second.key.private_numbers() == first.key.private_numbers()
    assert second.validity_days == (1, 2)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(first) + (tmp_path / "ca.pem").read_text()


def test_a_key_of_another_ca_is_refused(tmp_path: Path) -> None:
    Authority.kept_in(tmp_path, "Kept CA", now=NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ca.key").write_bytes(pem)
    with pytest.raises(ValueError, match="is not the key of"):
        Authority.kept_in(tmp_path, "Kept CA", now=NOW)
