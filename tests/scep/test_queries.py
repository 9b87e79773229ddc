"""The operations beside enrollment: GetCACaps, GetCACert, GetNextCACert, GetCert and GetCRL."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scep import cms, messages
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.behavior import Behavior
from scep.capabilities import Capabilities
from scep.conversation import HttpReply, HttpRequest
from scep.errors import (
    FailInfo,
    HttpStatusError,
    MessageCheckFailed,
    NotOffered,
    NotScep,
    RequestRefused,
    WrongCertificate,
)
from scep.exchange import Issued, ServerPolicy
from scep.messages import PkiStatus
from scep.profile import ServerProfile
from scep.queries import (
    FoundCertificate,
    FoundCrl,
    GetCaCaps,
    GetCaCert,
    GetCert,
    GetCrl,
    GetNextCaCert,
    NextCa,
)
from scep.responder import KEYWORDS, Responder
from scep.server import serving
from scep.transaction import Requester, new_requester
from tests.scep.enrolling import NOW, carry, enrolled, error_of, failed, run, transaction

POLICY = ServerPolicy()


def openssl_signed(authority: Authority, content: bytes, directory: Path) -> bytes:
    """A SignedData by OpenSSL, without signed attributes."""
    assert isinstance(authority.key, RSAPrivateKey)
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "key.pem").write_bytes(key)
    (directory / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "cms", "-sign", "-binary", "-nodetach", "-noattr", "-outform", "DER"]
    command += ["-signer", "ca.pem", "-inkey", "key.pem"]
    return subprocess.run(command, input=content, capture_output=True, check=True, cwd=directory).stdout


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Queried CA", now=NOW)


@pytest.fixture(scope="module")
def requester() -> Requester:
    return new_requester("asks", now=NOW)


@pytest.fixture
def responder(authority: Authority) -> Responder:
    return Responder(authority)


@pytest.fixture
def url(responder: Responder) -> Iterator[str]:
    with serving(responder) as url:
        yield url


def test_get_ca_caps(url: str) -> None:
    assert carry(url, GetCaCaps(policy=POLICY)) == Capabilities.of([*KEYWORDS, "Renewal"])


def test_get_ca_caps_of_a_server_without_is_the_legacy_defaults(url: str, responder: Responder) -> None:
    responder.behavior = Behavior(html=True)
    assert carry(url, GetCaCaps(policy=POLICY)) == Capabilities()


def test_get_ca_cert(url: str, authority: Authority) -> None:
    profile = carry(url, GetCaCert(policy=POLICY))
    assert isinstance(profile, ServerProfile)
    assert profile.ca_certificates == (authority.certificate,)


def test_get_ca_cert_checks_the_pin(url: str, authority: Authority) -> None:
    pin = authority.certificate.fingerprint(hashes.SHA256()).hex()
    outcome = carry(url, GetCaCert(policy=ServerPolicy(ca_fingerprint=pin)))
    assert isinstance(outcome, ServerProfile)
    other = ServerPolicy(ca_fingerprint="00" * 32)
    error = failed(url, GetCaCert(policy=other))
    assert isinstance(error, MessageCheckFailed)


class TestGetCert:
    def test_a_certificate_by_its_serial_number(self, url: str, requester: Requester) -> None:
        own = enrolled(url, transaction())
        found = carry(url, GetCert(own.serial_number, requester=requester, policy=POLICY))
        assert isinstance(found, FoundCertificate)
        assert found.certificate == own

    def test_by_another_issuer(self, url: str, requester: Requester) -> None:
        own = enrolled(url, transaction())
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Another CA")]).public_bytes()
        error = failed(url, GetCert(own.serial_number, requester=requester, policy=POLICY, issuer=issuer))
        assert (error.fail_info, error.server_words) == (FailInfo.BAD_CERT_ID, "this CA is not that issuer")

    def test_one_that_does_not_exist(self, url: str, requester: Requester) -> None:
        error = failed(url, GetCert(12345, requester=requester, policy=POLICY))
        assert isinstance(error, RequestRefused)
        assert error.details == "Communication Error (SCEP ERROR Fail Info 4)"

    def test_another_certificate_is_refused(
        self, url: str, requester: Requester, responder: Responder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = enrolled(url, transaction())
        other = own.public_bytes(Encoding.DER)
        monkeypatch.setattr(responder.store, "certificate", lambda _serial_number: other)
        error = failed(url, GetCert(12345, requester=requester, policy=POLICY))
        assert isinstance(error, WrongCertificate)
        assert f"{own.serial_number:x}" in str(error)


class TestGetCrl:
    def test_the_crl_lists_what_was_revoked(
        self, url: str, requester: Requester, responder: Responder, authority: Authority
    ) -> None:
        revoked, kept = enrolled(url, transaction()), enrolled(url, transaction())
        responder.revoke(revoked.serial_number)
        for serial_number in (None, kept.serial_number):
            found = carry(url, GetCrl(requester=requester, policy=POLICY, serial_number=serial_number))
            assert isinstance(found, FoundCrl)
            assert found.crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
            assert found.crl.get_revoked_certificate_by_serial_number(revoked.serial_number)
            assert not found.crl.get_revoked_certificate_by_serial_number(kept.serial_number)
            assert [entry.serial_number for entry in found.crl] == [revoked.serial_number]

    def test_a_crl_that_the_ca_did_not_sign_is_refused(
        self, url: str, requester: Requester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forged = Authority.create("Queried CA", now=NOW).crl({}, now=NOW)
        monkeypatch.setattr(Authority, "crl", lambda _self, _revoked, *, now: forged)
        error = failed(url, GetCrl(requester=requester, policy=POLICY))
        assert isinstance(error, WrongCertificate)
        assert "signed none" in str(error)

    def test_a_crl_that_stands_alone_is_taken(self, authority: Authority) -> None:
        crl = authority.crl({}, now=NOW)
        assert cms.contents_of(crl.public_bytes(Encoding.DER)) == ((), (crl,))

    @pytest.mark.parametrize("answer", [[], [[]]], ids=["PENDING", "no CRL"])
    def test_success_without_a_crl_is_an_error(
        self, authority: Authority, requester: Requester, answer: list[list[object]]
    ) -> None:
        known = ServerProfile(Capabilities.of(KEYWORDS), (authority.certificate,))
        query = GetCrl(requester=requester, policy=POLICY, profile=known)
        sent = query.start()
        assert isinstance(sent, HttpRequest)
        request = messages.read_request(
            sent.body or b"",
            certificate=authority.certificate,
            key=authority.key,
            allowed=list(ContentCipher),
        )
        reply = messages.build_reply(
            request,
            PkiStatus.SUCCESS,
            certificate=authority.certificate,
            key=authority.key,
            sender_nonce=b"n" * 16,
            payload=cms.degenerate([authority.certificate]) if answer else None,
        )
        error = error_of(query.receive(HttpReply(200, reply)))
        assert isinstance(error, WrongCertificate if answer else NotScep)


class TestGetNextCaCert:
    """RFC 8894 section 4.7: the roll-over of a CA."""

    def test_the_next_ca_is_vouched_for_by_the_current_one(self, url: str, responder: Responder) -> None:
        responder.behavior = Behavior(next_ca=True)
        outcome = carry(url, GetNextCaCert(policy=POLICY))
        assert isinstance(outcome, NextCa)
        assert outcome.certificate == responder.next_authority.certificate
        assert outcome.certificate.public_key() != responder.authority.certificate.public_key()

    def test_enrollment_goes_on_after_the_roll_over(self, url: str, responder: Responder) -> None:
        responder.behavior = Behavior(next_ca=True)
        before, announced = enrolled(url, transaction()), carry(url, GetNextCaCert(policy=POLICY))
        assert isinstance(announced, NextCa)
        responder.roll_over()
        outcome = run(url, transaction())
        assert isinstance(outcome, Issued)
        outcome.certificate.verify_directly_issued_by(announced.certificate)
        assert before.issuer == outcome.certificate.issuer

    def test_with_an_ra_it_is_still_the_ca_that_signs(self, url: str, responder: Responder) -> None:
        responder.behavior = Behavior(next_ca=True, ra_pair=True)
        outcome = carry(url, GetNextCaCert(policy=POLICY))
        assert isinstance(outcome, NextCa)

    def test_it_is_not_asked_for_where_it_is_not_offered(self, url: str) -> None:
        error = failed(url, GetNextCaCert(policy=POLICY))
        assert isinstance(error, NotOffered)
        assert "does not offer it in GetCACaps" in str(error)
        assert error.details == "Communication Error (SCEP ERROR Fail Info 2)"

    def test_offered_and_not_answered(self, url: str, responder: Responder) -> None:
        responder.behavior = Behavior(keywords=("AES", "GetNextCACert"))
        outcome = failed(url, GetNextCaCert(policy=POLICY))
        assert isinstance(outcome, HttpStatusError)

    def answered(self, authority: Authority, body: bytes) -> object:
        known = ServerProfile(Capabilities.of(["GetNextCACert"]), (authority.certificate,))
        query = GetNextCaCert(policy=POLICY, profile=known)
        assert isinstance(query.start(), HttpRequest)
        return query.receive(HttpReply(200, body))

    def test_a_stranger_cannot_announce_himself(self, authority: Authority) -> None:
        forger = Authority.create("Queried CA", now=NOW)
        error = error_of(self.answered(authority, forger.announcement_of(forger)))
        assert isinstance(error, MessageCheckFailed)

    def test_nor_can_an_ra(self) -> None:
        authority = Authority.create("Queried CA", now=NOW, with_ra=True)
        body = cms.sign(
            cms.degenerate([authority.certificate]),
            certificate=authority.ra_certificate,
            key=authority.ra_key,
            attributes=[],
            algorithm=SignatureAlgorithm.SHA256,
        )
        assert isinstance(error_of(self.answered(authority, body)), MessageCheckFailed)

    def test_an_announcement_of_nobody(self, authority: Authority) -> None:
        body = cms.sign(
            cms.degenerate([]),
            certificate=authority.certificate,
            key=authority.key,
            attributes=[],
            algorithm=SignatureAlgorithm.SHA256,
        )
        assert isinstance(error_of(self.answered(authority, body)), NotScep)

    def test_openssl_signs_one_without_attributes(self, authority: Authority, tmp_path: Path) -> None:
        """A SignedData may do without signed attributes (RFC 5652 section 5.3); OpenSSL makes one."""
        next_ca = Authority.create("Queried CA", now=NOW)
        body = openssl_signed(authority, cms.degenerate([next_ca.certificate]), tmp_path)
        outcome = self.answered(authority, body)
        assert isinstance(outcome, NextCa)
        assert outcome.certificate == next_ca.certificate
        assert isinstance(
            error_of(self.answered(authority, body[:-1] + bytes([body[-1] ^ 1]))), MessageCheckFailed
        )
