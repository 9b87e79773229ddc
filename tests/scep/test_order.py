"""Nothing is decrypted whose signature was not verified: neither by the client nor by the responder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from scep import cms, envelope, messages, password_recipient
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.csr import CertificateParameters
from scep.errors import MessageCheckFailed
from scep.keys import KeyType, PrivateKey
from scep.messages import MessageType, PkiStatus
from scep.responder import Responder
from scep.transaction import EcTransport, Requester, new_transaction
from tests.scep.enrolling import CHALLENGE, NOW, send, signed_request, transaction

NONCE = b"n" * 16


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority.create("Test CA", now=NOW)


def watched(key: PrivateKey) -> Mock:
    """The key, with a record of what is done with it."""
    return Mock(wraps=key, spec=RSAPrivateKey if isinstance(key, RSAPrivateKey) else EllipticCurvePrivateKey)


def reply_to(
    requester: Requester, speaker: Authority, nonce: bytes = NONCE, transaction_id: str = ""
) -> bytes:
    """A SUCCESS with a sound envelope for the requester, signed by `speaker`."""
    request = messages.Request(
        message_type=MessageType.PKCS_REQ,
        transaction_id=transaction_id or requester.transaction_id,
        sender_nonce=nonce,
        signer=requester.certificate,
        content=b"",
        cipher=ContentCipher.AES_128,
    )
    return messages.build_reply(
        request,
        PkiStatus.SUCCESS,
        certificate=speaker.certificate,
        key=speaker.key,
        sender_nonce=os.urandom(16),
        payload=cms.degenerate([requester.certificate]),
        password=requester.challenge_password,
    )


def read(data: bytes, requester: Requester, authority: Authority) -> messages.Reply:
    return messages.read_reply(
        data,
        requester=requester,
        signers=[authority.certificate],
        sender_nonce=NONCE,
        allowed=frozenset(ContentCipher),
    )


def altered(data: bytes) -> bytes:
    """With another signature: it ends the message."""
    return data[:-1] + bytes([data[-1] ^ 1])


WRONG: dict[str, Callable[[Requester, Authority, Authority], bytes]] = {
    "signature": lambda requester, ours, _theirs: altered(reply_to(requester, ours)),
    "signer": lambda requester, _ours, theirs: reply_to(requester, theirs),
    "nonce": lambda requester, ours, _theirs: reply_to(requester, ours, b"m" * 16),
    "transaction": lambda requester, ours, _theirs: reply_to(requester, ours, transaction_id="another"),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_reply_with_a_wrong_one_is_not_decrypted(
    authority: Authority, stranger: Authority, make: Callable[[Requester, Authority, Authority], bytes]
) -> None:
    plain = transaction().requester
    key = watched(plain.key)
    requester = replace(plain, key=key)
    with pytest.raises(MessageCheckFailed):
        read(make(plain, authority, stranger), requester, authority)
    key.decrypt.assert_not_called()
    assert read(reply_to(plain, authority), requester, authority).certificates == (plain.certificate,)
    key.decrypt.assert_called_once()


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_reply_with_a_wrong_one_costs_no_key_derivation(
    authority: Authority,
    stranger: Authority,
    make: Callable[[Requester, Authority, Authority], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = CertificateParameters(
        "mfp.example.com", "", 2048, SignatureAlgorithm.SHA256, CHALLENGE, KeyType.P256
    )
    made = new_transaction(parameters, now=NOW, ec_transport=EcTransport.PASSWORD)
    unwrap = Mock(wraps=password_recipient.unwrap)
    monkeypatch.setattr(password_recipient, "unwrap", unwrap)
    with pytest.raises(MessageCheckFailed):
        read(make(made.requester, authority, stranger), made.requester, authority)
    unwrap.assert_not_called()
    read(reply_to(made.requester, authority), made.requester, authority)
    unwrap.assert_called_once()


def test_the_responder_decrypts_nothing_that_is_not_signed(authority: Authority) -> None:
    key = watched(authority.key)
    responder = Responder(replace(authority, ra_key=key))
    made = transaction()
    content = envelope.envelop(made.csr, recipient=authority.certificate, cipher=ContentCipher.AES_128)
    message = signed_request(content, made.requester, NONCE)
    response = responder.handle("POST", {"operation": "PKIOperation"}, altered(message))
    assert (response.status, b"signature" in response.body) == (400, True)
    key.decrypt.assert_not_called()
    assert send(responder, made).status == 200
    key.decrypt.assert_called_once()
