"""A bar on the terminal; nothing at all where no person looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Bar(Protocol):
    """How far it is."""

    def __call__(self, done: int, total: int) -> None:
        """`total` is 0 while nobody knows it."""


@contextmanager
def bar(title: str) -> Iterator[Bar]:
    """On standard error, and only on a terminal."""
    with tqdm(desc=title, unit=" rows", unit_scale=True, file=sys.stderr, disable=None, leave=False) as shown:

        def tell(done: int, total: int) -> None:
            shown.total = total or None
            shown.update(done - shown.n)

        yield tell
