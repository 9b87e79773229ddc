"""What reads messages from outside, each as a function of one changed message.

A target returns normally whatever it was given: what reads must end in a result or a ScepError, and the responder in
an answer. Anything else that is raised is a finding. Targets that seal or sign what was changed are the hostile CA
and the hostile device: past the signature, every byte inside is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from scep import asn1, ber, cms, envelope, keys, messages
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.conversation import Conversation, HttpReply, HttpRequest
from scep.csr import signed_bytes_of
from scep.errors import ScepError
from scep.exchange import Exchange, Issued, Step
from scep.messages import MessageType, PkiStatus
from scep.profile import ServerPolicy
from scep.queries import GetCaCaps, GetCert, GetCrl, GetNextCaCert
from scep.responder import Responder
from scep.transaction import Transaction
from tests.scep.enrolling import CHALLENGE, NOW
from tests.scep.fuzz.corpus import ANY, Corpus
from tests.scep.fuzz.outcomes import came_to

_ITERATIONS = b"\x01\x86\xa0"
_OID_OF_SENT = (asn1.MESSAGE_TYPE, asn1.TRANSACTION_ID, asn1.SENDER_NONCE)


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes a changed message of one of the `kinds` and says what came of it; `weight` is its share."""

    name: str
    kinds: tuple[str, ...]
    run: Callable[[bytes], str]
    weight: int = 1


def targets_of(corpus: Corpus) -> list[Target]:
    """All that need no network."""
    client, device = _Client(corpus), _Device(corpus)
    return [
        Target("GetCACaps", ("capabilities",), client.capabilities),
        Target("GetCACert", ("ca_certificates", "next_ca"), client.ca_certificates, 3),
        Target("GetNextCACert", ("next_ca", "ca_certificates"), client.next_ca),
        Target("next CA, signed", ("ca_certificates", "payload"), client.signed_next_ca),
        Target("CertRep", ("cert_rep",), client.reply, 3),
        Target("CertRep, attributes signed", ("cert_rep",), client.signed_attributes, 3),
        Target("CertRep, envelope signed", ("envelope",), client.signed_envelope, 3),
        Target("CertRep, password envelope signed", ("envelope_for_ec",), client.signed_password_envelope),
        Target("CertRep, payload sealed", ("payload", "ca_certificates"), client.sealed_payload, 3),
        Target("GetCert and GetCRL, payload sealed", ("payload", "crl"), client.sealed_answer, 2),
        Target("request", ("request",), device.request, 3),
        Target("request, signer signed", ("request",), device.signed_signer, 2),
        Target("request, envelope signed", ("envelope_for_ca",), device.signed_envelope, 2),
        Target("request, CSR signed and sealed", ("csr",), device.signed_csr, 3),
        Target("request, query sealed", ("query",), device.sealed_query),
    ]


