"""Rows for people, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def lines_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """`head` and `rows`, each column as wide as its longest cell; a column that is empty in every row is left out."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in kept]
    for row in [head, *rows]:
        yield "  ".join(row[column].ljust(width) for column, width in zip(kept, widths, strict=True)).rstrip()
