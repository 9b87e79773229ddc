"""What files are read into, whatever their format: rows of cells, and what is wrong with a file or a row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from devices.transfer.columns import columns

MOST_ROWS = 200_000
"""Rows of a file; more than any fleet that one server cares for."""

LARGEST_FILE = 512 * 1024 * 1024
"""Bytes of a file, once it is decompressed."""


class FileUnusable(Exception):
    """A file that cannot be read at all; says what was expected, what came, and what to do. Nothing was changed."""

    def __init__(self, reason: object, line: int | None = None) -> None:
        text = str(reason)
        super().__init__(
            text if line is None else _("Line %(line)d: %(reason)s") % {"line": line, "reason": text}
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a row."""

    column: str
    """Its name; empty for the row as a whole."""
    value: str
    """What stood there, shortened; empty for secrets."""
    reason: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One device of a file."""

    line: int
    """Where it begins, from 1."""
    cells: Mapping[str, str]
    """By the column's name, stripped; what is not in it stays as it is."""
    problems: list[Problem] = field(default_factory=list)


def unknown_column(name: str) -> str:
    """What to say about a column that there is not."""
    near = difflib.get_close_matches(name.casefold(), [*columns()], n=1)
    if near:
        return _("There is no column “%(name)s”. Did you mean “%(near)s”?") % {
            "name": name[:100],
            "near": near[0],
        }
    return _("There is no column “%(name)s”. The template file has them all.") % {"name": name[:100]}


def too_many_rows() -> FileUnusable:
    """The refusal of a file beyond MOST_ROWS."""
    return FileUnusable(
        _("The file has more than %(most)d rows. Split it into several files.") % {"most": MOST_ROWS}
    )


def too_large() -> FileUnusable:
    """The refusal of a file beyond LARGEST_FILE."""
    return FileUnusable(
        _("The file is larger than %(most)d MiB. Split it into several files.")
        % {"most": LARGEST_FILE // 1024 // 1024}
    )


def bounded(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """`pieces`, until they are more than LARGEST_FILE. Raises FileUnusable then."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > LARGEST_FILE:
            raise too_large()
        yield piece
