"""SNMP requests to one device: SNMPv3 with authentication and privacy, or SNMPv2c where somebody chose that.

Single requests, each bounded in time. SNMPv2c sends its community in clear; SNMPv3 is used with authPriv alone
(RFC 3414). This module knows no printer: `snmp_device.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch.asyncio import (
    USM_AUTH_HMAC96_SHA,
    USM_AUTH_HMAC192_SHA256,
    USM_AUTH_HMAC384_SHA512,
    USM_PRIV_CFB128_AES,
    USM_PRIV_CFB256_AES,
    CommunityData,
    ContextData,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    Udp6TransportTarget,
    UdpTransportTarget,
    UsmUserData,
    get_cmd,
    next_cmd,
    set_cmd,
)
from pysnmp.proto import errind
from pysnmp.proto.rfc1902 import Integer32, OctetString
from pysnmp.proto.rfc1905 import EndOfMibView, NoSuchInstance, NoSuchObject

from devices.delivery.connectors.settings import Checked, Kind, Setting, SettingsInvalid, check
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceRefused,
    UnexpectedAnswer,
    Unreachable,
    WrongPassword,
)
from devices.texts import Sentence

Value = int | str
"""Of an object: numbers and times as `int`, octets and identifiers as `str`."""

Rows = dict[str, tuple[str, Value] | None]
"""By column: (index, value) of its first row, None where there is none."""

V3, V2C = "3", "2c"

_AUTHENTICATION: Mapping[str, Any] = MappingProxyType(
    {
        "SHA-256": USM_AUTH_HMAC192_SHA256,
        "SHA-512": USM_AUTH_HMAC384_SHA512,
        "SHA-1": USM_AUTH_HMAC96_SHA,
    }
)
_PRIVACY: Mapping[str, Any] = MappingProxyType(
    {"AES-128": USM_PRIV_CFB128_AES, "AES-256": USM_PRIV_CFB256_AES}
)

SHORTEST_PASSWORD = 8
"""Characters (RFC 3414 section 11.2)."""

_CANNOT_ASK = Sentence(
    gettext_noop(
        "The device's SNMP agent cannot be asked at %(host)s, port %(port)s: %(problem)s. Check the device's address "
        "and the SNMP settings."
    )
)
_WRONG_PASSWORD = Sentence(
    gettext_noop(
        "The device's SNMP agent did not accept the user “%(user)s” with its passwords and protocols: %(problem)s. "
        "Correct them in the SNMP settings, or create the user at the device with authentication and privacy."
    )
)
_SOMETHING_ELSE = Sentence(
    gettext_noop(
        "The device's SNMP agent was expected to answer; what came was: %(problem)s. Check the SNMP version and port."
    )
)
_LOST = Sentence(
    gettext_noop(
        "No answer from the device's SNMP agent at %(host)s, port %(port)s. It may have got the request all the same."
    )
)
_SILENT_V2C = Sentence(
    gettext_noop(
        "No answer from the device's SNMP agent at %(host)s, port %(port)s. Check that SNMP is on at the device, its "
        "port, and the community: a wrong one is not answered at all."
    )
)
_SILENT_V3 = Sentence(
    gettext_noop(
        "No answer from the device's SNMP agent at %(host)s, port %(port)s. Check that SNMP is on at the device, its "
        "port, and its version."
    )
)
_MAY_NOT_WRITE = Sentence(
    gettext_noop(
        "The device's SNMP agent refused (“%(status)s”). Permit this user or community to write at the device."
    )
)
_MAY_NOT_READ = Sentence(
    gettext_noop(
        "The device's SNMP agent refused (“%(status)s”). Permit this user or community to read at the device."
    )
)
_REPORTED = Sentence(
    gettext_noop(
        "The device's SNMP agent was expected to answer; it reported “%(status)s”. Check the SNMP version at the "
        "device."
    )
)

ACCESS_SCHEMA = (
    Setting(
        name="version",
        label=gettext_lazy("SNMP version"),
        choices=((V3, "SNMPv3"), (V2C, "SNMPv2c")),
        default=V3,
        help_text=gettext_lazy(
            "SNMPv3 encrypts. SNMPv2c sends its community readable for everybody on the way."
        ),
    ),
    Setting(
        name="port",
        label=gettext_lazy("SNMP port"),
        kind=Kind.NUMBER,
        minimum=1,
        maximum=65535,
        default=161,
    ),
    Setting(name="username", label=gettext_lazy("SNMPv3 user name"), max_length=32),
    Setting(
        name="auth_protocol",
        label=gettext_lazy("SNMPv3 authentication"),
        choices=tuple((name, name) for name in _AUTHENTICATION),
        default="SHA-256",
    ),
    Setting(
        name="auth_password",
        label=gettext_lazy("SNMPv3 authentication password"),
        is_secret=True,
        max_length=200,
    ),
    Setting(
        name="privacy_protocol",
        label=gettext_lazy("SNMPv3 privacy"),
        choices=tuple((name, name) for name in _PRIVACY),
        default="AES-128",
    ),
    Setting(
        name="privacy_password",
        label=gettext_lazy("SNMPv3 privacy password"),
        is_secret=True,
        max_length=200,
    ),
    Setting(name="community", label=gettext_lazy("SNMPv2c community"), is_secret=True, max_length=200),
)
"""How one may talk to a device over SNMP."""


def check_access(schema: Sequence[Setting], values: Any, *, stored_secrets: Sequence[str] = ()) -> Checked:
    """`values` by `schema`, which holds ACCESS_SCHEMA, and whether they are enough for the version that is chosen.

    Without any value nothing is wrong: SNMP is off. Raises SettingsInvalid with every problem at once.
    """
    checked = check(schema, values, stored_secrets=stored_secrets)
    given = {name for name in stored_secrets if checked.secrets.get(name) != ""} | {
        name for name, value in checked.secrets.items() if value
    }
    if not checked.plain and not given:
        return checked
    problems: dict[str, str] = {}
    if checked.plain.get("version", V3) == V2C:
        needed: tuple[str, ...] = ("community",)
    else:
        needed = ("username", "auth_password", "privacy_password")
    for name in needed:
        if name not in given and not checked.plain.get(name):
            problems[name] = _("This setting is required.")
    for name in ("auth_password", "privacy_password"):
        if 0 < len(checked.secrets.get(name, "")) < SHORTEST_PASSWORD:
            problems[name] = _("At least %(least)d characters were expected.") % {"least": SHORTEST_PASSWORD}
    if problems:
        raise SettingsInvalid(problems)
    return checked


@dataclass(frozen=True, slots=True)
class Access:
    """Where a device's agent is, and as whom it is asked."""

    host: str
    """IP address or FQDN."""
    port: int = 161
    version: str = V3
    username: str = ""
    auth_protocol: str = "SHA-256"
    privacy_protocol: str = "AES-128"
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`auth_password` and `privacy_password`, or `community`."""
    timeout: float = 2.0
    """Seconds that one try waits for its answer."""
    retries: int = 1
    """Tries after the first; UDP loses some."""

    @classmethod
    def of(cls, host: str, plain: Mapping[str, Any], secrets: Mapping[str, str]) -> Access:
        """Out of settings that `check_access` accepted."""
        known = {name: plain[name] for name in ("port", "version", "username") if name in plain}
        protocols = {name: plain[name] for name in ("auth_protocol", "privacy_protocol") if name in plain}
        return cls(host=host, secrets=secrets, **known, **protocols)

    @property
    def patience(self) -> float:
        """Seconds that one request takes at most; SNMPv3 asks for the engine first."""
        return (2 if self.version == V3 else 1) * self.timeout * (1 + self.retries)

    def credentials(self) -> Any:
        """As pysnmp wants them."""
        if self.version == V2C:
            return CommunityData(self.secrets.get("community", ""), mpModel=1)  # noqa: S508 - chosen by the administrator
        return UsmUserData(
            self.username,
            self.secrets.get("auth_password", ""),
            self.secrets.get("privacy_password", ""),
            authProtocol=_AUTHENTICATION[self.auth_protocol],
            privProtocol=_PRIVACY[self.privacy_protocol],
        )


def get(access: Access, oids: Sequence[str]) -> dict[str, Value | None]:
    """The values of `oids` by OID, None for one that the device does not have. Raises DeliveryError."""
    found = _ask(access, get_cmd, _objects(oids), sets=False)
    return {oid: value for oid, (_name, value) in zip(oids, found, strict=True)}


def first_rows(access: Access, columns: Sequence[str]) -> Rows:
    """The first row of each of `columns`, as (index, value); None where the device has none. Raises DeliveryError.

    One round trip: rows of printers are numbered by hrDeviceIndex, which differs from device to device.
    """
    return _rows(columns, _ask(access, next_cmd, _objects(columns), sets=False))


async def first_rows_with(engine: Any, access: Access, columns: Sequence[str]) -> Rows:
    """The same over an engine that is there already, which `snmp_many` keeps."""
    return _rows(columns, await _asked(engine, access, next_cmd, _objects(columns), sets=False))


def _objects(columns: Sequence[str]) -> list[Any]:
    return [ObjectType(ObjectIdentity(column)) for column in columns]


def _rows(columns: Sequence[str], found: Sequence[tuple[str, Value | None]]) -> Rows:
    rows: Rows = {}
    for column, (name, value) in zip(columns, found, strict=True):
        inside = name.startswith(f"{column}.") and value is not None
        rows[column] = (name[len(column) + 1 :], value) if inside and value is not None else None
    return rows


def set_number(access: Access, oid: str, value: int) -> None:
    """SET an INTEGER. Raises ConnectionLost when no answer came: the device may have done it all the same."""
    _ask(access, set_cmd, [ObjectType(ObjectIdentity(oid), Integer32(value))], sets=True)


_Command = Callable[..., Awaitable[Any]]


def _ask(
    access: Access, command: _Command, objects: list[Any], *, sets: bool
) -> list[tuple[str, Value | None]]:
    async def with_an_engine_of_its_own() -> list[tuple[str, Value | None]]:
        engine = SnmpEngine()
        try:
            return await _asked(engine, access, command, objects, sets=sets)
        finally:
            engine.close_dispatcher()

    return asyncio.run(with_an_engine_of_its_own())


def _name(error: Exception) -> str:
    # pysnmp's texts may quote what it was given
    return type(error).__name__


async def _asked(
    engine: Any, access: Access, command: _Command, objects: list[Any], *, sets: bool
) -> list[tuple[str, Value | None]]:
    kind = Udp6TransportTarget if ":" in access.host else UdpTransportTarget
    try:
        transport = await kind.create(
            (access.host, access.port), timeout=access.timeout, retries=access.retries
        )
        request = command(engine, access.credentials(), transport, ContextData(), *objects, lookupMib=False)
        problem, status, _index, found = await asyncio.wait_for(request, access.patience + 1)
    except TimeoutError as error:
        raise _silent(access, sets=sets) from error
    except (PySnmpError, OSError) as error:
        text = _CANNOT_ASK(host=access.host, port=access.port, problem=_name(error))
        raise Unreachable(text) from error
    if problem:
        raise _no_answer(access, problem, sets=sets)
    if status:
        raise _refusal(str(status.prettyPrint()), sets=sets)
    return [(str(name), _value(value)) for name, value in found]


def _value(value: Any) -> Value | None:
    match value:
        case NoSuchObject() | NoSuchInstance() | EndOfMibView():
            return None
        case OctetString():
            return bytes(value).decode("utf-8", "replace").strip("\0 \r\n\t")
    try:
        return int(value)
    except (TypeError, ValueError):
        return str(value.prettyPrint())


_WRONG = (
    errind.WrongDigest,
    errind.AuthenticationFailure,
    errind.UnknownUserName,
    errind.DecryptionError,
    errind.UnsupportedSecurityLevel,
    errind.UnsupportedAuthProtocol,
    errind.UnsupportedPrivProtocol,
)


def _no_answer(access: Access, problem: Any, *, sets: bool) -> DeliveryError:
    if isinstance(problem, _WRONG):
        return WrongPassword(_WRONG_PASSWORD(user=access.username, problem=problem))
    if isinstance(problem, errind.RequestTimedOut):
        return _silent(access, sets=sets)
    return UnexpectedAnswer(_SOMETHING_ELSE(problem=problem))


def _silent(access: Access, *, sets: bool) -> DeliveryError:
    if sets:
        return ConnectionLost(_LOST(host=access.host, port=access.port))
    text = _SILENT_V2C if access.version == V2C else _SILENT_V3
    return Unreachable(text(host=access.host, port=access.port))


def _refusal(status: str, *, sets: bool) -> DeliveryError:
    if sets or status in ("noAccess", "authorizationError"):
        return DeviceRefused((_MAY_NOT_WRITE if sets else _MAY_NOT_READ)(status=status))
    return UnexpectedAnswer(_REPORTED(status=status))
