"""BER to DER, bounded: what Bouncy Castle and Go send becomes what hazmat.asn1 accepts (quirks 11, 29).

Resolved are indefinite lengths, lengths longer than needed, OCTET STRINGs in pieces, and the pieces of
EncryptedContentInfo's `[0] IMPLICIT OCTET STRING`. Sets are not sorted: the structures in asn1.py take
them in any order, and a certificate must keep its bytes. What is DER already comes back unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = [
    "MAX_DEPTH",
    "MAX_SIZE",
    "BerError",
    "children",
    "contents",
    "read",
    "to_der",
    "to_indefinite",
    "wrap",
]

T = TypeVar("T")

MAX_SIZE = 1 << 20
"""Bytes: a CertRep has a few thousand, a GetCACert answer with a long chain not 100,000."""

MAX_DEPTH = 32
"""Nested values: the deepest real message (an extension of a certificate in a chain) needs about 12."""

_PIECE = 1000
"""Octets of one piece of a string in `to_indefinite`."""

_CONSTRUCTED = 0x20
_OBJECT_IDENTIFIER = 0x06
_OCTET_STRING = 0x04
_SEQUENCE = 0x30
_CONTEXT_0 = 0x80


class BerError(ValueError):
    """The bytes are not BER, or exceed a limit."""


def read(data: bytes, reader: Callable[[bytes], T]) -> T:
    """What `reader` makes of `data` as it is, or of the DER of it where `reader` raises ValueError for that.

    Most messages are DER, which their reader checks by itself and much faster. Raises BerError, and what `reader`
    raises.
    """
    if len(data) > MAX_SIZE:
        raise BerError(f"{len(data)} bytes, more than the limit of {MAX_SIZE}")
    try:
        return reader(data)
    except ValueError:
        return reader(to_der(data))


def to_der(data: bytes) -> bytes:
    """Return the first value in `data` with DER's lengths and strings.

    White space and NUL bytes after it are dropped (some servers end a body with a newline); anything else there is
    refused, and so are more than MAX_SIZE bytes or MAX_DEPTH levels. Raises BerError.
    """
    if len(data) > MAX_SIZE:
        raise BerError(f"{len(data)} bytes, more than the limit of {MAX_SIZE}")
    value, end = _value(data, 0, len(data), 0, in_encrypted_content_info=False)
    if data[end:].strip(b"\r\n\t \0"):
        raise BerError(f"{len(data) - end} bytes after the end of the value")
    return value


def children(der: bytes) -> Iterator[bytes]:
    """Yield the values directly inside the one constructed DER value `der`. Raises BerError."""
    _tag, at, length = _head(der, 0, len(der))
    end = len(der) if length is None else at + length
    while at < end:
        _tag, body, length = _head(der, at, end)
        if length is None:
            raise BerError("indefinite length in DER")
        yield der[at : body + length]
        at = body + length


def contents(der: bytes) -> bytes:
    """The contents of the one DER value `der`. Raises BerError."""
    _tag, at, length = _head(der, 0, len(der))
    if length is None:
        raise BerError("indefinite length in DER")
    return der[at : at + length]


def wrap(tag: int, body: bytes) -> bytes:
    """One DER value: `tag` (a low tag number, 0-255), the shortest length, `body`."""
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def to_indefinite(der: bytes) -> bytes:
    """`der` as Bouncy Castle's generators write it: indefinite lengths, OCTET STRINGs and encryptedContent in pieces.

    Certificates and what else is signed inside keep their values, not their bytes. For doubles of such servers; this
    program itself sends DER.
    """
    return _indefinite(der, in_encrypted_content_info=False)


def _indefinite(der: bytes, *, in_encrypted_content_info: bool) -> bytes:
    tag, body, _length = _head(der, 0, len(der))
    if not tag & _CONSTRUCTED:
        if tag != _OCTET_STRING and not (tag == _CONTEXT_0 and in_encrypted_content_info):
            return der
        octets = der[body:]
        pieces = [octets[at : at + _PIECE] for at in range(0, len(octets), _PIECE)]
        inner = b"".join(wrap(_OCTET_STRING, piece) for piece in pieces)
        return bytes((tag | _CONSTRUCTED, 0x80)) + inner + b"\0\0"
    members = list(children(der))
    special = tag == _SEQUENCE and [member[0] for member in members[:2]] == [_OBJECT_IDENTIFIER, _SEQUENCE]
    inner = b"".join(
        _indefinite(member, in_encrypted_content_info=special and index == 2)
        for index, member in enumerate(members)
    )
    return bytes((tag, 0x80)) + inner + b"\0\0"


def _head(data: bytes, at: int, end: int) -> tuple[int, int, int | None]:
    """Tag, start of the body and its length (None: indefinite) of the value at `at`."""
    if at + 2 > end:
        raise BerError("ends in the middle of a value")
    tag, length = data[at], data[at + 1]
    body = at + 2
    if tag & 0x1F == 0x1F:
        raise BerError("tag numbers above 30 do not occur in CMS")
    if length == 0x80:
        return tag, body, None
    if length > 0x80:
        octets = length & 0x7F
        if octets > 4 or body + octets > end:
            raise BerError("impossible length")
        length = int.from_bytes(data[body : body + octets], "big")
        body += octets
    if body + length > end:
        raise BerError("a value is longer than what surrounds it")
    return tag, body, length


def _value(
    data: bytes, at: int, end: int, depth: int, *, in_encrypted_content_info: bool
) -> tuple[bytes, int]:
    """The value at `at` as DER, and where the next one starts."""
    if depth > MAX_DEPTH:
        raise BerError(f"nested deeper than {MAX_DEPTH} levels")
    tag, body, length = _head(data, at, end)
    if not tag & _CONSTRUCTED:
        if length is None:
            raise BerError("a primitive value of indefinite length")
        raw = data[at : body + length]
        shortest = body - at == 2 if length < 0x80 else body - at == 2 + (length.bit_length() + 7) // 8
        return (raw if shortest else wrap(tag, raw[body - at :])), body + length

    inner, next_at = _inner(data, body, end, depth, tag, length)
    if tag == _OCTET_STRING | _CONSTRUCTED:
        return wrap(_OCTET_STRING, _joined(inner)), next_at
    # EncryptedContentInfo's [0] is IMPLICIT, so the tag alone cannot tell pieces from a structure
    if tag == _CONTEXT_0 | _CONSTRUCTED and in_encrypted_content_info:
        return wrap(_CONTEXT_0, _joined(inner)), next_at
    return wrap(tag, b"".join(inner)), next_at


def _inner(
    data: bytes, at: int, end: int, depth: int, tag: int, length: int | None
) -> tuple[list[bytes], int]:
    """The values inside a constructed value, as DER, and where the next one after it starts."""
    inner: list[bytes] = []
    stop = end if length is None else at + length
    while True:
        if length is None and data[at : min(at + 2, stop)] == b"\0\0":
            return inner, at + 2
        if length is not None and at == stop:
            return inner, at
        # SEQUENCE { contentType OID, algorithm SEQUENCE, [0] ... }: no other structure of CMS or X.509
        # begins like this and goes on with a [0]
        special = (
            tag == _SEQUENCE
            and len(inner) == 2
            and inner[0][0] == _OBJECT_IDENTIFIER
            and inner[1][0] == _SEQUENCE
        )
        value, at = _value(data, at, stop, depth + 1, in_encrypted_content_info=special)
        inner.append(value)


def _joined(pieces: list[bytes]) -> bytes:
    bodies = []
    for piece in pieces:
        tag, body, _length = _head(piece, 0, len(piece))
        if tag != _OCTET_STRING:
            raise BerError("a piece of an OCTET STRING is not an OCTET STRING")
        bodies.append(piece[body:])
    return b"".join(bodies)
