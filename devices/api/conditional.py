"""Conditional requests (RFC 9110 section 13): ETag, If-None-Match and If-Match.

Every GET under /api/ has a strong ETag, and a caller who has that version already gets 304. Whoever sends If-Match
with a change has it made only to the version that they saw: the row is locked, compared as GET would show it, and
written, in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from devices.api.problems import ROOT, PreconditionFailed
from devices.api.renderers import JSONRenderer

CHANGING = frozenset({"PUT", "PATCH", "DELETE"})


def etag_of(content: bytes) -> str:
    """The strong ETag of a representation."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class ETagMiddleware:
    """Gives every answer to GET its ETag, and answers 304 where the caller has it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if (
            request.method not in {"GET", "HEAD"}
            or response.status_code != 200
            or not request.path_info.startswith(ROOT)
            or not isinstance(response, HttpResponse)
        ):
            return response
        response["ETag"] = etag_of(response.content)
        # whoever may see it may keep it, and asks before using it again
        response.headers.setdefault("Cache-Control", "private, no-cache")
        conditional = get_conditional_response(request, etag=response["ETag"], response=response)
        return response if conditional is None else conditional


class ConditionalUpdates(APIView):
    """Heeds If-Match on PUT, PATCH and DELETE. Without it they go on working as they are."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Comparing and writing in one transaction; nothing stays of what was refused."""
        if not _is_conditional(request):
            return super().dispatch(request, *args, **kwargs)
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)
            if response.status_code >= 400:
                transaction.set_rollback(True)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After signing in and permissions: lock and compare. Raises PreconditionFailed."""
        super().initial(request, *args, **kwargs)
        if not _is_conditional(request):
            return
        self.lock()
        wanted = parse_etags(request.headers["If-Match"])
        current = etag_of(JSONRenderer().render(self._shown(request).data))
        # the strong comparison: a weak tag, W/"...", matches nothing
        if wanted != ["*"] and current not in wanted:
            raise PreconditionFailed(
                _("This was changed after you read it. Read it again, then repeat your change.")
            )

    def lock(self) -> None:
        """Lock what is about to change. Raises Http404 where there is nothing."""
        if not isinstance(self, GenericViewSet):
            raise NotImplementedError(f"{type(self).__name__} has to say which rows it changes")
        lock_row(self.get_object())

    def _shown(self, request: Request) -> Response:
        """What GET would answer."""
        show: Callable[..., Response] = getattr(self, "retrieve", None) or self.get  # type: ignore[attr-defined]
        return show(request, **self.kwargs)


def lock_row(row: Model) -> None:
    """Hold `row` until the transaction ends."""
    type(row)._base_manager.select_for_update().filter(pk=row.pk).values_list("pk").first()


def _is_conditional(request: HttpRequest | Request) -> bool:
    return request.method in CHANGING and "If-Match" in request.headers
