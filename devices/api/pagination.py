"""Lists come in pages with cursors: as fast on page 1,000 as on page 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError
from django.db.models import BooleanField, F, Field, Func, Model, QuerySet, Value
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView

_LARGEST_ID = 2**63 - 1


def _no_cursor() -> ValidationError:
    return ValidationError({"cursor": [_("Take the cursors from “next” and “previous”.")]})


@dataclass(frozen=True, slots=True)
class _Place:
    """One row's place in an order by a column and, for what has the same value there, by id."""

    value: Any
    """None: the row has no value."""
    pk: int

    @classmethod
    def of(cls, row: Model, field: Field[Any, Any]) -> _Place:
        return cls(getattr(row, field.attname), row.pk)

    @classmethod
    def read(cls, text: str, field: Field[Any, Any]) -> _Place:
        """The place that `str` wrote. Raises ValueError, OverflowError, and Django's ValidationError."""
        pk, has_value, written = text.partition(" ")
        if not pk.isascii() or not pk.isdigit() or int(pk) > _LARGEST_ID or "\0" in written:
            raise ValueError("no page has such a place")
        value = field.to_python(written) if has_value else None
        if value is None and not field.null:
            raise ValueError(f"{field.name} always has a value")
        if isinstance(value, datetime):
            # what UTC cannot say, no database compares
            value = value.astimezone(UTC)
        elif isinstance(value, int) and abs(value) > _LARGEST_ID:
            raise ValueError(f"{field.name} has no such value")
        return cls(value, int(pk))

    def __str__(self) -> str:
        return f"{self.pk}" if self.value is None else f"{self.pk} {self.value}"


