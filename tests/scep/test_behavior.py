"""Each switch of the responder, as our client meets it: the field's servers, one difference at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from scep import asn1, ber, cms
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.behavior import Behavior, CapabilitiesForm, NoContent, OtherCertificates, SenderNonce
from scep.capabilities import Capabilities
from scep.errors import RequestRefused, UnsupportedAlgorithm
from scep.exchange import Issued, Outcome, Pending, ServerPolicy, Step
from scep.responder import Responder
from scep.server import serving
from scep.transaction import Transaction
from tests.scep.enrolling import NOW, error_of, run, send, transaction

OLD = ServerPolicy(allow_sha1=True, allow_3des=True, allow_des_replies=True)


@pytest.fixture(scope="module")
def responder() -> Responder:
    return Responder(Authority.create("Odd CA", now=NOW))


@pytest.fixture(scope="module")
def url(responder: Responder) -> Iterator[str]:
    with serving(responder) as url:
        yield url


@pytest.fixture(scope="module")
def made() -> Transaction:
    return transaction()


def reply_to(responder: Responder, behavior: Behavior, made: Transaction) -> bytes:
    responder.behavior = behavior
    return send(responder, made).body


def outcome(
    url: str, responder: Responder, behavior: Behavior, policy: ServerPolicy | None = None
) -> Outcome:
    responder.behavior = behavior
    return run(url, transaction(), policy=policy)


def issued(url: str, responder: Responder, behavior: Behavior, policy: ServerPolicy | None = None) -> Issued:
    result = outcome(url, responder, behavior, policy)
    assert isinstance(result, Issued), result
    return result


def test_quirk_01_a_pair_of_ras(url: str, responder: Responder) -> None:
    found = issued(url, responder, Behavior(ra_pair=True))
    assert found.profile is not None
    names = [each.subject.rfc4514_string() for each in found.profile.ca_certificates]
    assert names == ["CN=Odd CA RA signing", "CN=Odd CA RA encryption", "CN=Odd CA"]
    found.certificate.verify_directly_issued_by(responder.authority.certificate)


def test_quirk_03_every_content_type_is_wrong(url: str, responder: Responder) -> None:
    for media_type in ("null", "text/html", "application/x-x509-ra-ca-certs", "text/plain; charset=UTF-8"):
        issued(url, responder, Behavior(media_type=media_type))


@pytest.mark.parametrize(
    "form", [CapabilitiesForm.LF, CapabilitiesForm.CRLF, CapabilitiesForm.NO_FINAL_NEWLINE]
)
def test_quirk_04_capabilities_in_each_form(url: str, responder: Responder, form: CapabilitiesForm) -> None:
    found = issued(url, responder, Behavior(capabilities_form=form))
    assert found.profile is not None
    assert found.profile.capabilities.post
    responder.behavior = Behavior(capabilities_form=form)
    body = responder.handle("GET", {"operation": "GetCACaps"}, b"").body
    assert (b"\r\n" in body, body.endswith(b"\n")) == (
        form is CapabilitiesForm.CRLF,
        form is not CapabilitiesForm.NO_FINAL_NEWLINE,
    )


@pytest.mark.parametrize("form", [CapabilitiesForm.HTML, CapabilitiesForm.NOT_FOUND])
def test_quirk_04_no_capabilities_are_the_legacy_defaults(
    url: str, responder: Responder, form: CapabilitiesForm
) -> None:
    behavior = Behavior(capabilities_form=form)
    assert isinstance(error_of(outcome(url, responder, behavior)), UnsupportedAlgorithm)
    found = issued(url, responder, behavior, OLD)
    assert found.profile is not None
    assert found.profile.capabilities == Capabilities()


def test_quirk_05_ndes(url: str, responder: Responder) -> None:
    """What NDES says, in all that is known of it."""
    ndes = Behavior(
        ra_pair=True,
        keywords=("POSTPKIOperation", "Renewal", "SHA-512", "SHA-256", "SHA-1", "DES3"),
        capabilities_form=CapabilitiesForm.CRLF,
        reply_digest=SignatureAlgorithm.SHA1,
        no_content=NoContent.NUL,
        hresult=-2147024809,
    )
    assert isinstance(error_of(outcome(url, responder, ndes)), UnsupportedAlgorithm)
    issued(url, responder, ndes, ServerPolicy(allow_3des=True))


def test_quirk_06_replies_signed_with_sha1(url: str, responder: Responder, made: Transaction) -> None:
    behavior = Behavior(reply_digest=SignatureAlgorithm.SHA1)
    assert asn1.encode(SignatureAlgorithm.SHA1.digest_oid) in reply_to(responder, behavior, made)
    issued(url, responder, behavior)


def test_quirk_07_des_replies(url: str, responder: Responder) -> None:
    behavior = Behavior(reply_cipher=ContentCipher.DES)
    error = error_of(outcome(url, responder, behavior))
    assert isinstance(error, UnsupportedAlgorithm)
    assert "allow DES replies" in str(error)
    issued(url, responder, behavior, ServerPolicy(allow_des_replies=True))


def test_quirk_11_ber_replies(url: str, responder: Responder, made: Transaction) -> None:
    behavior = Behavior(indefinite=True)
    reply = reply_to(responder, behavior, made)
    assert reply[:2] == b"\x30\x80"
    assert reply != ber.to_der(reply)
    issued(url, responder, behavior)
    assert isinstance(outcome(url, responder, Behavior(indefinite=True, pending=1)), Pending)
    read = subprocess.run(
        ["openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER"], input=reply, capture_output=True
    )
    assert (read.returncode, b"pkcs7-signedData" in read.stdout) == (0, True), "it is BER to others too"


@pytest.mark.parametrize("no_content", NoContent)
def test_quirk_12_content_where_there_is_nothing_to_say(
    url: str, responder: Responder, no_content: NoContent
) -> None:
    pending = Behavior(no_content=no_content, pending=1)
    assert isinstance(outcome(url, responder, pending), Pending)
    refused = Behavior(no_content=no_content, fail_info=4)
    assert isinstance(error_of(outcome(url, responder, refused)), RequestRefused)


@pytest.mark.parametrize("seen", [False, True])
def test_quirk_13_the_servers_own_words(
    url: str, responder: Responder, made: Transaction, seen: bool
) -> None:
    behavior = Behavior(fail_info=2, fail_text_type_seen=seen, hresult=-2147024809)
    error = error_of(outcome(url, responder, behavior))
    assert isinstance(error, RequestRefused)
    assert (error.server_words, error.hresult) == ("as told", "0x80070057")
    assert "0x80070057" in str(error)


@pytest.mark.parametrize("no_content", NoContent)
def test_quirk_14_success_without_a_payload(url: str, responder: Responder, no_content: NoContent) -> None:
    responder.behavior = Behavior(success_without_payload=True, no_content=no_content, pending=1)
    made = transaction()
    assert isinstance(run(url, made), Pending)
    assert isinstance(run(url, made, Step.POLL), Issued)


@pytest.mark.parametrize("nonce", SenderNonce)
def test_quirk_15_the_servers_own_nonce(
    url: str, responder: Responder, made: Transaction, nonce: SenderNonce
) -> None:
    behavior = Behavior(sender_nonce=nonce)
    issued(url, responder, behavior)
    responder.behavior = behavior
    signed = cms.parse_signed(send(responder, made, sender_nonce=b"n" * 16).body)
    theirs = signed.attributes.get(asn1.SENDER_NONCE)
    assert (theirs is None) is (nonce is SenderNonce.MISSING)
    assert (theirs == asn1.encode(b"n" * 16)) is (nonce is SenderNonce.ECHOED)


@pytest.mark.parametrize("where", OtherCertificates)
def test_quirk_27_other_certificates(url: str, responder: Responder, where: OtherCertificates) -> None:
    found = issued(url, responder, Behavior(other_certificates=where))
    expected = () if where is OtherCertificates.ABSENT else (responder.authority.certificate,)
    assert found.chain == expected


def test_quirk_27_a_reply_without_the_certificate_that_signed_it(
    url: str, responder: Responder, made: Transaction
) -> None:
    behavior = Behavior(without_signer_certificate=True)
    assert cms.parse_signed(reply_to(responder, behavior, made)).certificates == ()
    issued(url, responder, behavior)


def test_keywords_are_offered_as_told(responder: Responder) -> None:
    responder.behavior = Behavior(keywords=("SHA-512",))
    assert responder.handle("GET", {"operation": "GetCACaps"}, b"").body == b"SHA-512\n"


def test_by_default_replies_are_der(responder: Responder, made: Transaction) -> None:
    reply = reply_to(responder, Behavior(), made)
    assert reply == ber.to_der(reply)
