"""A client that this project did not write enrolls at the responder: strongSwan's `pki --scep`, with 3DES."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from scep.authority import Authority
from scep.behavior import Behavior
from scep.responder import Responder
from scep.server import serving
from tests.peers.strongswan import SUBJECT, StrongSwan
from tests.scep.enrolling import CHALLENGE, NOW


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


def logged(responder: Responder) -> list[tuple[str, str]]:
    return [(message.message_type, message.outcome) for message in responder.messages]


def test_strongswan_enrolls_and_renews(tmp_path: Path, authority: Authority) -> None:
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        client = StrongSwan(tmp_path, url)
        assert client.fetch() == ["ca.der"]
        first = client.enroll("first", challenge=CHALLENGE)
        second = client.enroll("second", old="first")
    assert first.subject.rfc4514_string() == SUBJECT
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mfp.example.com"]
    for certificate in (first, second):
        certificate.verify_directly_issued_by(authority.certificate)
    assert first.serial_number != second.serial_number
    assert logged(responder) == [("PKCSReq", "issued"), ("RenewalReq", "issued")]
    assert {message.common_name for message in responder.messages} == {"strong swan"}


def test_strongswan_polls_until_it_is_issued(tmp_path: Path, authority: Authority) -> None:
    responder = Responder(authority, challenge=CHALLENGE, behavior=Behavior(pending=2))
    with serving(responder) as url:
        client = StrongSwan(tmp_path, url)
        client.fetch()
        client.enroll("mfp", challenge=CHALLENGE)
    assert logged(responder) == [("PKCSReq", "pending"), ("CertPoll", "pending"), ("CertPoll", "issued")]
    assert len({message.transaction_id for message in responder.messages}) == 1


def test_strongswan_speaks_to_a_pair_of_ras(tmp_path: Path, authority: Authority) -> None:
    responder = Responder(authority, challenge=CHALLENGE, behavior=Behavior(ra_pair=True))
    with serving(responder) as url:
        client = StrongSwan(tmp_path, url)
        files = client.fetch()
        assert len(files) == 3
        loaded = {name: x509.load_der_x509_certificate((tmp_path / name).read_bytes()) for name in files}
        by_name = {certificate.subject.rfc4514_string(): name for name, certificate in loaded.items()}
        client.enroll(
            "mfp",
            challenge=CHALLENGE,
            encryption=by_name["CN=Test CA RA encryption"],
            signature=by_name["CN=Test CA RA signing"],
        )
    assert logged(responder) == [("PKCSReq", "issued")]


def test_strongswan_is_refused(tmp_path: Path, authority: Authority) -> None:
    with serving(Responder(authority, challenge=CHALLENGE)) as url:
        client = StrongSwan(tmp_path, url)
        client.fetch()
        with pytest.raises(subprocess.CalledProcessError) as refused:
            client.enroll("mfp", challenge="wrong")
    assert b"badRequest" in refused.value.stderr
