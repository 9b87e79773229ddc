"""The same messages from the CA's side: the demo's CA, and a double for what a real one will not show.

It heeds transaction IDs (RFC 8894 section 3.2.1.1): a request that comes again gets the same certificate, never
a second one. No I/O beyond its store; `scep.server` listens.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, cms, keys, messages, registration
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.behavior import Behavior, CapabilitiesForm, OtherCertificates
from scep.certificates import UNREADABLE, public_key_of
from scep.challenges import Challenges, NoChallenge, SharedChallenge
from scep.csr import challenge_password_of, load_request
from scep.errors import FailInfo, ScepError
from scep.messages import MessageType, PkiStatus, ReplyForm, Request
from scep.registration import Refused
from scep.store import Entry, Logged, MemoryStore, Store
from scep.transaction import RenewalForm

__all__ = ["KEYWORDS", "Behavior", "Responder", "Response"]

KEYWORDS = ("AES", "DES3", "POSTPKIOperation", "SCEPStandard", "SHA-256", "SHA-512")
"""What GetCACaps offers, beside Renewal and GetNextCACert where the behavior has them."""
MESSAGE_TYPE = "application/x-pki-message"
NEXT_CA_TYPE = "application/x-x509-next-ca-cert"

# micromdm's scepclient sends DES whatever the server offers
_CIPHERS = frozenset(ContentCipher)
_PAGE = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Response:
    """What to send back after `delay` seconds; with `drop`, close the connection instead."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    delay: float = 0
    drop: bool = False


