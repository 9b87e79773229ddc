"""Signing in by HTTP itself, Basic or Digest (RFC 7617, RFC 7616), as the device asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from django.utils.translation import gettext_noop
from requests.auth import HTTPDigestAuth, _basic_auth_str

from devices.delivery.connectors.http import Reply
from devices.delivery.errors import UnexpectedAnswer, WrongPassword
from devices.texts import Sentence

_WRONG_PASSWORD = Sentence(
    gettext_noop(
        "The device did not accept the user “%(user)s” with this password (HTTP status %(status)s). Correct them in "
        "the connector's settings."
    )
)
_UNKNOWN_WAY = gettext_noop(
    "The device asks for a password in a way that is not known here: Basic and Digest are. Choose the sign-in by a "
    "form in the connector's settings, if it has one."
)

Once = Callable[[dict[str, str]], Reply]
"""Sends the request with these headers besides its own."""


class HttpLogin:
    """Remembers what the device asked for; the password goes out only then."""

    def __init__(self, username: str, password: str) -> None:
        self._username, self._password = username, password
        self._basic = False
        # requests has no types for it
        self._digest: Any = None

    def __repr__(self) -> str:
        return f"<HttpLogin {self._username}>"

    def send(self, method: str, url: str, once: Once) -> Reply:
        """Send, and again with the password where the device asks for it. Raises WrongPassword, UnexpectedAnswer."""
        reply = once(self._headers(method, url))
        if reply.status != 401:
            return reply
        # a Digest's nonce may be too old: the second 401 is the refusal
        self._read(reply.headers.get("www-authenticate", ""))
        reply = once(self._headers(method, url))
        if reply.status in (401, 403):
            raise WrongPassword(_WRONG_PASSWORD(user=self._username, status=reply.status))
        return reply

    def _headers(self, method: str, url: str) -> dict[str, str]:
        if self._digest is not None:
            header = self._digest.build_digest_header(method, url)
        else:
            header = _basic_auth_str(self._username, self._password) if self._basic else None
        return {"Authorization": header} if header else {}

    def _read(self, challenge: str) -> None:
        """Take the stronger one of what the device offers."""
        offered = challenge.lower()
        if "digest" in offered:
            self._digest = HTTPDigestAuth(self._username, self._password)
            self._digest.init_per_thread_state()
            start = offered.index("digest") + len("digest ")
            self._digest._thread_local.chal = requests.utils.parse_dict_header(challenge[start:])  # type: ignore[no-untyped-call]
        elif "basic" in offered:
            self._basic = True
        else:
            raise UnexpectedAnswer(_UNKNOWN_WAY)
