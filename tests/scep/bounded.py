"""`python -m tests.scep.bounded`: messages of a megabyte that want more than their reader's share, read under limits.

Run by `test_bounds.py`. The limits are the operating system's (RLIMIT_AS, RLIMIT_CPU): who exceeds them ends with a
MemoryError or a signal. Prints what each message came to.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, ber, cms, envelope, messages
from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.ber import MAX_SIZE, wrap
from scep.capabilities import Capabilities
from scep.conversation import Failed, HttpReply
from scep.errors import ScepError
from scep.exchange import Exchange, Step
from scep.profile import ServerPolicy
from scep.responder import Responder
from tests.scep.enrolling import NOW, transaction

MEMORY = 256 * 1024 * 1024
"""Octets of address space beyond what the program has before it reads."""
CPU = 300
"""Seconds for all messages and readers together; they need about seven, and more where the processor is slow."""

_VERSION = bytes.fromhex("020101")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Messages of nearly a megabyte, by what is odd about them."""
    tiny = b"\x05\0" * (MAX_SIZE // 2 - 100)
    deep = b""
    for _ in range(30):
        deep = wrap(0x30, deep)
    deep *= MAX_SIZE // len(deep) - 2
    crumbs = b"\x04\x01x" * (MAX_SIZE // 3 - 100)
    yield "tiny values in a sequence", wrap(0x30, tiny)
    yield "tiny values without a length", b"\x30\x80" + tiny + b"\0\0"
    yield "tiny values as certificates", _signed_data(certificates=wrap(0xA0, tiny))
    yield "tiny values as signers", _signed_data(signers=wrap(0x31, tiny))
    yield "tiny values as attributes", _signed_data(signers=wrap(0x31, _signer(wrap(0xA0, tiny))))
    yield "tiny values as recipients", _content_info(asn1.ENVELOPED_DATA, _VERSION + wrap(0x31, tiny))
    yield "deep values in a sequence", wrap(0x30, deep)
    yield "deep values as digests", _signed_data(digests=wrap(0x31, deep))
    yield "crumbs of an octet string", wrap(0x24, crumbs)
    yield "crumbs as content", _signed_data(content=wrap(0xA0, wrap(0x24, crumbs)))
    yield (
        "a number of a megabyte",
        _signed_data(signers=wrap(0x31, _signer(b"", serial=b"\x7f" * (MAX_SIZE - 300)))),
    )
    yield "a name of a megabyte", _named(wrap(0x31, wrap(0x30, bytes.fromhex("0603550403") + b"\x0c\x01x")))
    yield (
        "a name of one word",
        _named(wrap(0x31, wrap(0x30, bytes.fromhex("0603550403") + wrap(0x0C, b"x" * 400_000)))),
    )
    yield "nothing but indefinite lengths", b"\x30\x80" * (MAX_SIZE // 2)
    yield "lines", b"AES\n" * (MAX_SIZE // 4)


def _content_info(content_type: asn1.OID, body: bytes) -> bytes:
    return wrap(0x30, asn1.encode(content_type) + wrap(0xA0, wrap(0x30, body)))


def _signed_data(
    *,
    digests: bytes = b"\x31\0",
    content: bytes = b"",
    certificates: bytes = b"",
    signers: bytes = b"\x31\0",
) -> bytes:
    inner = wrap(0x30, asn1.encode(asn1.DATA) + content)
    return _content_info(asn1.SIGNED_DATA, _VERSION + digests + inner + certificates + signers)


def _signer(attributes: bytes, serial: bytes = b"\1") -> bytes:
    algorithm = asn1.encode(asn1.AlgorithmIdentifier(algorithm=asn1.RSA_ENCRYPTION, parameters=asn1.Null()))
    named = wrap(0x30, b"\x30\0" + wrap(0x02, serial))
    return wrap(0x30, _VERSION + named + algorithm + attributes + algorithm + b"\x04\1x")


def _named(part: bytes) -> bytes:
    """A self-signed CA certificate whose name has as many of these parts as go into a megabyte, in both places."""
    tbs, *rest = ber.children(_AUTHORITY.certificate.public_bytes(Encoding.DER))
    fields = list(ber.children(tbs))
    fields[3] = fields[5] = wrap(0x30, part * max(1, (MAX_SIZE - 4000) // 2 // len(part)))
    return wrap(0x30, b"".join((wrap(0x30, b"".join(fields)), *rest)))


_AUTHORITY = Authority.create("Test CA", now=NOW)
_MADE = transaction()


def _ca_certificates(data: bytes) -> object:
    exchange = Exchange(_MADE, Step.REQUEST, now=NOW, policy=ServerPolicy())
    exchange.start()
    exchange.receive(HttpReply(200, data))
    return exchange.receive(HttpReply(200, data))


def _reply(data: bytes) -> object:
    return messages.read_reply(
        data,
        requester=_MADE.requester,
        signers=[_AUTHORITY.certificate],
        sender_nonce=b"n" * 16,
        allowed=frozenset(ContentCipher),
    )


def _envelope(data: bytes) -> object:
    return envelope.open_envelope(
        data, certificate=_MADE.signer, key=_MADE.key, allowed=frozenset(ContentCipher)
    )


def _respond(data: bytes) -> object:
    return Responder(_AUTHORITY).handle("POST", {"operation": "PKIOperation"}, data)


READERS: dict[str, Callable[[bytes], object]] = {
    "capabilities": Capabilities.read,
    "CA certificates": _ca_certificates,
    "reply": _reply,
    "envelope": _envelope,
    "contents": cms.contents_of,
    "request": _respond,
}


def main() -> int:
    made = list(bombs())
    for _name, read in READERS.items():
        with_nothing(read)
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    # the library warns of names that are longer than X.520 permits
    warnings.simplefilter("ignore")
    outcomes = {}
    for name, data in made:
        assert len(data) <= MAX_SIZE, (name, len(data))
        for reader, read in READERS.items():
            outcomes[f"{name}: {reader}"] = came_to(read, data)
    print(json.dumps(outcomes))
    return 0


def with_nothing(read: Callable[[bytes], object]) -> None:
    """Let everything be loaded that is loaded at the first use."""
    came_to(read, b"\x30\0")


def came_to(read: Callable[[bytes], object], data: bytes) -> str:
    """The kind of error or result; MemoryError and others escape."""
    try:
        result = read(data)
    except ScepError as error:
        return error.kind
    return result.error.kind if isinstance(result, Failed) else type(result).__name__


if __name__ == "__main__":
    sys.exit(main())
