"""The header `Idempotency-Key` on every POST under /api/, whichever view answers it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import AuthenticationFailed

from devices import idempotency
from devices.api.authentication import user_of_token
from devices.api.problems import ROOT, problem
from devices.idempotency import Claim, ClaimLost, KeyReused, UnderWay
from devices.models import IdempotentRequest

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyMiddleware:
    """Does a POST with a key once, and answers it as often as it is sent within 24 hours.

    An answer of 400 or more means that nothing was done: what was begun is rolled back, and the key is free again.
    A view whose answers hold a secret has `answers_with_secret`; they are not kept, so only that it was done is
    told. The last of MIDDLEWARE: what it keeps is what the view answered.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER)
        if given is None or request.method != "POST" or not request.path_info.startswith(ROOT):
            return self.get_response(request)
        user_id = _user_id(request)
        if user_id is None:
            # the view refuses, or needs nobody to be signed in and makes nothing that could double
            return self.get_response(request)
        # the draft's form is a string in double quotes; the common one has none
        key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
        if not _KEY.fullmatch(key):
            return problem(
                400,
                _("An Idempotency-Key is 1 to 255 printable ASCII characters, for example a UUID."),
                "invalid_idempotency_key",
            )
        try:
            found = idempotency.begin(user_id, key, _digest(request), timezone.now())
        except KeyReused:
            return problem(
                422,
                _("This Idempotency-Key stands for another request. Take a new key for a new request."),
                "idempotency_key_reused",
            )
        except UnderWay:
            return problem(
                409,
                _("The request with this Idempotency-Key is under way. Send it again in a moment."),
                "request_under_way",
                {"Retry-After": "1"},
            )
        return self._do(request, found) if isinstance(found, Claim) else _again(found)

    def _do(self, request: HttpRequest, claim: Claim) -> HttpResponseBase:
        try:
            with transaction.atomic():
                response = self.get_response(request)
                if response.status_code < 400 and isinstance(response, HttpResponse):
                    body = None if _answers_with_secret(request) else response.content.decode()
                    kind = response.get("Content-Type", "")
                    idempotency.answered(claim, response.status_code, kind, body)
                    return response
                # a file that is streamed can be had again, and is not kept
                if response.status_code >= 400:
                    transaction.set_rollback(True)
        except ClaimLost:
            return problem(
                409,
                _("The request took too long, and was taken over when it was sent again."),
                "request_under_way",
                {"Retry-After": "1"},
            )
        except BaseException:
            idempotency.give_up(claim)
            raise
        idempotency.give_up(claim)
        return response


def _again(found: IdempotentRequest) -> HttpResponse:
    if not found.is_kept:
        return problem(
            409,
            _("This was done already. Its answer held a secret, which is shown once and not kept."),
            "answer_not_kept",
            {"Idempotency-Replayed": "true"},
        )
    response = HttpResponse(found.body, status=found.status, content_type=found.content_type or None)
    response["Idempotency-Replayed"] = "true"
    return response


def _user_id(request: HttpRequest) -> int | None:
    try:
        user = user_of_token(request)
    except AuthenticationFailed:
        return None
    if user is None and isinstance(request.user, User) and request.user.is_active:
        user = request.user
    return None if user is None else user.pk


def _answers_with_secret(request: HttpRequest) -> bool:
    try:
        view: Any = resolve(request.path_info).func
    except Resolver404:
        return False
    return bool(getattr(getattr(view, "cls", None), "answers_with_secret", False))


def _digest(request: HttpRequest) -> str:
    """What makes two requests the same. Keyed, so that a stolen database does not let passwords be guessed by it."""
    hashed = hmac.new(settings.SECRET_KEY.encode(), digestmod=hashlib.sha256)
    kind = request.content_type or ""
    for part in (request.method or "", request.get_full_path(), kind):
        hashed.update(part.encode() + b"\0")
    if kind == "multipart/form-data":
        # its boundary differs each time; the files are on disk when they are large
        for name in sorted(request.POST):
            hashed.update(repr((name, request.POST.getlist(name))).encode())
        for name in sorted(request.FILES):
            for file in request.FILES.getlist(name):
                hashed.update(repr((name, file.name, file.size)).encode())
                for chunk in file.chunks():
                    hashed.update(chunk)
                file.seek(0)
        return hashed.hexdigest()
    hashed.update(_body(request))
    return hashed.hexdigest()


def _body(request: HttpRequest) -> bytes:
    """The body, left for the view to read. `request.body` would refuse more than forms may have."""
    if not hasattr(request, "_body"):
        request._body = request.read()
        request._stream = BytesIO(request._body)
    body: bytes = request._body
    return body
