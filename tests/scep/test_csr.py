"""The CSR, the signer certificate and the transaction (R4, R5)."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from scep import asn1, ber
from scep.csr import (
    CertificateParameters,
    SignatureAlgorithm,
    alternative_name,
    challenge_password_of,
    load_request,
    signed_bytes_of,
)
from scep.transaction import Transaction, new_transaction

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CHALLENGE = "opensesame-8894"


def make(
    common_name: str = "mfp.example.com",
    *,
    organization: str = "Example",
    key_length: int = 2048,
    algorithm: SignatureAlgorithm = SignatureAlgorithm.SHA256,
    challenge: str = CHALLENGE,
) -> Transaction:
    return new_transaction(
        CertificateParameters(common_name, organization, key_length, algorithm, challenge), now=NOW
    )


def openssl_says(csr: bytes) -> str:
    """OpenSSL's reading of a CSR, its signature verified."""
    command = ["openssl", "req", "-inform", "DER", "-verify", "-noout", "-text"]
    # how names are written is not the same in every version, unless it is said
    command += ["-nameopt", "oneline"]
    done = subprocess.run(command, input=csr, capture_output=True, check=True)
    assert b"verify OK" in done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("common_name", "alternative"),
    [
        ("10.1.2.3", "IP Address:10.1.2.3"),
        ("2001:db8::1", "IP Address:2001:DB8:0:0:0:0:0:1"),
        ("mfp.example.com", "DNS:mfp.example.com"),
    ],
)
def test_r5_the_common_name_is_a_subject_alternative_name_too(common_name: str, alternative: str) -> None:
    text = openssl_says(make(common_name).csr)
    assert alternative in text
    assert f"Subject: O = Example, CN = {common_name}" in text


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_r4_the_hash_of_the_signature(algorithm: SignatureAlgorithm) -> None:
    name = algorithm.value.replace("-", "").lower()
    assert f"Signature Algorithm: {name}WithRSAEncryption" in openssl_says(make(algorithm=algorithm).csr)


@pytest.mark.parametrize("length", [1024, 2048, 3072])
def test_r4_the_length_of_the_key(length: int) -> None:
    assert f"Public-Key: ({length} bit)" in openssl_says(make(key_length=length).csr)


def test_what_is_empty_is_left_out() -> None:
    text = openssl_says(make(organization="", challenge="").csr)
    assert "Subject: CN = mfp.example.com\n" in text
    assert "challengePassword" not in text


@pytest.mark.parametrize(("challenge", "tag"), [(CHALLENGE, 0x13), ("gehéim", 0x0C), ("a@b", 0x0C)])
def test_quirk_18_a_challenge_is_a_printable_string_where_it_can_be(challenge: str, tag: int) -> None:
    csr = make(challenge=challenge).csr
    encoded = challenge.encode()
    assert bytes((tag, len(encoded))) + encoded in csr
    assert f"challengePassword        :{challenge}" in openssl_says(csr)


def test_quirk_22_the_signer_has_the_subject_and_the_key_of_the_csr() -> None:
    made = make()
    csr = x509.load_der_x509_csr(made.csr)
    assert made.signer.subject == made.signer.issuer == csr.subject
    assert made.signer.public_key() == csr.public_key()
    made.signer.verify_directly_issued_by(made.signer)
    assert made.signer.not_valid_before_utc < NOW < made.signer.not_valid_after_utc - timedelta(days=300)


def test_quirk_16_the_transaction_id_is_printable_and_of_the_key_alone() -> None:
    first, second = make(), make()
    assert asn1.is_printable(first.transaction_id)
    assert first.transaction_id != second.transaction_id


def test_a_transaction_is_restored_as_it_was() -> None:
    made = make()
    again = Transaction.restore(
        transaction_id=made.transaction_id,
        private_key=made.private_key_der(),
        csr=made.csr,
        signer=made.signer.public_bytes(Encoding.DER),
    )
    assert again.private_key_der() == made.private_key_der()
    assert (again.transaction_id, again.csr, again.signer) == (made.transaction_id, made.csr, made.signer)


def test_only_keys_that_it_makes_are_restored() -> None:
    made = make()
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(ValueError, match="neither RSA nor EC"):
        Transaction.restore(
            transaction_id="t",
            private_key=other,
            csr=made.csr,
            signer=made.signer.public_bytes(Encoding.DER),
        )


def test_no_secret_shows() -> None:
    made = make()
    parameters = CertificateParameters("a", "", 2048, SignatureAlgorithm.SHA256, CHALLENGE)
    assert CHALLENGE not in repr(parameters)
    assert "csr" not in repr(made)
    assert "key=" not in repr(made)


def test_more_alternative_names() -> None:
    names = ("10.1.2.3", "print.example.com", "mfp.example.com")
    parameters = CertificateParameters(
        "mfp.example.com", "", 2048, SignatureAlgorithm.SHA256, "", alternative_names=names
    )
    text = openssl_says(new_transaction(parameters, now=NOW).csr)
    assert "DNS:mfp.example.com, IP Address:10.1.2.3, DNS:print.example.com\n" in text


def test_a_csr_with_unsorted_attributes_is_read() -> None:
    """strongSwan sends such: its own signature must still fit what it signed."""
    sorted_csr = make().csr
    info, *rest = ber.children(sorted_csr)
    fields = list(ber.children(info))
    turned = ber.wrap(0xA0, b"".join(reversed(list(ber.children(fields[-1])))))
    info = ber.wrap(0x30, b"".join([*fields[:-1], turned]))
    unsorted_csr = ber.wrap(0x30, b"".join([info, *rest]))
    with pytest.raises(ValueError, match="SetOrdering"):
        x509.load_der_x509_csr(unsorted_csr)
    assert load_request(unsorted_csr) == load_request(sorted_csr) == x509.load_der_x509_csr(sorted_csr)
    assert challenge_password_of(load_request(unsorted_csr)) == CHALLENGE
    assert signed_bytes_of(unsorted_csr) == info != signed_bytes_of(sorted_csr)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_what_is_no_csr_is_a_value_error(noise: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        load_request(noise)


@settings(max_examples=200)
@given(st.ip_addresses())
def test_every_address_is_an_ip_address(address: object) -> None:
    (name,) = alternative_name(str(address))
    assert isinstance(name, x509.IPAddress)
