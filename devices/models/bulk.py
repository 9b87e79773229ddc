"""Writing many rows that are at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import models


def overwrite(rows: Sequence[models.Model], columns: Collection[str]) -> None:
    """Store `columns` of stored `rows` of one model, which the caller has locked, with one statement.

    An INSERT that updates on conflict: a third of the time of bulk_update, whose CASE names every row again for
    each column.
    """
    if rows and columns:
        manager: Any = type(rows[0])._default_manager
        manager.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=sorted(columns))
