"""Renewal at Debian's scepserver, which this project did not write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography import x509

from scep.errors import RequestRefused
from scep.exchange import Issued, ServerPolicy
from scep.transaction import RenewalForm
from tests.peers.scep_server import Peer, scep_server
from tests.scep.enrolling import CHALLENGE, enrolled, error_of, renewal, run, transaction

POLICY = ServerPolicy(allow_des_replies=True)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with scep_server(tmp_path_factory.mktemp("scepserver"), challenge=CHALLENGE) as running:
        yield running


@pytest.fixture(params=RenewalForm)
def form(request: pytest.FixtureRequest) -> RenewalForm:
    return RenewalForm(request.param)


def test_quirk_20_it_renews_in_each_form_for_the_challenge(peer: Peer, form: RenewalForm) -> None:
    name = f"{form.value.replace('_', '-')}.example.com"
    old = transaction(name)
    old_certificate = enrolled(peer.url, old, policy=POLICY)
    made, sent = renewal(old_certificate, old, form, common_name=name, challenge=CHALLENGE), list[str]()
    outcome = run(peer.url, made, policy=POLICY, sent=sent)
    assert isinstance(outcome, Issued)
    assert sent == ["RenewalReq" if form is RenewalForm.RENEWAL_REQ else "PKCSReq"]
    ca = x509.load_pem_x509_certificate(peer.ca_path.read_bytes())
    outcome.certificate.verify_directly_issued_by(ca)
    assert outcome.certificate.subject == old_certificate.subject
    assert outcome.certificate.public_key() == made.key.public_key() != old_certificate.public_key()
    assert outcome.certificate.serial_number != old_certificate.serial_number


def test_the_old_certificate_alone_is_not_enough_for_it(peer: Peer, form: RenewalForm) -> None:
    name = f"alone-{form.value.replace('_', '-')}.example.com"
    old = transaction(name)
    old_certificate = enrolled(peer.url, old, policy=POLICY)
    made = renewal(old_certificate, old, form, common_name=name, challenge="")
    error = error_of(run(peer.url, made, policy=POLICY))
    assert isinstance(error, RequestRefused)
    assert error.details == "Communication Error (SCEP ERROR Fail Info 2)"
