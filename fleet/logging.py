"""Request IDs: every log line written while a web request is served says which one."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AddIds(logging.Filter):
    """Adds `request_id` to each record. Other IDs come with the record's `extra`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if request_id := _request_id.get():
            record.request_id = request_id
        return True


class RequestIdMiddleware:
    """Takes X-Request-ID from the proxy or draws one, and sends it back with the response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        # a proxy's ID goes into logs and a header: nothing but plain characters
        request_id = given if _ACCEPTED.fullmatch(given) else uuid.uuid4().hex
        token = _request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            _request_id.reset(token)
        response["X-Request-ID"] = request_id
        return response