class Responder:
    """A CA that answers SCEP. Safe to use from several threads; `behavior` may be replaced at any time.

    `challenge` is the one challenge password or a way to check them; None lets everybody enroll.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        store: Store | None = None,
        challenge: str | Challenges | None = None,
        behavior: Behavior | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.authority = authority
        self.store: Store = store or MemoryStore()
        self.behavior = behavior or Behavior()
        if challenge is None:
            challenge = NoChallenge()
        self._challenges = SharedChallenge(challenge) if isinstance(challenge, str) else challenge
        self._clock = clock
        self._lock = threading.RLock()
        self._seen: Counter[str] = Counter()
        self._with_ra_pair: Authority | None = None
        self._next: Authority | None = None

    @property
    def messages(self) -> list[Logged]:
        """Every pkiMessage since the store was opened, oldest first."""
        return self.store.messages()

    def revoke(self, serial_number: int) -> None:
        """Count a certificate as revoked from now on: CRLs list it, and it is not renewed."""
        with self._lock:
            self.store.revoke(serial_number, self._clock())

    @property
    def next_authority(self) -> Authority:
        """The CA that takes over: of the same name, with a key of its own; made when first asked for."""
        with self._lock:
            if self._next is None:
                name = _common_name(self.authority.certificate.subject)
                days = self.authority.validity_days
                self._next = Authority.create(name, now=self._clock(), validity_days=days)
            return self._next

    def roll_over(self) -> None:
        """Let the next CA take over."""
        with self._lock:
            self.authority, self._next, self._with_ra_pair = self.next_authority, None, None

    def handle(self, method: str, query: Mapping[str, str], body: bytes) -> Response:
        """The answer to one HTTP request; for a GET of PKIOperation `body` is the decoded message."""
        behavior = self.behavior
        response = self._respond(query.get("operation"), body, behavior)
        if behavior.media_type is not None:
            response = replace(response, content_type=behavior.media_type)
        return response

    def _respond(self, operation: str | None, body: bytes, behavior: Behavior) -> Response:
        if behavior.html:
            return Response(body=_PAGE, content_type="text/html", delay=behavior.delay)
        speaker = self._speaker(behavior)
        match operation:
            case "GetCACaps":
                return _capabilities(behavior)
            case "GetCACert":
                return Response(body=speaker.ca_certificates(), content_type=speaker.media_type)
            case "GetNextCACert" if behavior.next_ca:
                announcement = self.authority.announcement_of(self.next_authority)
                return Response(body=announcement, content_type=NEXT_CA_TYPE)
            case "PKIOperation":
                return replace(self._operation(body, speaker, behavior), delay=behavior.delay)
        return Response(400, b"GetCACaps, GetCACert or PKIOperation was expected as operation\n")

    def _speaker(self, behavior: Behavior) -> Authority:
        """The authority with the certificates that it speaks through."""
        if not behavior.ra_pair:
            return self.authority
        with self._lock:
            if self._with_ra_pair is None:
                self._with_ra_pair = self.authority.with_ra_pair(now=self._clock())
            return self._with_ra_pair

    def _operation(self, body: bytes, speaker: Authority, behavior: Behavior) -> Response:
        if behavior.drop:
            return Response(drop=True)
        if behavior.empty:
            return Response(content_type=MESSAGE_TYPE)
        if behavior.http_status is not None:
            return Response(behavior.http_status, b"as told\n")
        certificate, key = speaker.recipient
        with self._lock:
            passwords = self._challenges.outstanding(now=self._clock())
        try:
            request = messages.read_request(
                body, certificate=certificate, key=key, allowed=_CIPHERS, passwords=passwords
            )
            public_key_of(request.signer)
        except ScepError as error:
            return Response(400, f"{error}\n".encode())
        if not asn1.is_printable(request.transaction_id):
            # a reply has to repeat it, and could not (RFC 8894 section 3.2.1.1)
            return Response(400, b"transactionID should be a PrintableString\n")
        with self._lock:
            reply, dropped = self._answer(request, speaker, behavior)
        return Response(drop=True) if dropped else Response(body=reply, content_type=MESSAGE_TYPE)

    def _answer(self, request: Request, speaker: Authority, behavior: Behavior) -> tuple[bytes, bool]:
        """The reply, and whether it gets lost on its way."""
        entry = self.store.find(request.transaction_id)
        try:
            if request.message_type in (MessageType.GET_CERT, MessageType.GET_CRL):
                outcome, payload = self._look_up(request)
                password = next(iter(self._challenges.outstanding(now=self._clock())), "")
                reply = self._reply(request, speaker, behavior, payload=payload, password=password)
            else:
                entry, outcome = self._decide(entry, request, behavior)
                reply = self._reply_about(entry, request, speaker, behavior)
        except Refused as refusal:
            outcome = f"failure {refusal.fail_info:d}"
            reply = self._reply(request, speaker, behavior, refusal=refusal)
        name = _common_name(_asked_for(entry, request))
        key = keys.fingerprint(public_key_of(request.signer))
        self.store.log(
            Logged(self._clock(), request.message_type.label, request.transaction_id, key, name, outcome)
        )
        self._seen[request.transaction_id] += 1
        return reply, self._seen[request.transaction_id] <= behavior.drop_replies

    def _decide(self, entry: Entry | None, request: Request, behavior: Behavior) -> tuple[Entry, str]:
        """What is known of the transaction now, and what that is called in the log. Raises Refused."""
        signer = keys.fingerprint(public_key_of(request.signer))
        if entry is not None and entry.public_key_sha256 != signer:
            raise Refused(FailInfo.BAD_REQUEST, "this transactionID belongs to another key")
        if request.message_type is MessageType.CERT_POLL:
            if entry is None:
                raise Refused(FailInfo.BAD_CERT_ID, "no such transaction")
        elif entry is None:
            entry = Entry(
                transaction_id=request.transaction_id,
                public_key_sha256=signer,
                csr=registration.check(
                    request,
                    authority=self.authority,
                    behavior=behavior,
                    challenges=self._challenges,
                    store=self.store,
                    now=self._clock(),
                ),
                pending_left=behavior.pending,
            )
        if entry.certificate is not None:
            return entry, "again"
        if entry.pending_left > 0:
            entry = replace(entry, pending_left=entry.pending_left - 1)
            self.store.save(entry)
            return entry, "pending"
        if behavior.fail_info is not None:
            raise Refused(FailInfo(behavior.fail_info), "as told")
        renewed = request.signer.issuer == self.authority.certificate.subject
        if renewed and behavior.old_certificate_at_renewal:
            certificate, outcome = request.signer, "old certificate"
        else:
            certificate, outcome = self._issue(entry), "issued"
        entry = replace(entry, certificate=certificate.public_bytes(Encoding.DER))
        self.store.save(entry)
        return entry, outcome

    def _issue(self, entry: Entry) -> x509.Certificate:
        """The certificate that was asked for. Raises Refused where the CSR's wishes make no sense."""
        try:
            return self.authority.issue(load_request(entry.csr), now=self._clock())
        except UNREADABLE as error:
            raise Refused(FailInfo.BAD_REQUEST, f"the CSR cannot be made a certificate: {error}") from error

    def _look_up(self, request: Request) -> tuple[str, bytes]:
        """What a GetCert or GetCRL is called in the log, and what it asked for. Raises Refused."""
        try:
            asked = asn1.decode(asn1.IssuerAndSerial, request.content)
        except ValueError as error:
            raise Refused(FailInfo.BAD_MESSAGE_CHECK, registration.UNREADABLE) from error
        ca = self.authority.certificate
        if asn1.encode(asked.issuer) != asn1.subject_of(ca.public_bytes(Encoding.DER)):
            raise Refused(FailInfo.BAD_CERT_ID, "this CA is not that issuer")
        if request.message_type is MessageType.GET_CRL:
            return "crl", cms.degenerate([], [self.authority.crl(self.store.revoked(), now=self._clock())])
        der = self.store.certificate(asked.serial)
        if der is None:
            raise Refused(FailInfo.BAD_CERT_ID, "no certificate has this serial number")
        return "certificate", cms.degenerate([x509.load_der_x509_certificate(der)])

    def _reply_about(self, entry: Entry, request: Request, speaker: Authority, behavior: Behavior) -> bytes:
        if behavior.reply_for_somebody_else:
            request = replace(request, transaction_id=hashlib.sha256(b"somebody else").hexdigest())
        if entry.certificate is None:
            return self._reply(request, speaker, behavior)
        own, ca = x509.load_der_x509_certificate(entry.certificate), self.authority.certificate
        issued = {
            OtherCertificates.AFTER: [own, ca],
            OtherCertificates.BEFORE: [ca, own],
            OtherCertificates.ABSENT: [own],
        }[behavior.other_certificates]
        password = challenge_password_of(load_request(entry.csr))
        return self._reply(request, speaker, behavior, payload=cms.degenerate(issued), password=password)

    def _reply(
        self,
        request: Request,
        speaker: Authority,
        behavior: Behavior,
        *,
        payload: bytes | None = None,
        password: str = "",
        refusal: Refused | None = None,
    ) -> bytes:
        """A CertRep: SUCCESS with `payload`, FAILURE for `refusal`, else PENDING. Raises Refused."""
        status = PkiStatus.SUCCESS if payload is not None else PkiStatus.PENDING
        if refusal is not None:
            status = PkiStatus.FAILURE
        elif status is PkiStatus.PENDING and behavior.success_without_payload:
            status = PkiStatus.SUCCESS
        if payload is not None and not password and not isinstance(request.signer.public_key(), RSAPublicKey):
            raise Refused(FailInfo.BAD_ALG, "a reply for an EC key needs a password to be encrypted under")
        # the CA's own certificate is at hand, and nobody but the CA can open what is sealed for it
        recipient = self.authority.certificate if behavior.sealed_for_somebody_else else request.signer
        return messages.build_reply(
            request,
            status,
            certificate=speaker.ra_certificate,
            key=speaker.ra_key,
            sender_nonce=os.urandom(messages.NONCE_LENGTH),
            payload=payload,
            password=password,
            envelope_for=recipient,
            fail_info=refusal.fail_info if refusal else None,
            fail_text=refusal.text if refusal else "",
            form=_reply_form(behavior),
        )