class _Beyond(Func):
    """`(column, id) > (value, id)`, or `<`: compared as rows, so that an index on both finds the place at once."""

    output_field = BooleanField()

    def __init__(self, field: Field[Any, Any], place: _Place, *, downwards: bool) -> None:
        key = field.model._meta.pk
        super().__init__(F(field.name), F("pk"), Value(place.value, field), Value(place.pk, key))
        self.sign = "<" if downwards else ">"

    def as_sql(
        self, compiler: Any, connection: Any, *_args: Any, **_context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """Row values: PostgreSQL, and SQLite from 3.15."""
        parts = [compiler.compile(each) for each in self.get_source_expressions()]
        column, key, value, pk = (sql for sql, _given in parts)
        given = tuple(each for _sql, params in parts for each in params)
        return f"({column}, {key}) {self.sign} ({value}, {pk})", given


@dataclass(frozen=True, slots=True)
class _Walk:
    """One way through a list that is sorted by a column and the id; what has no value comes last."""

    field: Field[Any, Any]
    is_descending: bool
    backwards: bool
    """From the list's end to its beginning."""
    place: _Place | None
    """Where it goes on, this row not included; None: where the way begins."""

    def take(self, queryset: QuerySet[Any], most: int) -> list[Any]:
        """The next rows. Rows with a value and rows without are asked for one by one: the database walks an index."""
        found: list[Any] = []
        for part in self._parts(queryset):
            if len(found) < most:
                found += part[: most - len(found)]
        return found

    def _parts(self, queryset: QuerySet[Any]) -> list[QuerySet[Any]]:
        field, place, downwards = self.field, self.place, self.is_descending != self.backwards
        sign, than = ("-", "lt") if downwards else ("", "gt")
        by_id = queryset.order_by(f"{sign}pk")
        if field.primary_key:
            return [by_id if place is None else by_id.filter(**{f"pk__{than}": place.pk})]
        valued = queryset.order_by(f"{sign}{field.name}", f"{sign}pk")
        if not field.null:
            return [valued if place is None else valued.filter(_Beyond(field, place, downwards=downwards))]
        valued = valued.filter(**{f"{field.name}__isnull": False})
        unvalued = by_id.filter(**{f"{field.name}__isnull": True})
        parts = [valued, unvalued]
        if place is not None and place.value is None:
            unvalued = unvalued.filter(**{f"pk__{than}": place.pk})
            parts = [valued, unvalued] if self.backwards else [unvalued]
        elif place is not None:
            valued = valued.filter(_Beyond(field, place, downwards=downwards))
            parts = [valued] if self.backwards else [valued, unvalued]
        return parts[::-1] if self.backwards else parts


class Pagination(CursorPagination):
    """`{"next": url, "previous": url, "results": [...]}`; `page_size` 1 to 500, `ordering` as the view permits.

    A view names the columns that it sorts by in `orderings`, the first by default. Rows with the same value come by
    their id, and the cursor holds both: any number of rows may share a value. What has no value comes last, in
    either direction. A page costs one query, or two for a column that may be null; an index on the column and the
    id serves both.
    """

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 500

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of the query. Raises ValidationError for one that no page gave."""
        try:
            return super().decode_cursor(request)
        except NotFound:
            raise _no_cursor() from None

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """The page. Raises ValidationError for a cursor whose place is none of the column's values."""
        if not isinstance(queryset, QuerySet):
            raise TypeError("pages are made of querysets")
        self.request = request
        self.base_url = request.build_absolute_uri()
        page_size = self.get_page_size(request) or self.page_size
        (ordering,) = self.get_ordering(request, queryset, view)
        self._field = _field(queryset.model, ordering.removeprefix("-"))
        cursor = self.decode_cursor(request)
        try:
            place = _Place.read(cursor.position, self._field) if cursor and cursor.position else None
            walk = _Walk(self._field, ordering.startswith("-"), bool(cursor and cursor.reverse), place)
            # one more than the page has tells whether there is another page
            rows = walk.take(queryset, page_size + 1)
        except (ValueError, OverflowError, ModelValidationError, DataError):
            if cursor is None:
                raise
            raise _no_cursor() from None
        self._rows = rows[:page_size]
        self.has_next, self.has_previous = len(rows) > page_size, place is not None
        if walk.backwards:
            self._rows.reverse()
            self.has_next, self.has_previous = self.has_previous, self.has_next
        return self._rows

    def get_next_link(self) -> str | None:
        """To what comes after the page's last row; from a page whose rows are all gone, to the beginning."""
        return self._link(self._rows[-1:], backwards=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        """To what comes before the page's first row; from a page whose rows are all gone, to the end."""
        return self._link(self._rows[:1], backwards=True) if self.has_previous else None

    def _link(self, rows: list[Any], *, backwards: bool) -> str:
        position: Any = str(_Place.of(rows[0], self._field)) if rows else None
        return self.encode_cursor(Cursor(offset=0, reverse=backwards, position=position))

    def get_ordering(
        self, request: Request, queryset: QuerySet[Any], view: APIView | None
    ) -> tuple[str, ...]:
        """The column of the query parameter `ordering`. Raises ValidationError for others."""
        permitted: tuple[str, ...] = getattr(view, "orderings", ("pk",))
        wanted = request.query_params.get("ordering", permitted[0])
        if wanted != permitted[0] and wanted.removeprefix("-") not in permitted:
            raise ValidationError(
                {
                    "ordering": [
                        _("“%(wanted)s” is not an ordering; choose one of %(permitted)s.")
                        % {"wanted": wanted, "permitted": ", ".join(permitted)}
                    ]
                }
            )
        return (wanted,)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Cursor, size and, where there is a choice, the ordering."""
        permitted: tuple[str, ...] = getattr(view, "orderings", ("pk",))
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        if permitted[0].startswith("-"):
            return parameters
        schema = {"type": "string", "enum": [f"{sign}{name}" for name in permitted for sign in ("", "-")]}
        text = "What the list is sorted by; with `-` the other way round. Rows without a value come last."
        ordering = {
            "name": "ordering",
            "in": "query",
            "required": False,
            "description": text,
            "schema": schema,
        }
        return [*parameters, ordering]


def _field(model: type[Model], name: str) -> Field[Any, Any]:
    found = model._meta.pk if name == "pk" else model._meta.get_field(name)
    if not isinstance(found, Field):
        raise TypeError(f"{name} of {model.__name__} is no column to sort by")
    return found
