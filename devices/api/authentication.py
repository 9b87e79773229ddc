"""Who calls: `Authorization: Token ...`, or `Bearer ...` (RFC 6750)."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from devices import access, tokens
from devices.access import Limits

SCHEMES = ("Token", "Bearer")


def token_in(request: HttpRequest | Request) -> str | None:
    """The token that the request carries, or None. Raises AuthenticationFailed for one that cannot be read."""
    scheme, _space, token = get_authorization_header(request).partition(b" ")  # type: ignore[arg-type]
    if scheme.decode("latin-1").capitalize() not in SCHEMES:
        return None
    try:
        return token.strip().decode("ascii")
    except UnicodeDecodeError:
        raise AuthenticationFailed(_("The token is unknown, has expired, or was revoked.")) from None


def user_of_token(request: HttpRequest | Request) -> User | None:
    """The user of the request's token, or None without one. Raises AuthenticationFailed."""
    token = token_in(request)
    if token is None:
        return None
    user = tokens.user_of(token, timezone.now())
    if user is None:
        raise AuthenticationFailed(_("The token is unknown, has expired, or was revoked."))
    return user


class TokenAuthentication(BaseAuthentication):
    """API tokens. `request.auth` is their `Limits`."""

    def authenticate(self, request: Request) -> tuple[User, Limits | None] | None:
        """User and limits; None for others to try. Raises AuthenticationFailed."""
        user = user_of_token(request)
        return None if user is None else (user, access.limits_of(user))

    def authenticate_header(self, request: Request) -> str:
        """What makes a refusal a 401."""
        return ", ".join(SCHEMES)
