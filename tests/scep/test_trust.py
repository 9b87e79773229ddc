"""Roles of the CA's certificates, and which certificate is believed."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scep import cms, keys, trust
from scep.algorithms import SignatureAlgorithm
from scep.authority import Authority
from scep.errors import MessageCheckFailed, WrongCertificate

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority.create("Trust CA", now=NOW, with_ra=True)


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority.create("Trust CA", now=NOW)


def issue(authority: Authority, key: rsa.RSAPrivateKey = KEY, *, now: datetime = NOW) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mfp")])
    csr = x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256())
    return authority.issue(csr, now=now)


def usage_certificate(authority: Authority, *, signs: bool, encrypts: bool) -> x509.Certificate:
    """An RA certificate for one of the two roles."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"RA signs={signs}")])
    usage = x509.KeyUsage(signs, False, encrypts, False, False, False, False, False, False)
    return (
        x509.CertificateBuilder(authority.certificate.subject, name, KEY.public_key(), 1000 + signs)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(usage, critical=True)
        .sign(authority.key, hashes.SHA256())
    )


def test_quirk_01_roles_go_by_key_usage_and_not_by_order(ca: Authority) -> None:
    signs = usage_certificate(ca, signs=True, encrypts=False)
    encrypts = usage_certificate(ca, signs=False, encrypts=True)
    for order in permutations([ca.certificate, signs, encrypts]):
        assert trust.encryption_certificate(order) == encrypts
        assert trust.issuing_ca(order) == ca.certificate


def test_quirk_02_one_certificate_for_everything(ca: Authority) -> None:
    assert trust.encryption_certificate([ca.certificate]) == ca.certificate
    assert trust.issuing_ca([ca.certificate]) == ca.certificate


def intermediate_of(ca: Authority) -> Authority:
    """A CA below `ca`, with an RA of its own."""
    key = keys.generate_rsa()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Intermediate")])
    certificate = (
        x509.CertificateBuilder(ca.certificate.subject, name, key.public_key(), 77)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=100))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca.key, hashes.SHA256())
    )
    return Authority(certificate, key, certificate, key).with_ra_pair(now=NOW)


def test_quirk_01_the_issuing_ca_is_the_lower_one(ca: Authority) -> None:
    lower = intermediate_of(ca)
    assert lower.decrypting_certificate is not None
    for order in permutations([ca.certificate, lower.certificate]):
        assert trust.issuing_ca(order) == trust.encryption_certificate(order) == lower.certificate
    pair = (lower.ra_certificate, lower.decrypting_certificate)
    for order in permutations([*pair, ca.certificate, lower.certificate]):
        assert trust.issuing_ca(order) == lower.certificate
        assert trust.encryption_certificate(order) == lower.decrypting_certificate
    # the CA below has no RA, the one above has
    for order in permutations([ca.ra_certificate, ca.certificate, lower.certificate]):
        assert trust.issuing_ca(order) == ca.certificate


def test_quirk_02_a_ca_that_lacks_digital_signature_still_verifies(ca: Authority) -> None:
    key = keys.generate_rsa()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old CA")])
    usage = x509.KeyUsage(False, False, True, False, False, True, True, False, False)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 78)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    signed = cms.sign(
        None, certificate=certificate, key=key, attributes=[], algorithm=SignatureAlgorithm.SHA256
    )
    assert cms.parse_signed(signed).verify([certificate]) == certificate
    assert trust.encryption_certificate([certificate]) == certificate


class TestPin:
    """Quirk 28: refuse what is not pinned."""

    def pin(self, authority: Authority) -> str:
        return authority.certificate.fingerprint(hashes.SHA256()).hex()

    def test_in_any_usual_spelling(self, ca: Authority) -> None:
        pin = self.pin(ca)
        certificates = (ca.ra_certificate, ca.certificate)
        with_colons = ":".join(pin[i : i + 2] for i in range(0, 64, 2)).upper()
        for spelling in (pin, with_colons, with_colons.replace(":", " ")):
            assert trust.pinned(certificates, spelling) == certificates

    def test_quirk_28_another_ca_is_refused(self, ca: Authority, stranger: Authority) -> None:
        with pytest.raises(MessageCheckFailed) as refused:
            trust.pinned([stranger.certificate], self.pin(ca))
        assert self.pin(ca) in str(refused.value)
        assert self.pin(stranger) in str(refused.value)

    def test_what_the_pinned_ca_did_not_issue_is_not_believed(
        self, ca: Authority, stranger: Authority
    ) -> None:
        mixed = (stranger.certificate, ca.certificate, ca.ra_certificate)
        assert trust.pinned(mixed, self.pin(ca)) == (ca.certificate, ca.ra_certificate)

    def test_a_pinned_root_vouches_for_all_below_it(self, ca: Authority, stranger: Authority) -> None:
        lower = intermediate_of(ca)
        chain = (lower.ra_certificate, lower.certificate, ca.certificate)
        assert trust.pinned((*chain, stranger.certificate), self.pin(ca)) == chain
        assert trust.pinned(chain, self.pin(lower)) == chain[:2], "not the root above the pin"


