"""The probe (F5): which certificate a device really serves, seen by a TLS handshake and nothing more.

A handshake sends nothing that is secret, so the probe trusts nobody and speaks to old firmware, too. Making an
SSLContext costs milliseconds, so all threads share two.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from django.utils.translation import gettext_noop

from devices.delivery.connectors.base import Endpoint
from devices.delivery.errors import Unreachable
from devices.texts import Sentence

TIMEOUT = 5.0
"""Seconds for a handshake at most, the connecting included."""

AT_ONCE = 64
"""Endpoints that one worker looks at at the same time."""

_NO_HANDSHAKE = Sentence(
    gettext_noop(
        "No TLS handshake with %(host)s, port %(port)s: %(reason)s. Check that the device is switched on, that TLS "
        "is on there, its address, and its TLS ports in the device's data."
    ),
    words=["reason"],
)
_NO_CERTIFICATE = Sentence(
    gettext_noop(
        "A certificate was expected at %(host)s, port %(port)s; the handshake showed none. Check that the port is "
        "the device's own, and its TLS settings."
    )
)
_NO_ANSWER = gettext_noop("no answer in time")
_REFUSED = gettext_noop("connection refused")


def new_context(*, allow_old_tls: bool) -> ssl.SSLContext:
    """A client's context that verifies nothing: it is for looking, or under a pin.

    With `allow_old_tls` TLS 1.0 and 1.1 with their ciphers too (deprecated by RFC 8996), for firmware that knows
    nothing newer.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if allow_old_tls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = ssl.TLSVersion.TLSv1
        made.set_ciphers("ALL:@SECLEVEL=0")
    return made


_context = cache(new_context)


def served_leaf(
    host: str, port: int, timeout: float = TIMEOUT, *, allow_old_tls: bool = True, server_name: str = ""
) -> bytes:
    """The certificate (DER) that `host` serves on `port`, one handshake long; `timeout` in seconds.

    Raises Unreachable when there is no connection, or no TLS.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as connection,
            _context(allow_old_tls=allow_old_tls).wrap_socket(
                connection, server_hostname=_asked_for(server_name)
            ) as tls,
        ):
            leaf = tls.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        raise Unreachable(_NO_HANDSHAKE(host=host, port=port, reason=_reason(error))) from error
    if leaf is None:
        raise Unreachable(_NO_CERTIFICATE(host=host, port=port))
    return leaf


def _asked_for(server_name: str) -> str | None:
    """A name for SNI; an address is never sent (RFC 6066, section 3)."""
    try:
        ipaddress.ip_address(server_name)
    except ValueError:
        return server_name or None
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _NO_ANSWER
    if isinstance(error, ConnectionRefusedError):
        return _REFUSED
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one endpoint."""

    endpoint: Endpoint
    leaf: bytes | None
    """The certificate (DER); None: nothing was seen."""
    problem: str = ""
    """Why nothing was seen."""


def look(endpoint: Endpoint, timeout: float = TIMEOUT) -> Look:
    """What `endpoint` serves. Raises nothing: not to see anything is a result."""
    try:
        leaf = served_leaf(endpoint.host, endpoint.port, timeout, server_name=endpoint.server_name)
    except Unreachable as error:
        return Look(endpoint, None, str(error))
    return Look(endpoint, leaf)


def look_at(
    endpoints: Iterable[Endpoint], timeout: float = TIMEOUT, at_once: int = AT_ONCE
) -> Iterator[Look]:
    """What each of `endpoints` serves, in their order, up to `at_once` of them at the same time."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="probe") as pool:
        yield from pool.map(lambda endpoint: look(endpoint, timeout), endpoints)
