"""GetCACaps read, and the algorithms chosen from it (RFC 8894 section 3.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.errors import UnsupportedAlgorithm

_MOST = 50
_LONGEST = 50


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server says it can do: its keywords in lower case. None at all are the legacy defaults."""

    keywords: frozenset[str] = frozenset()

    @classmethod
    def of(cls, keywords: Iterable[str]) -> Capabilities:
        """From keywords in any case."""
        return cls(frozenset(keyword.strip().lower() for keyword in keywords))

    @classmethod
    def read(cls, body: bytes) -> Capabilities:
        """From the body of GetCACaps: CRLF or LF, any case, no final newline needed (quirk 4).

        What is no list of keywords, such as an HTML page, means the legacy defaults.
        """
        lines = body[: _MOST * _LONGEST].decode("ascii", errors="replace").split()
        if any(not line.isascii() or "<" in line for line in lines):
            return cls()
        return cls.of(line for line in lines[:_MOST] if len(line) <= _LONGEST)

    def _offers(self, keyword: str) -> bool:
        # SCEPStandard promises AES, SHA-256 and POST (RFC 8894 section 3.5.2)
        promised = "scepstandard" in self.keywords and keyword in ("aes", "sha-256", "postpkioperation")
        return promised or keyword in self.keywords

    @property
    def next_ca(self) -> bool:
        """True when the server answers GetNextCACert."""
        return self._offers("getnextcacert")

    @property
    def post(self) -> bool:
        """True when PKIOperation goes by POST."""
        return self._offers("postpkioperation")

    def digest(self, *, allow_sha1: bool) -> SignatureAlgorithm:
        """The hash to sign with. Raises UnsupportedAlgorithm where only a forbidden SHA-1 is left (quirk 6)."""
        for algorithm in (SignatureAlgorithm.SHA256, SignatureAlgorithm.SHA512, SignatureAlgorithm.SHA384):
            if self._offers(algorithm.value.lower()):
                return algorithm
        if allow_sha1:
            return SignatureAlgorithm.SHA1
        raise UnsupportedAlgorithm(
            "The SCEP server should offer SHA-256, SHA-384 or SHA-512 in GetCACaps; it offers none of them. "
            'Configure the server, or switch on "Sign with SHA-1" for it if you accept that.'
        )

    def cipher(self, *, allow_3des: bool, prefer_aes_256: bool = False) -> ContentCipher:
        """The cipher to send with; never DES nor AES-192 (quirks 5, 8, 9). Raises UnsupportedAlgorithm.

        "AES" means AES-128 (RFC 8894 section 3.5.2), and servers that can do that can do AES-256 too; a few say so.
        """
        says_256 = self._offers("aes-256") or self._offers("aes256")
        if self._offers("aes"):
            return ContentCipher.AES_256 if prefer_aes_256 else ContentCipher.AES_128
        if says_256:
            return ContentCipher.AES_256
        if allow_3des:
            return ContentCipher.TRIPLE_DES
        raise UnsupportedAlgorithm(
            "The SCEP server should offer AES in GetCACaps; it does not. "
            'Configure the server, or switch on "Encrypt with 3DES" for it if you accept that.'
        )
