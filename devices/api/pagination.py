"""Lists come in pages with cursors: as fast on page 1,000 as on page 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView


def _no_cursor() -> ValidationError:
    return ValidationError({"cursor": [_("Take the cursors from “next” and “previous”.")]})


class Pagination(CursorPagination):
    """`{"next": url, "previous": url, "results": [...]}`; `page_size` 1 to 500, `ordering` as the view permits.

    A view names what it sorts by in `orderings`, the first by default. Cursors need columns that are never null.
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
        """The page. Raises ValidationError for a cursor whose position is none of the column's values."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, ModelValidationError, DataError):
            if self.cursor_query_param in request.query_params:
                raise _no_cursor() from None
            raise

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> tuple[str, ...]:
        """The columns of the query parameter `ordering`. Raises ValidationError for others."""
        permitted: tuple[str, ...] = getattr(view, "orderings", ("pk",))
        wanted = request.query_params.get("ordering")
        if wanted is None:
            return (permitted[0], "pk") if permitted[0].lstrip("-") != "pk" else (permitted[0],)
        if wanted.lstrip("-") not in permitted:
            raise ValidationError(
                {
                    "ordering": [
                        _("“%(wanted)s” is not an ordering; choose one of %(permitted)s.")
                        % {"wanted": wanted, "permitted": ", ".join(permitted)}
                    ]
                }
            )
        return (wanted, "pk")
