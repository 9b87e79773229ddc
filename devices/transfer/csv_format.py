"""CSV as spreadsheets write it, and as we write it for them.

Read: UTF-8 with and without a byte order mark, UTF-16 with one; comma, semicolon or tab; any line ending; quoted
newlines. Written: UTF-8 with a byte order mark, comma, CRLF (RFC 4180).

A spreadsheet runs cells that begin with = + - @ as formulas, and turns texts that look like numbers into numbers
("1.10" becomes 1.1). Such texts are written with an apostrophe before them, which reading takes away again.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices.transfer.columns import Column, Kind, columns
from devices.transfer.source import FileUnusable, Problem, SourceRow, bounded, unknown_column

_LONGEST_LINE = 1_000_000
"""Characters."""

_DELIMITERS = (",", ";", "\t")
_GUARDED = re.compile(r"'+[=+\-@\s\d]")
"""Written with an apostrophe; one with another one before it."""
_DANGEROUS = re.compile(
    r"[=+\-@\s]|"  # a formula, or a space that reading would strip
    r"(?!\d+\.\d+\.\d+\.\d+$)\d[\d.,:/+\-eE% ]*$"  # a number, a date or a time to a spreadsheet; addresses are not
)


def defuse(cell: str) -> str:
    """`cell` as a text that a spreadsheet neither runs nor changes; `restore` takes it back."""
    return f"'{cell}" if _DANGEROUS.match(cell) or _GUARDED.match(cell) else cell


def restore(cell: str) -> str:
    """What `defuse` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """With their endings. Raises FileUnusable for another encoding, and for a line without an end."""
    stream = io.BufferedReader(_Pieces(bounded(pieces)), 1 << 16)
    start = stream.peek(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in start or start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF")):
        raise FileUnusable(_("This is no CSV file. In the spreadsheet, choose “Save as” and “CSV (UTF-8)”."))
    else:
        encoding = "utf-8-sig"
    text, number = io.TextIOWrapper(stream, encoding, newline=""), 0
    while True:
        number += 1
        try:
            line = text.readline(_LONGEST_LINE)
        except UnicodeError:
            raise FileUnusable(
                _(
                    "The file is not encoded in UTF-8. In the spreadsheet, choose “Save as” and “CSV (UTF-8)”."
                ),
            ) from None
        if not line:
            return
        if len(line) == _LONGEST_LINE:
            raise FileUnusable(_("The line is too long for CSV."), number)
        yield line


def read(pieces: Iterable[bytes]) -> Iterator[SourceRow]:
    """The rows of a file. Raises FileUnusable, at once for a header that cannot be read."""
    lines, skipped = _lines(pieces), 0
    header = next(lines, "")
    if re.fullmatch(r"sep=.\s*", header):  # Excel's own way to name the delimiter
        header, skipped = next(lines, ""), 1
    delimiter = _delimiter(header)
    rows = csv.reader(_with(header, lines), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        line = rows.line_num + 1 + skipped
        try:
            cells = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            raise FileUnusable(
                _("A quoted cell does not end as CSV wants it (%(error)s).") % {"error": error}, line
            ) from None
        if names is None:
            names = _names(cells, line)
        elif any(cells):
            yield _row(names, cells, line)
    if names is None:
        raise _empty()


def header_of(pieces: Iterable[bytes]) -> list[str]:
    """The names of the columns. Raises FileUnusable."""
    lines = _lines(pieces)
    header = next(lines, "")
    if re.fullmatch(r"sep=.\s*", header):
        header = next(lines, "")
    if not header:
        raise _empty()
    try:
        cells = next(csv.reader(_with(header, lines), delimiter=_delimiter(header), strict=True))
    except csv.Error as error:
        raise FileUnusable(
            _("A quoted cell does not end as CSV wants it (%(error)s).") % {"error": error}, 1
        ) from None
    return [name for name in _names(cells, 1) if name]


def _empty() -> FileUnusable:
    return FileUnusable(_("The file is empty. Its first line holds the names of the columns."))


def count(pieces: Iterable[bytes], most: int) -> int:
    """How many rows there are, the header and empty ones left out; stops counting beyond `most`."""
    found = 0
    for _row in read(pieces):
        found += 1
        if found > most:
            break
    return found


def _with(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _delimiter(header: str) -> str:
    """The one under which the header has most of the known names."""

    def known(delimiter: str) -> int:
        return sum(_name(cell) in columns() for cell in header.split(delimiter))

    return max(_DELIMITERS, key=known)


def _name(cell: str) -> str:
    return cell.strip().strip('"').strip().casefold()


def _names(cells: list[str], line: int) -> list[str]:
    """The column of each cell; empty ones at the end name none. Raises FileUnusable with every problem."""
    names = [_name(cell) for cell in cells]
    if not any(names):
        raise _empty()
    while names and not names[-1]:
        names.pop()
    if not set(names) & columns().keys():
        raise FileUnusable(
            _(
                "The first line must hold the names of the columns, as in the template file; this one begins "
                "with “%(begins)s”. Remove titles and merged cells above the names."
            )
            % {"begins": ", ".join(filter(None, names))[:100]},
            line,
        )
    problems = [unknown_column(name) for name in names if name and name not in columns()]
    if "" in names:
        problems.append(
            _("Column %(number)d has no name. Merged cells in the header? Undo the merging.")
            % {"number": names.index("") + 1}
        )
    problems += [
        _("The column “%(name)s” is there twice.") % {"name": name}
        for name in sorted({name for name in names if name and names.count(name) > 1})
    ]
    if problems:
        raise FileUnusable(" ".join(problems), line)
    return names


def _row(names: Sequence[str], cells: list[str], line: int) -> SourceRow:
    """Fewer cells than columns: spreadsheets leave empty ones at the end out. More are a problem."""
    row = SourceRow(line, {name: restore(cell.strip()) for name, cell in zip(names, cells, strict=False)})
    extra = [cell for cell in cells[len(names) :] if cell.strip()]
    if extra:
        too_many = len(cells) - len(names)
        reason = ngettext(
            "The row has %(count)d cell more than there are columns. Is a text with a separator not in quotes?",
            "The row has %(count)d cells more than there are columns. Is a text with a separator not in quotes?",
            too_many,
        ) % {"count": too_many}
        # it is not known which cell is the one too many: none may be trusted, or shown as a secret's neighbor
        row.problems.append(Problem("", "", reason))
    return row


_TEXTS = frozenset({Kind.TEXT, Kind.REFERENCE, Kind.LIST, Kind.OBJECT})
"""Kinds that people's own texts stand in; the others are numbers and words of ours, and to be worked with as such."""


def _written(column: Column, value: object) -> str:
    cell = column.write(value)
    return defuse(cell) if column.kind in _TEXTS else cell


class _Line:
    """What csv.writer writes to: keeps the line for whoever asks."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


class Writer:
    """Writes a file line by line."""

    def __init__(self, chosen: Sequence[Column]) -> None:
        self._columns, self._line = chosen, _Line()
        self._csv = csv.writer(self._line, lineterminator="\r\n")

    def begin(self) -> bytes:
        """The header."""
        self._csv.writerow([column.name for column in self._columns])
        return codecs.BOM_UTF8 + self._line.text.encode()

    def row(self, values: Sequence[object]) -> bytes:
        """One device, its values in the order of the columns."""
        cells = zip(self._columns, values, strict=True)
        self._csv.writerow([_written(column, value) for column, value in cells])
        return self._line.text.encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""
