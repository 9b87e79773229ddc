"""Problem details (RFC 9457): the one shape of every error under /api/.

Views raise, and `devices.api.errors.handle` answers. What never reaches a view (an address that nobody knows, a
crash, what Django itself refuses) gets the same shape from `ProblemMiddleware`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions

CONTENT_TYPE = "application/problem+json"

ROOT = "/api/"
"""Under this address every error has this shape."""


class PreconditionFailed(exceptions.APIException):
    """If-Match names another version than the one that is stored (RFC 9110 section 13.1.1)."""

    status_code = HTTPStatus.PRECONDITION_FAILED
    default_code = "precondition_failed"


class Unparsable(exceptions.ParseError):
    """A body that is not the JSON that was expected; `line` and `column` count from 1."""

    def __init__(self, detail: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(detail)
        self.place = {} if line is None else {"line": line, "column": column}


def body(status: int, detail: str, code: str) -> dict[str, Any]:
    """The members that every problem has."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }


def problem(status: int, detail: str, code: str, headers: dict[str, str] | None = None) -> HttpResponse:
    """A problem from outside the views, for middleware."""
    return JsonResponse(body(status, detail, code), status=status, content_type=CONTENT_TYPE, headers=headers)


class ProblemMiddleware:
    """Makes problem details of those errors under /api/ that no view answered. They tell nothing of the inside.

    With FLEETSEAL_DEBUG a crash keeps Django's page about it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        status = response.status_code
        if status < 400 or not request.path_info.startswith(ROOT):
            return response
        if response.get("Content-Type", "") == CONTENT_TYPE or (settings.DEBUG and status >= 500):
            return response
        told = problem(status, *_words(status))
        if not isinstance(response, HttpResponse):
            return told
        # in place: what other middleware put into the headers stays
        response.content, response["Content-Type"] = told.content, CONTENT_TYPE
        return response


def _words(status: int) -> tuple[str, str]:
    """Detail and code of an error of which nothing but the status is known."""
    match status:
        case 404:
            return _("There is nothing at this address; /api/v1/schema/ lists those that exist."), "not_found"
        case 403:
            return _("This is refused."), "permission_denied"
        case 400 | 413:
            return _("The request cannot be read."), "bad_request"
    if status >= 500:
        return _("An error of Fleetseal itself; see the log of the web process."), "server_error"
    phrase = HTTPStatus(status).phrase
    return phrase, phrase.lower().replace(" ", "_")
