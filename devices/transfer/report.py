"""The report of a check, to be downloaded: every row that is not unchanged, with each change and each problem."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from devices.models import Import, ImportRow
from devices.models.choices import RowOutcomeChoices
from devices.transfer.csv_format import defuse

HEADER = ("line", "name", "serial_number", "outcome", "column", "old", "new", "reason", "state")


def as_csv(found: Import) -> Iterator[bytes]:
    """One line for each change and each problem, in the order of the file; streamed."""
    yield "\ufeff".encode() + _line(HEADER)
    rows = found.rows.exclude(outcome=RowOutcomeChoices.UNCHANGED).order_by("number")
    for row in rows.iterator(500):
        yield b"".join(_line(cells) for cells in _lines(row))


def _lines(row: ImportRow) -> Iterator[tuple[Any, ...]]:
    start = (row.line, row.name, row.serial_number, row.outcome)
    for column, value, reason in row.problems:
        yield (*start, column, "", value, reason, row.state)
    if not row.problems and row.outcome != RowOutcomeChoices.ADDED:
        for column, change in row.changes.items():
            old, new = change if isinstance(change, list) else ("", change)
            yield (*start, column, old, new, row.message, row.state)
    if row.outcome == RowOutcomeChoices.ADDED:
        yield (*start, "", "", "", row.message, row.state)


def _line(cells: tuple[Any, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(
        "" if cell is None else defuse(cell) if isinstance(cell, str) else cell for cell in cells
    )
    return text.getvalue().encode()
