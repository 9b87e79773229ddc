"""How the responder (mis)behaves: what the field's servers do, one switch each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.messages import SenderNonce
from scep.transaction import RenewalForm

__all__ = [
    "Behavior",
    "CapabilitiesForm",
    "NoContent",
    "OtherCertificates",
    "RenewalForm",
    "SenderNonce",
]


class CapabilitiesForm(StrEnum):
    """How GetCACaps is answered (quirk 4)."""

    LF = "lf"
    CRLF = "crlf"
    NO_FINAL_NEWLINE = "no_final_newline"
    HTML = "html"
    NOT_FOUND = "not_found"
    """HTTP 404."""


class NoContent(StrEnum):
    """The content of a CertRep that has nothing to say (quirk 12)."""

    ABSENT = "absent"
    EMPTY = "empty"
    NUL = "nul"
    """One 0x00."""

    @property
    def octets(self) -> bytes | None:
        """What stands in eContent."""
        return {NoContent.ABSENT: None, NoContent.EMPTY: b"", NoContent.NUL: b"\0"}[self]


class OtherCertificates(StrEnum):
    """Where the CA's certificate stands beside the issued one in a CertRep (quirk 27)."""

    AFTER = "after"
    BEFORE = "before"
    ABSENT = "absent"


ALL_RENEWAL_FORMS = frozenset(RenewalForm)


@dataclass(frozen=True, slots=True)
class Behavior:
    """How the responder (mis)behaves; by default it does as RFC 8894 says."""

    pending: int = 0
    """Answer PENDING so many times per transaction before the certificate is issued."""
    fail_info: int | None = None
    """Refuse with this failInfo (0 to 4), after the PENDING answers if there are any, what is not issued yet."""
    delay: float = 0
    """Seconds before each answer to a message."""
    drop: bool = False
    """Close the connection without having looked at the message."""
    drop_replies: int = 0
    """Handle the first so many messages of each transaction, and close the connection without an answer."""
    html: bool = False
    """Answer everything with a web page."""
    empty: bool = False
    """Answer messages with HTTP 200 and nothing."""
    http_status: int | None = None
    """Answer messages with this HTTP status."""
    reply_for_somebody_else: bool = False
    """Sign an answer to another transaction."""
    sealed_for_somebody_else: bool = False
    """Envelop what was issued for another key than the requester's."""

    ra_pair: bool = False
    """Speak through two RA certificates, one that signs and one that decrypts, as NDES does (quirk 1)."""
    keywords: tuple[str, ...] | None = None
    """Offer these in GetCACaps in place of what the responder can do."""
    capabilities_form: CapabilitiesForm = CapabilitiesForm.LF
    media_type: str | None = None
    """Send this content type with everything, whatever it is (quirk 3)."""
    reply_digest: SignatureAlgorithm = SignatureAlgorithm.SHA256
    """Sign replies so; SHA-1 is met most (quirk 6)."""
    reply_cipher: ContentCipher | None = None
    """Encrypt replies so, whatever the request was encrypted with; DES is met (quirk 7)."""
    indefinite: bool = False
    """Reply in BER with indefinite lengths (quirk 11)."""
    sender_nonce: SenderNonce = SenderNonce.NEW
    no_content: NoContent = NoContent.ABSENT
    fail_text_type_seen: bool = False
    """Send failInfoText under 1.3.6.1.5.5.7.24, without the last number (quirk 13)."""
    hresult: int | None = None
    """Send this HRESULT with a FAILURE, as NDES does; signed, of 32 bits (quirk 13)."""
    success_without_payload: bool = False
    """Say SUCCESS where PENDING is meant (quirk 14)."""
    other_certificates: OtherCertificates = OtherCertificates.AFTER
    without_signer_certificate: bool = False
    """Leave the certificate that a reply is signed with out of it."""
    renewal_forms: frozenset[RenewalForm] = ALL_RENEWAL_FORMS
    """Take renewals in these forms only (quirk 20)."""
    old_certificate_at_renewal: bool = False
    """Return the certificate that was to be renewed (quirk 21)."""
    next_ca: bool = False
    """Have a next CA ready, and offer and answer GetNextCACert."""

    def __repr__(self) -> str:
        """What differs from the answers of a well-behaved server."""
        switched = {
            switch.name: value
            for switch in fields(self)
            if (value := getattr(self, switch.name)) != switch.default
        }
        shown = (
            f"{name}={sorted(value) if isinstance(value, frozenset) else value!r}"
            for name, value in switched.items()
        )
        return f"Behavior({', '.join(shown)})"
