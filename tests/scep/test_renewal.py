"""Renewals: the three forms that servers want, what the old certificate vouches for, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from scep.authority import Authority
from scep.behavior import Behavior
from scep.csr import CertificateParameters, KeyType, SignatureAlgorithm
from scep.errors import FailInfo, RequestRefused, WrongCertificate
from scep.exchange import Issued, Pending, Step
from scep.responder import Responder
from scep.server import serving
from scep.transaction import RenewalForm, Transaction, new_renewal
from tests.scep.enrolling import CHALLENGE, NOW, enrolled, error_of, renewal, run, transaction

MESSAGE = {
    RenewalForm.RENEWAL_REQ: "RenewalReq",
    RenewalForm.PKCS_REQ_SIGNED_BY_OLD: "PKCSReq",
    RenewalForm.PKCS_REQ_WITH_CHALLENGE: "PKCSReq",
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Renewing CA", now=NOW)


@pytest.fixture
def responder(authority: Authority) -> Responder:
    return Responder(authority, challenge=CHALLENGE)


@pytest.fixture
def url(responder: Responder) -> Iterator[str]:
    with serving(responder) as url:
        yield url


@pytest.fixture
def old() -> Transaction:
    return transaction()


@pytest.mark.parametrize("form", RenewalForm)
def test_quirk_20_each_form_of_renewal(
    url: str, responder: Responder, old: Transaction, form: RenewalForm
) -> None:
    old_certificate = enrolled(url, old)
    made, sent = renewal(old_certificate, old, form), list[str]()
    outcome = run(url, made, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == [MESSAGE[form]]
    assert outcome.certificate.subject == old_certificate.subject
    assert outcome.certificate.serial_number != old_certificate.serial_number
    by_old = form is not RenewalForm.PKCS_REQ_WITH_CHALLENGE
    assert (made.signer == old_certificate) is by_old
    assert (CHALLENGE.encode() in made.csr) is not by_old, "the old certificate needs no password beside it"
    assert [message.outcome for message in responder.messages] == ["issued", "issued"]


@pytest.mark.parametrize("taken", RenewalForm)
def test_quirk_20_a_server_takes_the_form_that_it_takes(
    url: str, responder: Responder, old: Transaction, taken: RenewalForm
) -> None:
    old_certificate = enrolled(url, old)
    responder.behavior = Behavior(renewal_forms=frozenset({taken}))
    for form in RenewalForm:
        outcome = run(url, renewal(old_certificate, old, form))
        if form is taken:
            assert isinstance(outcome, Issued)
        else:
            error = error_of(outcome)
            assert isinstance(error, RequestRefused)
            assert error.details == "Communication Error (SCEP ERROR Fail Info 2)"
            assert f"in the form {form}" in str(error), "which setting to look at"
            assert error.server_words


def test_quirk_21_a_new_key_and_not_the_old_certificate(
    url: str, responder: Responder, old: Transaction
) -> None:
    old_certificate = enrolled(url, old)
    made = renewal(old_certificate, old, RenewalForm.RENEWAL_REQ)
    assert made.key.public_key() != old.key.public_key()
    responder.behavior = Behavior(old_certificate_at_renewal=True)
    error = error_of(run(url, made))
    assert isinstance(error, WrongCertificate)
    assert f"returned the old one (serial number {old_certificate.serial_number:x}" in str(error)
    assert "another form of renewal" in str(error)


@pytest.mark.parametrize("form", RenewalForm)
def test_a_renewal_is_restored_and_goes_on(
    url: str, responder: Responder, old: Transaction, form: RenewalForm
) -> None:
    """What a worker that takes over has is what was stored."""
    old_certificate = enrolled(url, old)
    made = renewal(old_certificate, old, form)
    again = Transaction.restore(**made.parts())
    assert again.parts() == made.parts()
    responder.behavior = Behavior(drop_replies=1)
    sent = list[str]()
    error_of(run(url, made, sent=sent))
    outcome = run(url, again, Step.INQUIRE, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == [MESSAGE[form], "CertPoll"]
    assert [message.outcome for message in responder.messages] == ["issued", "issued", "again"]


@pytest.mark.parametrize("form", RenewalForm)
def test_a_renewal_that_never_arrived_is_repeated_after_the_inquiry(
    url: str, old: Transaction, form: RenewalForm
) -> None:
    old_certificate = enrolled(url, old)
    sent = list[str]()
    outcome = run(url, renewal(old_certificate, old, form), Step.INQUIRE, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == ["CertPoll", MESSAGE[form]]


def test_a_renewal_may_be_pending(url: str, responder: Responder, old: Transaction) -> None:
    old_certificate = enrolled(url, old)
    responder.behavior = Behavior(pending=1)
    made = renewal(old_certificate, old, RenewalForm.RENEWAL_REQ)
    assert isinstance(run(url, made), Pending)
    assert isinstance(run(url, made, Step.POLL), Issued)


class TestRefused:
    """What the responder does not renew."""

    def refused(self, url: str, made: Transaction) -> str:
        error = error_of(run(url, made))
        assert error.fail_info is FailInfo.BAD_REQUEST
        return error.server_words

    def test_a_revoked_certificate(self, url: str, responder: Responder, old: Transaction) -> None:
        old_certificate = enrolled(url, old)
        responder.revoke(old_certificate.serial_number)
        made = renewal(old_certificate, old, RenewalForm.RENEWAL_REQ)
        assert self.refused(url, made) == "the certificate to be renewed is revoked"

    def test_another_subject(self, url: str, old: Transaction) -> None:
        made = renewal(enrolled(url, old), old, RenewalForm.RENEWAL_REQ, common_name="other.example.com")
        assert "subject of the old certificate" in self.refused(url, made)

    def test_an_expired_certificate(self, authority: Authority, old: Transaction) -> None:
        later = Responder(authority, clock=lambda: NOW + timedelta(days=400))
        certificate = authority.issue(x509.load_der_x509_csr(old.csr), now=NOW)
        with serving(later) as url:
            made = renewal(certificate, old, RenewalForm.RENEWAL_REQ)
            assert self.refused(url, made) == "the certificate to be renewed is not valid now"

    def test_a_certificate_of_another_ca(self, url: str, old: Transaction) -> None:
        stranger = Authority.create("Renewing CA", now=NOW)
        certificate = stranger.issue(x509.load_der_x509_csr(old.csr), now=NOW)
        made = renewal(certificate, old, RenewalForm.RENEWAL_REQ)
        assert "must be signed with the certificate to be renewed" in self.refused(url, made)
        made = renewal(certificate, old, RenewalForm.PKCS_REQ_SIGNED_BY_OLD)
        assert error_of(run(url, made)).fail_info is FailInfo.BAD_MESSAGE_CHECK


def test_the_old_key_must_be_that_of_the_old_certificate(authority: Authority, old: Transaction) -> None:
    certificate = authority.issue(x509.load_der_x509_csr(old.csr), now=NOW)
    with pytest.raises(ValueError, match="does not belong to"):
        renewal(certificate, replace(old, key=transaction().key), RenewalForm.RENEWAL_REQ)


def test_an_old_ec_key_signs_only_where_a_password_can_open_the_reply() -> None:
    elliptic = Authority.create("Elliptic", now=NOW, key_type=KeyType.P256)
    parameters = CertificateParameters("mfp.example.com", "", 2048, SignatureAlgorithm.SHA256, "")
    with pytest.raises(ValueError, match="cannot decrypt"):
        new_renewal(
            parameters,
            form=RenewalForm.RENEWAL_REQ,
            old_certificate=elliptic.certificate,
            old_key=elliptic.key,
            now=NOW,
        )