class TestOldCertificate:
    """Quirk 21: what some servers return at renewal."""

    def find(
        self, ca: Authority, certificates: list[x509.Certificate], old: x509.Certificate
    ) -> x509.Certificate:
        return trust.own_certificate(
            certificates,
            public_key=KEY.public_key(),
            ca_certificates=[ca.certificate],
            now=NOW,
            old_certificate=old,
        )

    def test_quirk_21_the_new_one_beside_the_old_one(self, ca: Authority) -> None:
        old, new = issue(ca, keys.generate_rsa()), issue(ca)
        for order in permutations([old, new, ca.certificate]):
            assert self.find(ca, list(order), old) == new

    @pytest.mark.parametrize("with_ca", [False, True])
    def test_quirk_21_the_old_one_alone(self, ca: Authority, with_ca: bool) -> None:
        old = issue(ca, keys.generate_rsa())
        with pytest.raises(WrongCertificate, match=f"serial number {old.serial_number:x}"):
            self.find(ca, [old, ca.certificate] if with_ca else [old], old)

    def test_quirk_21_another_one_for_the_old_key(self, ca: Authority) -> None:
        key = keys.generate_rsa()
        with pytest.raises(WrongCertificate, match="returned the old one"):
            self.find(ca, [issue(ca, key)], issue(ca, key))


class TestOwnCertificate:
    def find(
        self, certificates: list[x509.Certificate], anchors: list[x509.Certificate], now: datetime = NOW
    ) -> x509.Certificate:
        return trust.own_certificate(
            certificates, public_key=KEY.public_key(), ca_certificates=anchors, now=now
        )

    def test_quirk_27_it_is_found_by_its_key(self, ca: Authority) -> None:
        mine = issue(ca)
        for order in permutations([ca.certificate, mine, ca.ra_certificate]):
            assert self.find(list(order), [ca.certificate]) == mine
        assert self.find([mine], [ca.certificate]) == mine, "others may be absent"

    def test_one_for_another_key_is_not_ours(self, ca: Authority) -> None:
        other = issue(ca, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        with pytest.raises(WrongCertificate, match="for our key") as refused:
            self.find([other], [ca.certificate])
        assert refused.value.details == "Communication Error (SCEP ERROR Fail Info 4)"

    def test_one_of_a_stranger_with_the_same_name_is_not_believed(
        self, ca: Authority, stranger: Authority
    ) -> None:
        with pytest.raises(WrongCertificate, match="issued by"):
            self.find([issue(stranger), stranger.certificate], [ca.certificate])

    @pytest.mark.parametrize("issuer_is_ours", [True, False])
    def test_quirk_06_one_that_is_signed_with_sha_1_is_read(
        self, ca: Authority, stranger: Authority, tmp_path: Path, issuer_is_ours: bool
    ) -> None:
        # some CAs sign with the hash of the CSR; openssl makes what our library refuses to make
        issuer = ca if issuer_is_ours else stranger
        (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
        pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "ca.key").write_bytes(issuer.key.private_bytes(*pem))
        (tmp_path / "mfp.key").write_bytes(KEY.private_bytes(*pem))
        request = ["openssl", "req", "-new", "-key", "mfp.key", "-subj", "/CN=mfp", "-out", "mfp.csr"]
        sign = ["openssl", "x509", "-req", "-sha1", "-in", "mfp.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
        for command in (request, [*sign, "-days", "30", "-out", "mfp.pem"]):
            subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=120)
        mine = x509.load_pem_x509_certificate((tmp_path / "mfp.pem").read_bytes())
        found = partial(
            trust.own_certificate,
            [mine],
            public_key=KEY.public_key(),
            ca_certificates=[ca.certificate],
            now=mine.not_valid_before_utc,
        )
        if issuer_is_ours:
            assert found() == mine
        else:
            with pytest.raises(WrongCertificate, match="issued by"):
                found()

    def test_an_intermediate_that_came_along_is_believed(self, ca: Authority) -> None:
        lower = intermediate_of(ca)
        mine, intermediate = issue(lower), lower.certificate
        assert self.find([mine, intermediate], [ca.certificate]) == mine
        with pytest.raises(WrongCertificate):
            self.find([mine], [ca.certificate])

    @pytest.mark.parametrize(
        ("issued", "valid"),
        [
            (NOW + timedelta(minutes=50), True),
            (NOW + timedelta(hours=2), False),
            (NOW - timedelta(days=366), False),
        ],
    )
    def test_it_is_valid_now(self, ca: Authority, issued: datetime, valid: bool) -> None:
        mine = issue(ca, now=issued)
        if valid:
            assert self.find([mine], [ca.certificate]) == mine
        else:
            with pytest.raises(WrongCertificate, match="valid now"):
                self.find([mine], [ca.certificate])
