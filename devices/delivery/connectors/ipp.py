"""IPP, as little as is needed: Get-Printer-Attributes (RFC 8010, RFC 8011 section 4.2.5) over HTTP or HTTPS.

Nothing secret is sent and nothing that comes back is trusted with anything, so the certificate is not verified:
this must also work for a device that has none yet.
"""

from __future__ import annotations

import http.client
import ssl
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from django.utils.translation import gettext_noop

from devices.delivery.connectors import identity
from devices.delivery.connectors.base import Activity, Identity
from devices.delivery.errors import ConnectionLost, UnexpectedAnswer, Unreachable
from devices.texts import Sentence
from scep.transport import TimedResponse, answer_by

MAX_SIZE = 256 * 1024
"""Bytes of an answer at most."""

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 7.0
PATIENCE = 4 * (CONNECT_TIMEOUT + READ_TIMEOUT)
"""Seconds that `attributes` takes at most: two paths, each over HTTP and HTTPS."""

PATHS = ("/ipp/print", "/")
"""The one of IPP Everywhere, and the one of old devices."""

_GET_PRINTER_ATTRIBUTES = 0x000B
_END, _CHARSET, _LANGUAGE, _URI, _KEYWORD = 0x03, 0x47, 0x48, 0x45, 0x44
_OPERATION_GROUP, _PRINTER_GROUP = 0x01, 0x04
_NUMBERS = (0x21, 0x23)
"""integer, enum"""
_BOOLEAN = 0x22
_TEXTS = range(0x40, 0x60)
_TEXT_WITH_LANGUAGE = (0x35, 0x36)
_REQUEST_ID = 1

IDENTITY_ATTRIBUTES = (
    "printer-make-and-model",
    "printer-device-id",
    "printer-serial-number",
    "printer-firmware-string-version",
    "printer-state",
    "printer-info",
)

Attributes = Mapping[str, Sequence[int | str]]

_NO_IPP = Sentence(
    gettext_noop(
        "The device was expected to answer over IPP with its attributes; what came was %(answer)s. Check the port, "
        "and that IPP is on at the device."
    ),
    words=["answer"],
)
_SOMETHING_ELSE = gettext_noop("something that is no IPP response")
_NOTHING = gettext_noop("nothing")
_NO_WHOLE_ANSWER = Sentence(
    gettext_noop(
        "The device took the connection at %(address)s and gave no whole answer over IPP. Check the port; a device "
        "that is just starting answers in a while."
    )
)
_NO_CONNECTION = Sentence(
    gettext_noop(
        "No connection to the device at %(address)s. Check that it is switched on, its address, and that IPP is on "
        "at the device."
    )
)


def request(uri: str, wanted: Sequence[str]) -> bytes:
    """A Get-Printer-Attributes request for the printer `uri`."""
    parts = [
        struct.pack(">BBHI", 1, 1, _GET_PRINTER_ATTRIBUTES, _REQUEST_ID),
        bytes([_OPERATION_GROUP]),
        _attribute(_CHARSET, "attributes-charset", "utf-8"),
        _attribute(_LANGUAGE, "attributes-natural-language", "en"),
        _attribute(_URI, "printer-uri", uri),
    ]
    for number, name in enumerate(wanted):
        parts.append(_attribute(_KEYWORD, "" if number else "requested-attributes", name))
    return b"".join([*parts, bytes([_END])])


def _attribute(tag: int, name: str, value: str) -> bytes:
    octets = value.encode()
    return struct.pack(f">BH{len(name)}sH", tag, len(name), name.encode(), len(octets)) + octets


def response(body: bytes) -> dict[str, list[int | str]]:
    """The printer's attributes in an IPP response. Raises UnexpectedAnswer for anything else, or an error."""
    try:
        _major, _minor, status, _id = struct.unpack_from(">BBHI", body)
        found = dict(_printer_attributes(body, 8))
    except (struct.error, IndexError, UnicodeDecodeError):
        raise _no_ipp(_SOMETHING_ELSE) from None
    if status >= 0x0100:
        raise _no_ipp(f"IPP status 0x{status:04x}")
    return found