def _capabilities(behavior: Behavior) -> Response:
    offered = behavior.keywords
    if offered is None:
        renewal = ("Renewal",) if RenewalForm.RENEWAL_REQ in behavior.renewal_forms else ()
        offered = (*KEYWORDS, *renewal, *(("GetNextCACert",) if behavior.next_ca else ()))
    match behavior.capabilities_form:
        case CapabilitiesForm.HTML:
            return Response(body=_PAGE, content_type="text/html")
        case CapabilitiesForm.NOT_FOUND:
            return Response(404, b"no such operation\n")
        case CapabilitiesForm.CRLF:
            body = "".join(f"{keyword}\r\n" for keyword in offered)
        case CapabilitiesForm.NO_FINAL_NEWLINE:
            body = "\n".join(offered)
        case CapabilitiesForm.LF:
            body = "".join(f"{keyword}\n" for keyword in offered)
    return Response(body=body.encode())


def _reply_form(behavior: Behavior) -> ReplyForm:
    return ReplyForm(
        digest=behavior.reply_digest,
        cipher=behavior.reply_cipher,
        sender_nonce=behavior.sender_nonce,
        no_content=behavior.no_content.octets,
        fail_text_type=asn1.FAIL_INFO_TEXT_SEEN if behavior.fail_text_type_seen else asn1.FAIL_INFO_TEXT,
        hresult=behavior.hresult,
        with_signer=not behavior.without_signer_certificate,
        indefinite=behavior.indefinite,
    )


def _asked_for(entry: Entry | None, request: Request) -> x509.Name:
    """The CSR's subject; the message's signer where there is no CSR that can be read."""
    try:
        return load_request(entry.csr if entry else request.content).subject
    except ValueError:
        return request.signer.subject


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""
