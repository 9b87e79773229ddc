"""Real messages to start from, captured while real counterparts talk: nothing binary lies in the repository.

Our responder in its different moods, micromdm's `scepserver` and `scepclient`, and strongSwan's `pki --scep`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, cms, envelope
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.behavior import Behavior, CapabilitiesForm, NoContent
from scep.client import ScepClient
from scep.conversation import Conversation, HttpReply
from scep.csr import CertificateParameters
from scep.exchange import Exchange, Issued, Step
from scep.keys import KeyType
from scep.messages import MessageType
from scep.profile import ServerPolicy, ServerProfile
from scep.queries import GetCert, GetCrl, GetNextCaCert
from scep.responder import Responder, Response
from scep.server import serving
from scep.transaction import EcTransport, RenewalForm, Transaction, new_transaction
from tests.peers.scep_server import scep_server
from tests.peers.strongswan import StrongSwan
from tests.scep.enrolling import CHALLENGE, NOW, PATIENCE, renewal, transaction

ANY = ServerPolicy(allow_sha1=True, allow_3des=True, allow_des_replies=True)
_MOODS = (
    Behavior(),
    Behavior(indefinite=True),
    Behavior(ra_pair=True, reply_cipher=ContentCipher.TRIPLE_DES, capabilities_form=CapabilitiesForm.CRLF),
    Behavior(reply_digest=SignatureAlgorithm.SHA1, reply_cipher=ContentCipher.DES, no_content=NoContent.NUL),
    Behavior(pending=9, capabilities_form=CapabilitiesForm.HTML, keywords=("SHA-1", "DES3")),
    Behavior(fail_info=2, hresult=-2146877420, fail_text_type_seen=True),
)


@dataclass(slots=True)
class Corpus:
    """Messages by kind, and who they are of: `enrolled` and `elliptic` enroll at `authority`."""

    authority: Authority
    enrolled: Transaction
    elliptic: Transaction
    issued: Issued
    kinds: dict[str, list[bytes]]

    @property
    def profile(self) -> ServerProfile:
        """Of the authority."""
        return cast("ServerProfile", self.issued.profile)

    def __str__(self) -> str:
        sizes = [f"{len(found)} {kind}" for kind, found in sorted(self.kinds.items())]
        return f"{sum(map(len, self.kinds.values()))} messages: {', '.join(sizes)}"


class _Overheard:
    """A conversation whose replies are kept."""

    def __init__(self, conversation: Conversation[Any], kinds: dict[str, list[bytes]]) -> None:
        self._conversation = conversation
        self._kinds = kinds
        self._asked = ""
        self.lost = conversation.lost

    def start(self) -> object:
        return self._note(self._conversation.start())

    def receive(self, reply: HttpReply) -> object:
        self._kinds[self._asked].append(reply.body)
        return self._note(self._conversation.receive(reply))

    def _note(self, step: object) -> object:
        self._asked = _KINDS.get(getattr(step, "operation", ""), "")
        return step


_KINDS = {
    "GetCACaps": "capabilities",
    "GetCACert": "ca_certificates",
    "GetNextCACert": "next_ca",
    "PKIOperation": "cert_rep",
}


class _Listening(Responder):
    """A responder that keeps the messages that came."""

    def __init__(self, kinds: dict[str, list[bytes]], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kinds = kinds

    def handle(self, method: str, query: Mapping[str, str], body: bytes) -> Response:
        if query.get("operation") == "PKIOperation":
            self._kinds["request"].append(body)
        return super().handle(method, query, body)


def collect() -> Corpus:
    """Let everybody talk, for about four seconds. Raises RuntimeError, naming what to install."""
    kinds: dict[str, list[bytes]] = defaultdict(list)
    authority = Authority.create("Fuzzed CA", now=NOW)
    enrolled = transaction()
    parameters = CertificateParameters(
        "ec.example.com", "Example", 2048, SignatureAlgorithm.SHA384, CHALLENGE, KeyType.P256
    )
    elliptic = new_transaction(parameters, now=NOW, ec_transport=EcTransport.PASSWORD)

    def carry(url: str, conversation: Conversation[Any]) -> object:
        overheard = cast("Conversation[Any]", _Overheard(conversation, kinds))
        return ScepClient(url, timeout=PATIENCE).run(overheard)

    for behavior in _MOODS:
        responder = _Listening(kinds, authority, challenge=CHALLENGE, behavior=behavior)
        with serving(responder) as url:
            for made, step in ((enrolled, Step.REQUEST), (elliptic, Step.REQUEST), (enrolled, Step.POLL)):
                carry(url, Exchange(made, step, now=NOW, policy=ANY))
    responder = _Listening(kinds, authority, challenge=CHALLENGE, behavior=Behavior(next_ca=True))
    with serving(responder) as url:
        issued = carry(url, Exchange(enrolled, Step.REQUEST, now=NOW, policy=ANY))
        if not isinstance(issued, Issued):
            raise AssertionError(issued)
        responder.revoke(issued.certificate.serial_number)
        requester = enrolled.requester
        carry(url, GetCert(issued.certificate.serial_number, requester=requester, policy=ANY))
        carry(url, GetCrl(requester=requester, policy=ANY))
        carry(url, GetNextCaCert(policy=ANY))
        for form in (RenewalForm.RENEWAL_REQ, RenewalForm.PKCS_REQ_SIGNED_BY_OLD):
            renewed = renewal(issued.certificate, enrolled, form)
            carry(url, Exchange(renewed, Step.REQUEST, now=NOW, policy=ANY))
            kinds["csr"].append(renewed.csr)
        kinds["crl"].append(authority.crl(responder.store.revoked(), now=NOW).public_bytes(Encoding.DER))
    with _directory() as directory:
        _others(directory, authority, kinds, carry, enrolled)
    corpus = Corpus(authority, enrolled, elliptic, issued, dict(kinds))
    _open(corpus, kinds)
    corpus.kinds = {kind: list(dict.fromkeys(found)) for kind, found in kinds.items() if kind}
    return corpus


def _others(
    directory: Path, authority: Authority, kinds: dict[str, list[bytes]], carry: Any, made: Transaction
) -> None:
    """Clients and a server that this project did not write."""
    responder = _Listening(kinds, authority, challenge=CHALLENGE)
    with serving(responder) as url:
        client = StrongSwan(directory, url)
        client.fetch()
        client.enroll("first", challenge=CHALLENGE)
        client.enroll("second", old="first")
        program = shutil.which("scepclient")
        if program is None:
            raise RuntimeError(
                "the fuzzer needs scepclient: apt-get install scep (or scripts/install-debian-packages)"
            )
        command = [program, "-server-url", url, "-challenge", CHALLENGE, "-cn", "real client"]
        command += ["-private-key", "scepclient.key", "-certificate", "scepclient.pem"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=60)
    with scep_server(directory, challenge=CHALLENGE) as peer:
        carry(peer.url, Exchange(made, Step.REQUEST, now=NOW, policy=ANY))


def _open(corpus: Corpus, kinds: dict[str, list[bytes]]) -> None:
    """What is inside of what was captured, where the keys at hand open it: the wrong one makes noise of it."""
    everything = frozenset(ContentCipher)
    for reply in kinds["cert_rep"]:
        content = cms.parse_signed(reply).content
        for made in (corpus.enrolled, corpus.elliptic):
            with contextlib.suppress(Exception):
                payload, _cipher = envelope.open_envelope(
                    content, certificate=made.signer, key=made.key, allowed=everything, passwords=(CHALLENGE,)
                )
                if envelope.is_noise(payload):
                    continue
                kinds["envelope" if made is corpus.enrolled else "envelope_for_ec"].append(content)
                kinds["payload"].append(payload)
    for request in kinds["request"]:
        signed = cms.parse_signed(request)
        certificate, key = corpus.authority.recipient
        with contextlib.suppress(Exception):
            content, _cipher = envelope.open_envelope(
                signed.content, certificate=certificate, key=key, allowed=everything
            )
            if envelope.is_noise(content):
                continue
            kinds["envelope_for_ca"].append(signed.content)
            is_csr = asn1.text(signed.attributes[asn1.MESSAGE_TYPE]) in (
                str(MessageType.PKCS_REQ.value),
                str(MessageType.RENEWAL_REQ.value),
            )
            kinds["csr" if is_csr else "query"].append(content)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleetseal-fuzz-") as name:
        os.chmod(name, 0o700)
        yield Path(name)
