"""What is known of a server: what the administrator decided about it, and what it says of itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep.algorithms import ContentCipher
from scep.capabilities import Capabilities
from scep.certificates import load_certificate
from scep.transaction import EcTransport, RenewalForm

__all__ = ["ServerPolicy", "ServerProfile"]

_AES = frozenset({ContentCipher.AES_128, ContentCipher.AES_192, ContentCipher.AES_256})


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """What the administrator decided about a server."""

    ca_identifier: str = ""
    """Sent as `message` with GetCACert, empty or not (quirk 26)."""
    ca_fingerprint: str = ""
    """SHA-256 of the CA certificate in hexadecimal, colons and spaces allowed; empty: any (quirk 28)."""
    allow_sha1: bool = False
    """Sign with SHA-1 where the server offers nothing better (quirk 6)."""
    allow_3des: bool = False
    """Encrypt with 3DES where the server offers nothing better, and accept it in replies (quirk 5)."""
    allow_des_replies: bool = False
    """Accept replies encrypted with single DES (quirk 7)."""
    prefer_aes_256: bool = False
    """Encrypt with AES-256 in place of AES-128 (quirk 9)."""
    renewal_form: RenewalForm = RenewalForm.RENEWAL_REQ
    """How to ask for a renewal: whoever makes the transaction heeds it (quirk 20)."""
    ec_transport: EcTransport = EcTransport.RSA_SIGNER
    """How messages about an EC key travel: whoever makes the transaction heeds it."""

    @property
    def reply_ciphers(self) -> frozenset[ContentCipher]:
        """The ciphers that replies may be encrypted with."""
        allowed = set(_AES)
        if self.allow_3des:
            allowed.add(ContentCipher.TRIPLE_DES)
        if self.allow_des_replies:
            allowed.add(ContentCipher.DES)
        return frozenset(allowed)


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What a server said of itself, for reuse: GetCACaps, and GetCACert in the server's order."""

    capabilities: Capabilities
    ca_certificates: tuple[x509.Certificate, ...]

    def to_json(self) -> dict[str, list[str]]:
        """As JSON holds it."""
        encoded = [certificate.public_bytes(Encoding.DER) for certificate in self.ca_certificates]
        return {
            "capabilities": sorted(self.capabilities.keywords),
            "ca_certificates": [base64.b64encode(der).decode() for der in encoded],
        }

    @classmethod
    def from_json(cls, stored: object) -> ServerProfile:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        if not isinstance(stored, Mapping):
            raise ValueError("a stored profile is an object")
        try:
            certificates = tuple(
                load_certificate(base64.b64decode(text)) for text in stored["ca_certificates"]
            )
            return cls(Capabilities.of(stored["capabilities"]), certificates)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a stored profile: {error}") from error
