"""Columns of the project's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models


class BytesField(models.BinaryField):  # type: ignore[type-arg]  # the stubs alone know them
    """A BinaryField for PostgreSQL and SQLite, whose bulk inserts hand over one array per column.

    Django does so (UNNEST) unless a column's placeholder may depend on its value, as it does for MySQL's binaries.
    One such column is enough to have a placeholder for each value instead, 20,000 of them for 500 rows of a wide
    table.
    """

    @property
    def get_placeholder(self) -> Any:
        """None: `%s` for every value."""
        raise AttributeError("get_placeholder")

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """As the BinaryField that it is in the database."""
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.BinaryField", arguments, options
