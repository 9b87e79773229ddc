"""What the responder refuses, and how little it tells about what it could not open."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from scep import envelope, messages
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.errors import FailInfo, RequestRefused
from scep.messages import MessageType, PkiStatus
from scep.registration import UNREADABLE
from scep.responder import Behavior, Responder
from scep.transaction import Transaction
from tests.scep.enrolling import (
    CHALLENGE,
    NOW,
    ask,
    certificate_of,
    refusal,
    renamed,
    signed_request,
    signed_with_text_id,
    transaction,
    with_encrypted_key,
    wrongly_padded,
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


@pytest.fixture(scope="module")
def ra_authority() -> Authority:
    return Authority.create("RA Test CA", now=NOW, with_ra=True)


def outcomes(responder: Responder) -> list[str]:
    return [message.outcome for message in responder.messages]


@pytest.mark.parametrize("challenge", ["wrong", "", CHALLENGE.upper(), CHALLENGE + " "])
def test_a_wrong_challenge_is_a_bad_request(authority: Authority, challenge: str) -> None:
    responder = Responder(authority, challenge=CHALLENGE)
    assert refusal(responder, transaction(challenge=challenge)) == (
        FailInfo.BAD_REQUEST,
        "the challenge password is wrong",
    )
    assert outcomes(responder) == ["failure 2"]


def test_a_refused_transaction_may_try_again(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority, behavior=Behavior(fail_info=2))
    refusal(responder, made)
    responder.behavior = Behavior()
    assert ask(responder, made).status is PkiStatus.SUCCESS
    assert outcomes(responder) == ["failure 2", "issued"]


def test_a_transaction_id_belongs_to_its_key(authority: Authority) -> None:
    mine, responder = transaction(), Responder(authority)
    theirs = renamed(transaction(), mine.transaction_id)
    ask(responder, mine)
    for message_type in (MessageType.PKCS_REQ, MessageType.CERT_POLL):
        assert refusal(responder, theirs, message_type) == (
            FailInfo.BAD_REQUEST,
            "this transactionID belongs to another key",
        )
    assert outcomes(responder) == ["issued", "failure 2", "failure 2"]


def test_a_poll_for_an_unknown_transaction_is_a_bad_cert_id(authority: Authority) -> None:
    responder = Responder(authority)
    made = transaction("10.1.2.3")
    assert refusal(responder, made, MessageType.CERT_POLL)[0] == FailInfo.BAD_CERT_ID
    (logged,) = responder.messages
    assert (logged.message_type, logged.common_name, logged.transaction_id) == (
        "CertPoll",
        "10.1.2.3",
        made.transaction_id,
    )


def test_a_renewal_needs_the_old_certificate(authority: Authority) -> None:
    fail_info, text = refusal(Responder(authority), transaction(), MessageType.RENEWAL_REQ)
    assert fail_info == FailInfo.BAD_REQUEST
    assert "signed with the certificate to be renewed" in text


def test_a_csr_for_another_key_than_the_signers(authority: Authority) -> None:
    fail_info, text = refusal(Responder(authority), transaction(), content=transaction().csr)
    assert fail_info == FailInfo.BAD_MESSAGE_CHECK
    assert "not signed with the key in the CSR" in text


def altered(made: Transaction) -> bytes:
    return made.csr[:-1] + bytes([made.csr[-1] ^ 1])


@pytest.mark.parametrize("change", [altered, lambda _made: b"no CSR", lambda _made: b""])
def test_a_csr_that_is_none(authority: Authority, change: object) -> None:
    assert callable(change)
    made, responder = transaction(), Responder(authority)
    fail_info, text = refusal(responder, made, content=change(made))
    assert fail_info == FailInfo.BAD_MESSAGE_CHECK
    assert text == UNREADABLE
    assert outcomes(responder) == ["failure 1"]


def test_a_csr_with_a_key_that_scep_cannot_use(authority: Authority) -> None:
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edwards")]))
        .sign(ed25519.Ed25519PrivateKey.generate(), None)
    )
    refused = refusal(Responder(authority), transaction(), content=csr.public_bytes(Encoding.DER))
    assert refused == (FailInfo.BAD_MESSAGE_CHECK, UNREADABLE)


def test_a_csr_with_a_malformed_subject_alt_name(authority: Authority) -> None:
    made, responder = transaction(), Responder(authority)
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
        .add_extension(
            x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05\x82\x08abc"), False
        )
        .sign(made.key, hashes.SHA256())
    )
    fail_info, text = refusal(responder, made, content=csr.public_bytes(Encoding.DER))
    assert fail_info == FailInfo.BAD_REQUEST
    assert text.startswith("the CSR cannot be made a certificate")
    (logged,) = responder.messages
    assert (logged.common_name, logged.outcome) == ("odd", "failure 2")


def test_a_csr_without_wishes_is_enough(authority: Authority) -> None:
    made = transaction()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")]))
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode())
        .sign(made.key, hashes.SHA256())
    )
    reply = ask(Responder(authority, challenge=CHALLENGE), made, content=csr.public_bytes(Encoding.DER))
    certificate = certificate_of(reply, made)
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize("body", [b"", b"\x00" * 40, b"<html>", b"\x30\x80", b"\x30" * 4000])
def test_no_message_is_an_http_error(authority: Authority, body: bytes) -> None:
    responder = Responder(authority)
    assert responder.handle("POST", {"operation": "PKIOperation"}, body).status == 400
    assert responder.messages == []


def test_a_message_that_cannot_be_opened_reads_like_a_csr_that_is_none(
    authority: Authority, ra_authority: Authority
) -> None:
    """Whoever sends altered envelopes of others learns nothing about what is inside (RFC 3218)."""
    made, responder = transaction(), Responder(authority)
    requester, nonce = made.requester, b"n" * 16
    for_another = envelope.envelop(
        made.csr, recipient=ra_authority.ra_certificate, cipher=ContentCipher.AES_128
    )
    for_us = envelope.envelop(made.csr, recipient=authority.certificate, cipher=ContentCipher.AES_128)
    wrong_padding = for_us[:-1] + bytes([for_us[-1] ^ 1])
    wrong_content = envelope.envelop(b"noise", recipient=authority.certificate, cipher=ContentCipher.AES_128)
    told = set()
    wrong_rsa_padding = with_encrypted_key(for_us, wrongly_padded(authority.certificate))
    for content in (for_another, wrong_padding, wrong_content, wrong_rsa_padding):
        body = signed_request(content, requester, nonce)
        response = responder.handle("POST", {"operation": "PKIOperation"}, body)
        with pytest.raises(RequestRefused) as refused:
            messages.read_reply(
                response.body,
                requester=requester,
                signers=[authority.certificate],
                sender_nonce=nonce,
                allowed=frozenset(ContentCipher),
            )
        told.add((response.status, len(response.body), refused.value.fail_info, refused.value.server_words))
    assert told == {(200, len(response.body), FailInfo.BAD_MESSAGE_CHECK, UNREADABLE)}


def test_a_transaction_id_that_no_reply_can_repeat(authority: Authority) -> None:
    responder = Responder(authority)
    body = signed_with_text_id(transaction(), "prüfung", responder)
    response = responder.handle("POST", {"operation": "PKIOperation"}, body)
    assert (response.status, b"PrintableString" in response.body) == (400, True)
    body = signed_with_text_id(transaction(), "plain enough", responder)
    assert responder.handle("POST", {"operation": "PKIOperation"}, body).status == 200