def _printer_attributes(body: bytes, at: int) -> Iterator[tuple[str, list[int | str]]]:
    group = 0
    values: list[int | str] = []
    while (tag := body[at]) != _END:
        at += 1
        if tag < 0x10:
            group = tag
            continue
        name, at = _octets(body, at)
        octets, at = _octets(body, at)
        value = _value(tag, octets)
        if name:
            values = [] if value is None else [value]
            if group == _PRINTER_GROUP:
                yield name.decode(), values
        elif value is not None:
            values.append(value)


def _octets(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">H", body, at)
    end = at + 2 + length
    if end > len(body):
        raise IndexError
    return body[at + 2 : end], end


def _value(tag: int, octets: bytes) -> int | str | None:
    """None for a value of a kind that nobody here asks for."""
    if tag in _NUMBERS:
        number: int = struct.unpack(">i", octets)[0]
        return number
    if tag == _BOOLEAN:
        return octets[0]
    if tag in _TEXT_WITH_LANGUAGE:
        _language, at = _octets(octets, 0)
        return _octets(octets, at)[0].decode("utf-8", "replace")
    return octets.decode("utf-8", "replace") if tag in _TEXTS else None


def _no_ipp(what: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(_NO_IPP(answer=what))


# --- asking -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = CONNECT_TIMEOUT
    read: float = READ_TIMEOUT


def attributes(
    host: str, port: int, wanted: Sequence[str] = IDENTITY_ATTRIBUTES, *, timeouts: Timeouts | None = None
) -> Attributes:
    """The printer's attributes. Raises Unreachable, ConnectionLost, UnexpectedAnswer."""
    timeouts = timeouts or Timeouts()
    problem: UnexpectedAnswer | ConnectionLost | None = None
    for path in PATHS:
        for tls in (False, True):
            try:
                return response(_post(host, port, path, wanted, tls=tls, timeouts=timeouts))
            except (UnexpectedAnswer, ConnectionLost) as error:
                problem = error
    raise problem or _no_ipp(_NOTHING)


def activity(host: str, port: int) -> Activity:
    """printer-state: idle(3), processing(4), stopped(5). Raises as `attributes` does."""
    match attributes(host, port, ("printer-state",)).get("printer-state"):
        case [4]:
            return Activity.BUSY
        case [3 | 5]:  # one that is stopped does not get worse by a restart
            return Activity.IDLE
    return Activity.UNKNOWN


def identity_of(found: Attributes) -> Identity:
    """Vendor, model, serial number and firmware, as far as the attributes tell them."""

    def text(name: str) -> str:
        return str(next(iter(found.get(name, ())), ""))

    by_id = identity.of_device_id(text("printer-device-id"))
    vendor, model = identity.vendor_and_model(text("printer-make-and-model"), by_id.vendor)
    told = Identity(vendor, model, text("printer-serial-number"), text("printer-firmware-string-version"))
    return identity.plain(identity.merged(by_id, told))


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _post(host: str, port: int, path: str, wanted: Sequence[str], *, tls: bool, timeouts: Timeouts) -> bytes:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    answer_by(time.monotonic() + timeouts.connect + timeouts.read)
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(host, port, timeout=timeouts.connect, context=_unverified())
        if tls
        else http.client.HTTPConnection(host, port, timeout=timeouts.connect)
    )
    connection.response_class = TimedResponse
    try:
        _connect(connection, authority)
        connection.request(
            "POST",
            path,
            request(f"{'ipps' if tls else 'ipp'}://{authority}{path}", wanted),
            {"Content-Type": "application/ipp", "Connection": "close", "User-Agent": "Fleetseal"},
        )
        answer = connection.getresponse()
        body = answer.read(MAX_SIZE + 1)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(_NO_WHOLE_ANSWER(address=authority)) from error
    finally:
        connection.close()
    if answer.status != 200 or len(body) > MAX_SIZE:
        raise _no_ipp(f"HTTP status {answer.status}, {len(body)} B")
    return body


def _connect(connection: http.client.HTTPConnection, authority: str) -> None:
    try:
        connection.connect()
    except ssl.SSLError:
        raise
    except OSError as error:
        raise Unreachable(_NO_CONNECTION(address=authority)) from error
