"""A ZIP of many small files, written as a stream: its directory waits on disk, so memory does not grow with it.

The zipfile module keeps an object for each entry until the end. Here only what APPNOTE.TXT 6.3 wants: deflated
entries whose sizes are known before they are written, UTF-8 names, and Zip64 records at the end.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator

_UTF8 = 0x0800
_DEFLATED = 8
_VERSION = 45
"""4.5, the first that knows Zip64."""

_1980 = 0x21
"""1 January 1980: the content says when it was made, and equal content makes equal files."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_EXTRA = struct.Struct("<2HQ")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_WORD, _LONG = 0xFFFF, 0xFFFFFFFF


def write(entries: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The pieces of a ZIP with these names and contents."""
    offset = count = 0
    with tempfile.TemporaryFile() as directory:
        for name, content in entries:
            piece, record = _entry(name, content, offset)
            directory.write(record)
            offset, count = offset + len(piece), count + 1
            yield piece
        size = directory.tell()
        directory.seek(0)
        while piece := directory.read(1 << 16):
            yield piece
    yield _ending(count, size, offset)


def _entry(name: str, content: bytes, offset: int) -> tuple[bytes, bytes]:
    """An entry, and its record in the directory."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = packer.compress(content) + packer.flush()
    encoded, crc = name.encode(), zlib.crc32(content)
    common = (_VERSION, _UTF8, _DEFLATED, 0, _1980, crc, len(data), len(content), len(encoded))
    extra = _EXTRA.pack(1, 8, offset)
    local = _LOCAL.pack(b"PK\x03\x04", *common, 0)
    central = _CENTRAL.pack(b"PK\x01\x02", _VERSION, *common, len(extra), 0, 0, 0, 0, _LONG)
    return local + encoded + data, central + encoded + extra


def _ending(count: int, size: int, offset: int) -> bytes:
    end_64 = _END_64.pack(b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, count, count, size, offset)
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    end = _END.pack(b"PK\x05\x06", 0, 0, min(count, _WORD), min(count, _WORD), min(size, _LONG), _LONG, 0)
    return end_64 + locator + end
