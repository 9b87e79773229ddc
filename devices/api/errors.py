"""One error shape for everything: problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from devices.api.problems import CONTENT_TYPE, Unparsable, body
from devices.errors import Conflict


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """The response to `error`; None for what is our own fault (HTTP 500, without details).

    Body: `type`, `title`, `status`, `detail`, `code`, and for bad input `errors`: `{field: [messages]}`, in a list
    of rows `{"<index>": ...}`.
    """
    if isinstance(error, Conflict):
        return _response(body(409, str(error), error.code))
    if isinstance(error, DataError):
        # services change all or nothing, so nothing was changed
        told = body(
            400, _("A value is outside of what the database can hold. Nothing was changed."), "invalid"
        )
        return _response(told)
    if isinstance(error, ModelValidationError):
        error = exceptions.ValidationError(_messages(error))
    response = exception_handler(error, context)
    if response is None:
        return None
    errors = None
    if isinstance(error, exceptions.ValidationError):
        code: Any = "invalid"
        detail = _("The request has errors; see “errors”. Nothing was changed.")
        errors = _by_field(error.detail)
    elif isinstance(error, exceptions.APIException):
        code, detail = error.get_codes(), str(error.detail)
    else:  # Django's own 404 and 403
        code = "not_found" if response.status_code == 404 else "permission_denied"
        detail = str(error) or HTTPStatus(response.status_code).phrase
    told = body(response.status_code, detail, str(code))
    if errors is not None:
        told["errors"] = errors
    if isinstance(error, Unparsable):
        told |= error.place
    problem = _response(told)
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in response:
            problem[header] = response[header]
    return problem


def _response(told: dict[str, Any]) -> Response:
    return Response(told, status=told["status"], content_type=CONTENT_TYPE)


def _messages(error: ModelValidationError) -> dict[str, list[str]]:
    if not hasattr(error, "error_dict"):
        return {api_settings.NON_FIELD_ERRORS_KEY: error.messages}
    return {
        api_settings.NON_FIELD_ERRORS_KEY if name == NON_FIELD_ERRORS else name: messages
        for name, messages in error.message_dict.items()
    }


def _by_field(detail: Any) -> Any:
    """The rows of a list that have errors by their index, and a lone message under its key."""
    if not isinstance(detail, list):
        return detail
    if any(isinstance(row, dict) for row in detail):
        return {str(index): row for index, row in enumerate(detail) if row}
    return {api_settings.NON_FIELD_ERRORS_KEY: detail}
