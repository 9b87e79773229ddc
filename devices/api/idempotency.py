"""The header `Idempotency-Key` on every POST under /api/, whichever view answers it."""

from __future__ import annotations

import hashlib
import hmac
import re
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import AuthenticationFailed

from devices import idempotency
from devices.access import Limits, limits_of
from devices.api.authentication import user_of_token
from devices.api.problems import ROOT, problem
from devices.idempotency import CLAIM, CLAIM_WHILE_ASKING, Claim, ClaimLost, KeyReused, UnderWay
from devices.models import IdempotentRequest
from devices.transfer.source import LARGEST_FILE, too_large

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
LARGEST_BODY = 32 << 20
"""Bytes of a body that is no file: a list of 100,000 devices, 250 bytes each, has fewer."""

_PIECE = 1 << 16
_IN_MEMORY = 1 << 20
"""Bytes of a body beyond which it waits on disk."""


class IdempotencyMiddleware:
    """Does a POST with a key once, and answers it as often as it is sent within 24 hours.

    An answer of 400 or more means that nothing was done: what was begun is rolled back, and the key is free again.
    A view whose answers hold a secret has `answers_with_secret`; they are not kept, so only that it was done is
    told. One that asks a device has `asks_the_network`, and no transaction is open while it waits; one that takes
    files has `takes_files`. The last of
    MIDDLEWARE: what it keeps is what the view answered.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER)
        if given is None or request.method != "POST" or not request.path_info.startswith(ROOT):
            return self.get_response(request)
        user = _user(request)
        if user is None:
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
        if refusal := _too_large(request):
            return problem(413, refusal, "too_large")
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            return self._answer(request, user.pk, key, _digest(request, spool, limits_of(user)))

    def _answer(self, request: HttpRequest, user_id: int, key: str, digest: str) -> HttpResponseBase:
        claimed_for = CLAIM_WHILE_ASKING if _view_has(request, "asks_the_network") else CLAIM
        try:
            found = idempotency.begin(user_id, key, digest, timezone.now(), claimed_for=claimed_for)
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
        is_one_transaction = not _view_has(request, "asks_the_network")
        try:
            with transaction.atomic() if is_one_transaction else nullcontext():
                response = self.get_response(request)
                if response.status_code < 400 and isinstance(response, HttpResponse):
                    body = None if _view_has(request, "answers_with_secret") else response.content.decode()
                    kind = response.get("Content-Type", "")
                    idempotency.answered(claim, response.status_code, kind, body)
                    return response
                # a file that is streamed can be had again, and is not kept
                if response.status_code >= 400 and is_one_transaction:
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


def _user(request: HttpRequest) -> User | None:
    try:
        user = user_of_token(request)
    except AuthenticationFailed:
        return None
    if user is None and isinstance(request.user, User) and request.user.is_active:
        user = request.user
    return user


def _view_has(request: HttpRequest, mark: str) -> bool:
    """True when the class of the view that will answer has `mark`."""
    try:
        view: Any = resolve(request.path_info).func
    except Resolver404:
        return False
    return bool(getattr(getattr(view, "cls", None), mark, False))


def _too_large(request: HttpRequest) -> str:
    """Why the body is not read; empty when it is. Whoever may only look comes as far as this, and must not fill the
    disk: LARGEST_FILE is for views with `takes_files`."""
    given = request.META.get("CONTENT_LENGTH") or ""
    # without a length Django reads nothing
    length = int(given) if given.isdecimal() else 0
    if _view_has(request, "takes_files"):
        return str(too_large()) if length > LARGEST_FILE else ""
    if length <= LARGEST_BODY:
        return ""
    return _("A body of at most %(most)d MiB was expected; a larger one came.") % {"most": LARGEST_BODY >> 20}


def _digest(request: HttpRequest, spool: IO[bytes], limits: Limits | None = None) -> str:
    """What makes two requests the same. Keyed, so that a stolen database does not let passwords be guessed by it.

    A token of other scopes makes another request: what it may not do, it is not told either.

    Never more of the body than a piece is in memory. A form's files lie on disk when they are large; any other body
    is left in `spool`, where the view reads it.
    """
    hashed = hmac.new(settings.SECRET_KEY.encode(), digestmod=hashlib.sha256)
    kind = request.content_type or ""
    scopes = "full" if limits is None or limits.is_full else " ".join(sorted(limits.scopes))
    for part in (request.method or "", request.get_full_path(), kind, scopes):
        hashed.update(part.encode() + b"\0")
    if kind == "multipart/form-data":
        # its boundary differs each time
        for name in sorted(request.POST):
            hashed.update(repr((name, request.POST.getlist(name))).encode())
        for name in sorted(request.FILES):
            for file in request.FILES.getlist(name):
                hashed.update(repr((name, file.name, file.size)).encode())
                for chunk in file.chunks():
                    hashed.update(chunk)
                file.seek(0)
        return hashed.hexdigest()
    while piece := request.read(_PIECE):
        hashed.update(piece)
        spool.write(piece)
    spool.seek(0)
    # as if nobody had read it: `request.body` would refuse more than forms may have
    vars(request).update(_stream=spool, _read_started=False)
    return hashed.hexdigest()