class _Client:
    """This program, and a server that is what the message makes of it."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._authority = corpus.authority

    def capabilities(self, data: bytes) -> str:
        caps = GetCaCaps(policy=ServerPolicy())
        caps.start()
        caps.receive(HttpReply(200, data))
        exchange = self._exchange(profile=False)
        exchange.start()
        exchange.receive(HttpReply(200, data))
        certificate = self._authority.ca_certificates()
        return came_to(exchange.receive(HttpReply(200, certificate)))

    def ca_certificates(self, data: bytes) -> str:
        """As the profile of an enrollment, with and without a pinned fingerprint, and of a poll."""
        ends = []
        for policy, step in ((ANY, Step.REQUEST), (ANY, Step.POLL), (_pinned(self._corpus), Step.REQUEST)):
            exchange = Exchange(self._corpus.enrolled, step, now=NOW, policy=policy)
            exchange.start()
            exchange.receive(HttpReply(200, b"SCEPStandard\n"))
            ends.append(came_to(exchange.receive(HttpReply(200, data))))
        return ends[0]

    def next_ca(self, data: bytes) -> str:
        conversation = GetNextCaCert(policy=ServerPolicy())
        conversation.start()
        conversation.receive(HttpReply(200, b"GetNextCACert\n"))
        conversation.receive(HttpReply(200, self._authority.ca_certificates()))
        return came_to(conversation.receive(HttpReply(200, data)))

    def signed_next_ca(self, data: bytes) -> str:
        signed = cms.sign(
            data,
            certificate=self._authority.certificate,
            key=self._authority.key,
            attributes=[],
            algorithm=SignatureAlgorithm.SHA256,
        )
        return self.next_ca(signed)

    def reply(self, data: bytes) -> str:
        return self._ends(self._corpus.enrolled, lambda _nonce: data)

    def signed_attributes(self, data: bytes) -> str:
        """The signed attributes of a changed reply, our nonce put right, signed again by the CA."""

        def answer(nonce: bytes) -> bytes:
            content_info = asn1.decode(asn1.ContentInfo, ber.to_der(data))
            signed_data = asn1.decode(asn1.SignedData, asn1.encode(content_info.content))
            (signer,) = asn1.inside(asn1.SignerInfo, asn1.encode(signed_data.signer_infos))
            usual = (asn1.CONTENT_TYPE, asn1.MESSAGE_DIGEST, asn1.RECIPIENT_NONCE)
            attributes = [
                asn1.encode(each) for each in signer.signed_attributes or () if each.type not in usual
            ]
            attributes.append(asn1.attribute(asn1.RECIPIENT_NONCE, nonce))
            return self._sign(signed_data.content.content, attributes)

        return self._ends(self._corpus.enrolled, answer)

    def signed_envelope(self, data: bytes) -> str:
        return self._ends(
            self._corpus.enrolled, lambda nonce: self._success(self._corpus.enrolled, data, nonce)
        )

    def signed_password_envelope(self, data: bytes) -> str:
        # a million iterations are permitted and take a third of a second: too long for here
        if _ITERATIONS not in data:
            return "skipped"
        return self._ends(
            self._corpus.elliptic, lambda nonce: self._success(self._corpus.elliptic, data, nonce)
        )

    def sealed_payload(self, data: bytes) -> str:
        made = self._corpus.enrolled
        return self._ends(made, lambda nonce: self._success(made, _seal(data, made.signer), nonce))

    def sealed_answer(self, data: bytes) -> str:
        made, ends = self._corpus.enrolled, []
        serial_number, profile = self._corpus.issued.certificate.serial_number, self._corpus.profile
        requester = made.requester
        conversations: list[Conversation[Any]] = [
            GetCert(serial_number, requester=requester, policy=ANY, profile=profile),
            GetCrl(requester=requester, policy=ANY, profile=profile),
        ]
        for conversation in conversations:
            request = conversation.start()
            body = self._success(made, _seal(data, made.signer), _nonce_of(cast("HttpRequest", request)))
            ends.append(came_to(conversation.receive(HttpReply(200, body))))
        return " and ".join(ends)

    def _exchange(self, made: Transaction | None = None, *, profile: bool = True) -> Exchange:
        known = self._corpus.profile if profile else None
        return Exchange(made or self._corpus.enrolled, Step.REQUEST, now=NOW, policy=ANY, profile=known)

    def _ends(self, made: Transaction, answer: Callable[[bytes], bytes]) -> str:
        exchange = self._exchange(made)
        request = exchange.start()
        assert isinstance(request, HttpRequest)
        try:
            body = answer(_nonce_of(request))
        except ValueError:
            return "no message can be made of it"
        outcome = exchange.receive(HttpReply(200, body))
        if isinstance(outcome, Issued):
            assert outcome.certificate.public_key() == made.key.public_key()
            outcome.certificate.verify_directly_issued_by(self._authority.certificate)
        return came_to(outcome)

    def _success(self, made: Transaction, content: bytes, nonce: bytes) -> bytes:
        attributes = [
            asn1.attribute(asn1.MESSAGE_TYPE, asn1.printable(str(MessageType.CERT_REP.value))),
            asn1.attribute(asn1.PKI_STATUS, asn1.printable(str(PkiStatus.SUCCESS.value))),
            asn1.attribute(asn1.TRANSACTION_ID, asn1.printable(made.transaction_id)),
            asn1.attribute(asn1.RECIPIENT_NONCE, nonce),
        ]
        return self._sign(content, attributes)

    def _sign(self, content: bytes | None, attributes: list[bytes]) -> bytes:
        return cms.sign(
            content,
            certificate=self._authority.certificate,
            key=self._authority.key,
            attributes=attributes,
            algorithm=SignatureAlgorithm.SHA256,
        )


class _Device:
    """The responder, and a device that is what the message makes of it."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._made = corpus.enrolled
        self._recipient = corpus.authority.certificate

    def request(self, data: bytes) -> str:
        responder = Responder(self._corpus.authority, challenge=CHALLENGE)
        response = responder.handle("POST", {"operation": "PKIOperation"}, data)
        if response.status != 200:
            assert response.status == 400, response.status
            return "HTTP 400"
        signed = cms.parse_signed(response.body)
        signed.verify([self._corpus.authority.certificate])
        (logged,) = responder.messages
        return logged.outcome

    def signed_signer(self, data: bytes) -> str:
        """What a changed message says about its signer and carries as certificates, around a sound envelope."""
        try:
            content_info = asn1.decode(asn1.ContentInfo, ber.to_der(data))
            signed_data = asn1.decode(asn1.SignedData, asn1.encode(content_info.content))
            certificates = cms.certificates_in(data)
            (signer,) = asn1.inside(asn1.SignerInfo, asn1.encode(signed_data.signer_infos))
            if not certificates:
                return "no certificate"
            content = _seal(self._made.csr, self._recipient)
            kept = [asn1.encode(each) for each in signer.signed_attributes or () if each.type in _OID_OF_SENT]
            # by the device's key whatever certificate is named: with its own the signature is right
            body = cms.sign(
                content,
                certificate=certificates[0],
                key=self._made.key,
                attributes=kept,
                algorithm=SignatureAlgorithm.SHA256,
            )
        except (ValueError, ScepError):
            return "no message can be made of it"
        return self.request(body)

    def signed_envelope(self, data: bytes) -> str:
        return self.request(self._message(MessageType.PKCS_REQ, data))

    def signed_csr(self, data: bytes) -> str:
        """The CSR signed again, so that what it says is read."""
        try:
            info = signed_bytes_of(data)
            identifier = keys.signature_identifier(self._made.key, SignatureAlgorithm.SHA256)
        except ValueError:
            info = b""
        if info:
            signature = keys.sign(self._made.key, info, SignatureAlgorithm.SHA256)
            data = ber.wrap(0x30, info + identifier + ber.wrap(0x03, b"\0" + signature))
        return self.request(self._message(MessageType.PKCS_REQ, _seal(data, self._recipient)))

    def sealed_query(self, data: bytes) -> str:
        content = _seal(data, self._recipient)
        types = (MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL)
        return " and ".join(self.request(self._message(message_type, content)) for message_type in types)

    def _message(self, message_type: MessageType, content: bytes) -> bytes:
        return cms.sign(
            content,
            certificate=self._made.signer,
            key=self._made.key,
            attributes=[
                asn1.attribute(asn1.MESSAGE_TYPE, asn1.printable(str(message_type.value))),
                asn1.attribute(asn1.TRANSACTION_ID, asn1.printable(self._made.transaction_id)),
                asn1.attribute(asn1.SENDER_NONCE, os.urandom(messages.NONCE_LENGTH)),
            ],
            algorithm=SignatureAlgorithm.SHA256,
        )


def _seal(content: bytes, recipient: x509.Certificate) -> bytes:
    return envelope.envelop(content, recipient=recipient, cipher=ContentCipher.AES_128)


def _pinned(corpus: Corpus) -> ServerPolicy:
    return ServerPolicy(ca_fingerprint=corpus.authority.certificate.fingerprint(hashes.SHA256()).hex())


def _nonce_of(request: HttpRequest) -> bytes:
    """The senderNonce of the message that goes out."""
    return asn1.decode(bytes, cms.parse_signed(request.body or b"").attributes[asn1.SENDER_NONCE])
