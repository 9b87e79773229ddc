"""The operations that ask a server for something that it already has, without I/O: all but enrollment.

Each is a `Conversation`; `scep.client` carries it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, cms, messages, trust
from scep.capabilities import Capabilities
from scep.conversation import Conversation, HttpReply, HttpRequest, body_of
from scep.errors import NotOffered, NotScep, WrongCertificate
from scep.messages import MessageType, PkiStatus, Reply
from scep.profile import ServerPolicy, ServerProfile
from scep.transaction import Requester

__all__ = [
    "FoundCertificate",
    "FoundCrl",
    "GetCaCaps",
    "GetCaCert",
    "GetCert",
    "GetCrl",
    "GetNextCaCert",
    "NextCa",
]


@dataclass(frozen=True, slots=True)
class NextCa:
    """The CA that takes over: `certificate` is its own, `ca_certificates` are all in the server's order."""

    certificate: x509.Certificate
    ca_certificates: tuple[x509.Certificate, ...]
    profile: ServerProfile


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """The certificate that was asked for, checked, and the others that came along."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    profile: ServerProfile


@dataclass(frozen=True, slots=True)
class FoundCrl:
    """The CA's CRL, its signature checked; whether it is fresh is for the caller (`next_update_utc`)."""

    crl: x509.CertificateRevocationList
    profile: ServerProfile


class GetCaCaps(Conversation[Capabilities]):
    """GetCACaps alone (RFC 8894 section 3.5). An error or a page means the legacy defaults, no keyword (quirk 4)."""

    def __init__(self, *, policy: ServerPolicy) -> None:
        super().__init__(policy=policy)

    def _received_capabilities(self, reply: HttpReply) -> Capabilities:
        return Capabilities.read(reply.body) if reply.status == 200 else Capabilities()

    def _operation(self, profile: ServerProfile) -> Capabilities:
        return profile.capabilities


class GetCaCert(Conversation[ServerProfile]):
    """GetCACaps and GetCACert (RFC 8894 section 4.2), with the policy's fingerprint checked (quirk 28)."""

    def __init__(self, *, policy: ServerPolicy) -> None:
        super().__init__(policy=policy)

    def _operation(self, profile: ServerProfile) -> ServerProfile:
        return profile


class GetNextCaCert(Conversation[NextCa]):
    """GetNextCACert (RFC 8894 section 4.7): the next CA's certificates, signed by the CA of today.

    NotOffered where the capabilities lack it; MessageCheckFailed where another than the CA signed.
    """

    def _operation(self, profile: ServerProfile) -> HttpRequest:
        if not profile.capabilities.next_ca:
            raise NotOffered(
                "GetNextCACert was to be asked; the SCEP server does not offer it in GetCACaps. Fetch the next CA's "
                "certificate in another way, or configure the server."
            )
        return self._get("GetNextCACert", self._received)

    def _received(self, reply: HttpReply) -> NextCa:
        profile = self._known()
        signed = cms.parse_signed(body_of(reply))
        # not an RA: the section wants the CA's own signature on its successor
        signed.verify([trust.issuing_ca(profile.ca_certificates)])
        certificates = cms.certificates_in(signed.content)
        if not certificates:
            raise NotScep("GetNextCACert should return the next CA's certificates; its answer holds none.")
        return NextCa(trust.issuing_ca(certificates), certificates, profile)


class GetCert(Conversation[FoundCertificate]):
    """GetCert (RFC 8894 section 4.5): the certificate with `serial_number` of `issuer`.

    `issuer` is the DER of a name; None is the issuing CA. `requester` signs, for instance `new_requester(...)`.
    """

    def __init__(
        self,
        serial_number: int,
        *,
        requester: Requester,
        policy: ServerPolicy,
        profile: ServerProfile | None = None,
        issuer: bytes | None = None,
    ) -> None:
        super().__init__(policy=policy, profile=profile)
        self._serial_number = serial_number
        self._requester = requester
        self._issuer = issuer

    def _operation(self, profile: ServerProfile) -> HttpRequest:
        issuer = self._issuer or _subject(trust.issuing_ca(profile.ca_certificates))
        content = messages.issuer_and_serial(issuer, self._serial_number)
        return self._message(MessageType.GET_CERT, content, self._requester, self._received)

    def _received(self, reply: HttpReply) -> FoundCertificate:
        profile = self._known()
        certificates = _completed(self._read_reply(reply, self._requester)).certificates
        found = [each for each in certificates if each.serial_number == self._serial_number]
        if not found:
            raise WrongCertificate(
                f"The certificate with the serial number {self._serial_number:x} was expected; the reply holds "
                f"{', '.join(f'{each.serial_number:x}' for each in certificates) or 'none'}."
            )
        trust.check_issued(found[0], profile.ca_certificates, certificates)
        return FoundCertificate(found[0], tuple(each for each in certificates if each != found[0]), profile)


class GetCrl(Conversation[FoundCrl]):
    """GetCRL (RFC 8894 section 4.6): the CRL that would list the certificate with `serial_number` of `issuer`.

    `issuer` is the DER of a name. Without both it is asked for as the CRL of the issuing CA's own certificate, which
    most servers answer alike.
    """

    def __init__(
        self,
        *,
        requester: Requester,
        policy: ServerPolicy,
        profile: ServerProfile | None = None,
        serial_number: int | None = None,
        issuer: bytes | None = None,
    ) -> None:
        super().__init__(policy=policy, profile=profile)
        self._serial_number = serial_number
        self._requester = requester
        self._issuer = issuer

    def _operation(self, profile: ServerProfile) -> HttpRequest:
        ca = trust.issuing_ca(profile.ca_certificates)
        serial_number = ca.serial_number if self._serial_number is None else self._serial_number
        content = messages.issuer_and_serial(self._issuer or _subject(ca), serial_number)
        return self._message(MessageType.GET_CRL, content, self._requester, self._received)

    def _received(self, reply: HttpReply) -> FoundCrl:
        profile = self._known()
        crls = _completed(self._read_reply(reply, self._requester)).crls
        return FoundCrl(trust.own_crl(crls, profile.ca_certificates), profile)


def _subject(certificate: x509.Certificate) -> bytes:
    return asn1.subject_of(certificate.public_bytes(Encoding.DER))


def _completed(reply: Reply) -> Reply:
    """Raise NotScep for PENDING, which these operations do not know (RFC 8894 section 4.5.1)."""
    if reply.status is not PkiStatus.SUCCESS:
        raise NotScep(
            "A certificate or CRL was expected; the SCEP server answered PENDING, or SUCCESS without any. "
            "Look into its log."
        )
    return reply
