"""The bytes of a file between its arrival and its check: in pieces, compressed and encrypted, in the database."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from devices import secrets
from devices.models import Import, ImportPart
from devices.transfer.source import bounded

_PART = 256 * 1024
"""Bytes of a part, before it is compressed."""


def keep(found: Import, pieces: Iterable[bytes]) -> None:
    """Store a file. Raises devices.transfer.source.FileUnusable for one that is too large."""
    rest, number = bytearray(), 0
    for piece in bounded(pieces):
        rest += piece
        while len(rest) >= _PART:
            _store(found, number, bytes(rest[:_PART]))
            number += 1
            del rest[:_PART]
    _store(found, number, bytes(rest))


def _store(found: Import, number: int, content: bytes) -> None:
    token = secrets.encrypt(zlib.compress(content, 1))
    ImportPart.objects.create(of=found, number=number, content_encrypted=token)


def pieces(found: Import) -> Iterator[bytes]:
    """The file again; one part is in memory at a time. Raises devices.secrets.SecretUnreadable."""
    number = 0
    while part := ImportPart.objects.filter(of=found, number=number).first():
        yield zlib.decompress(secrets.decrypt(part.content_encrypted))
        number += 1


def drop(found: Import) -> None:
    """Forget the file's bytes; what its rows come to stays."""
    ImportPart.objects.filter(of=found).delete()
