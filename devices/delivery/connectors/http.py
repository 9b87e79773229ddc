"""One HTTP request to a device, bounded in time and size, with errors that say whether it may have arrived.

Each request has a connection of its own: devices' web servers are small and drop idle connections, and a request
on a connection that was dropped meanwhile could not be told from one that arrived.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3
from django.utils.translation import gettext_noop

from devices.delivery.errors import ConnectionLost, UnexpectedAnswer, Unreachable, WrongFingerprint
from devices.texts import Sentence
from scep.transport import answer_by, new_session

MAX_SIZE = 256 * 1024
"""Bytes of an answer at most."""

_CHUNK = 16 * 1024

_NO_JSON = Sentence(
    gettext_noop(
        "The device was expected to answer with a JSON object; it answered with HTTP status %(status)s and something "
        "else. Check the address in its connector's settings."
    )
)
_CHANGED = gettext_noop(
    "The device's certificate has changed since it was looked at a moment ago. Nothing was sent; try again."
)
_NO_CONNECTION_IN_TIME = Sentence(
    gettext_noop(
        "No connection to the device within %(seconds)s s. Check that it is switched on, its address, and firewalls "
        "in between."
    )
)
_NO_CONNECTION = gettext_noop(
    "No connection to the device. Check that it is switched on, and the address in its connector's settings."
)
_NO_WHOLE_ANSWER = Sentence(
    gettext_noop(
        "The device took the connection and gave no whole answer within %(seconds)s s. It may have got the request "
        "all the same."
    )
)
_BROKE = gettext_noop(
    "The connection to the device broke before it had answered. It may have got the request all the same."
)
_TOO_LONG = Sentence(
    gettext_noop(
        "The device was expected to answer with at most %(most)s bytes; more came. Check the address in its "
        "connector's settings."
    )
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A device's answer, complete."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name, in any case."""

    def json(self) -> Mapping[str, Any]:
        """The JSON object that was expected. Raises UnexpectedAnswer."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UnexpectedAnswer(_NO_JSON(status=self.status))
        return found


def ask(
    method: str,
    url: str,
    *,
    connect_timeout: float,
    read_timeout: float,
    session: requests.Session | None = None,
    **content: Any,
) -> Reply:
    """Send one request and read the answer; redirects are not followed.

    `connect_timeout` in seconds bounds the connecting, both together the whole, slow headers and bodies included.
    `session` is one from `tls.pinned_session`, which keeps its cookies; `content` is what requests takes: `data`,
    `files`, `json`, `auth`, `headers`.
    Raises Unreachable when nothing was sent, ConnectionLost when it may have arrived, UnexpectedAnswer, and
    WrongFingerprint when the pinned certificate changed meanwhile.
    """
    deadline = time.monotonic() + connect_timeout + read_timeout
    answer_by(deadline)
    # leaving the block closes the connections; a session that was given goes on with new ones, its cookies kept
    with session or new_session() as session:
        session.headers["Connection"] = "close"
        try:
            with session.request(
                method,
                url,
                timeout=(connect_timeout, read_timeout),
                allow_redirects=False,
                stream=True,
                **content,
            ) as response:
                body = _read(response, deadline, connect_timeout + read_timeout)
                return Reply(response.status_code, body, response.headers)
        except requests.exceptions.SSLError as error:
            if "ingerprint" in str(error):
                raise WrongFingerprint(_CHANGED) from error
            raise _lost(deadline, connect_timeout + read_timeout, error) from error
        except requests.ConnectTimeout as error:
            raise Unreachable(_NO_CONNECTION_IN_TIME(seconds=f"{connect_timeout:g}")) from error
        except requests.ConnectionError as error:
            if _never_connected(error):
                raise Unreachable(_NO_CONNECTION) from error
            raise _lost(deadline, connect_timeout + read_timeout, error) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _lost(deadline, connect_timeout + read_timeout, error) from error


def _never_connected(error: requests.ConnectionError) -> bool:
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _lost(deadline: float, seconds: float, error: Exception | None = None) -> ConnectionLost:
    """What is to be said of `error`: a device that was silent is another matter than a connection that broke."""
    is_late = isinstance(error, requests.Timeout) or time.monotonic() >= deadline
    return ConnectionLost(_NO_WHOLE_ANSWER(seconds=f"{seconds:g}") if is_late else _BROKE)


def _read(response: requests.Response, deadline: float, seconds: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    # read1 returns what has come; iter_content would wait until its chunk is full, however slowly it fills
    while part := response.raw.read1(_CHUNK, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_SIZE:
            raise UnexpectedAnswer(_TOO_LONG(most=MAX_SIZE))
        if time.monotonic() > deadline:
            raise _lost(deadline, seconds)
    return b"".join(parts)
