"""How devices take a key over their web pages, written down as data: profiles of the connector `http_upload`.

The built-in ones lie as TOML in `profiles/`. Each is a list of steps: pages to get, from which names and values of
fields are discovered, and forms to send. Nothing here talks to anybody.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

NOT_TRIED = gettext_lazy("built from public reports, not tried on hardware")

_FOLDER = Path(__file__).parent / "profiles"


class ProfileInvalid(Exception):
    """A profile that does not follow the format: the file, the entry, and what was expected."""


class Value(StrEnum):
    """Where the value of a part comes from."""

    TEXT = "text"
    """As it stands in `text`."""
    PAGE = "page"
    """What the field of that name holds on the last page: CSRF and session tokens."""
    USERNAME = "username"
    PASSWORD = "password"  # noqa: S105 - the name of a source
    NEW = "new"
    """The number that the second captured list has and the first has not; or the one under which the device has the
    certificate already."""
    NUMBER = "number"
    """The number of the certificate that is deleted."""
    CERTIFICATE = "certificate"
    """PEM, the device's own alone."""
    CERTIFICATE_AND_CHAIN = "certificate_and_chain"
    CHAIN_1 = "chain_1"
    CHAIN_2 = "chain_2"
    """PEM, the first and second CA certificate; the part is left out when there is none."""
    KEY = "key"
    """PEM, PKCS #8, not encrypted."""
    PKCS12 = "pkcs12"
    PKCS12_LEGACY = "pkcs12_legacy"
    """With 3DES and SHA-1, for devices that read nothing newer."""
    PKCS12_PASSWORD = "pkcs12_password"  # noqa: S105 - the name of a source
    """Drawn for this one upload."""


FILES = frozenset(
    {
        Value.CERTIFICATE,
        Value.CERTIFICATE_AND_CHAIN,
        Value.CHAIN_1,
        Value.CHAIN_2,
        Value.KEY,
        Value.PKCS12,
        Value.PKCS12_LEGACY,
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form that is sent; parts go out in the order in which they stand."""

    value: Value
    name: str = ""
    name_of: str = ""
    """Instead of a name: the type (`password`, `file`, `select`) of the field of the last page whose name it is."""
    text: str = ""
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    name: str
    """For people, in messages."""
    path: str
    method: str = "GET"
    encoding: str = "multipart"
    """Of a POST: `multipart` or `form` (application/x-www-form-urlencoded)."""
    parts: tuple[Part, ...] = ()
    hidden: bool = False
    """Sends the hidden fields of the last page before the parts."""
    needs: tuple[str, ...] = ()
    """Names of fields that the page must have."""
    needs_type: tuple[str, ...] = ()
    """Types of fields that the page must have."""
    needs_cookie: str = ""
    signs_in: bool = False
    changes: bool = False
    """It changes something on the device, or comes after what does: a self-test ends before it."""
    unless_there: bool = False
    """Left out where the device's list has the certificate already: an earlier try got as far."""
    optional: bool = False
    """An answer that does not come, or is an error, is no failure."""
    success_status: tuple[int, ...] = ()
    success: str = ""
    """A pattern in the answer. One of the two is enough; without both, any status below 400."""
    error: str = ""
    """A pattern; its group is what the device said was wrong."""
    capture: str = ""
    capture_as: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Where a device lists its certificates, each under a number of its own."""

    path: str
    number: str
    """A pattern in that page; its group is the number."""
    view: str
    """The path of the page about one of them: `{number}` stands for its number."""
    serial: str
    """A pattern in that page; its group is the serial number (RFC 5280 section 4.1.2.2) in hexadecimal."""
    in_use: str = ""
    """The path of a page with a select of these numbers: the one that is selected is in use."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kind of device takes a key."""

    label: str
    steps: tuple[Step, ...]
    listing: Listing | None = None
    removal: tuple[Step, ...] = ()
    """How a certificate is deleted with its key: after signing in, with `{number}` in paths. Wants `listing`."""
    login: str = "none"
    """`none`, `http` (Basic or Digest, as the device asks), `form` (a step that `signs_in`)."""
    login_page: str = ""
    """With `http`: what is got first, so that the device asks."""
    rsa_only: bool = False
    leaf_only: bool = False
    """The PKCS #12 holds no CA certificates."""
    most_bytes: int = 0
    """That the device takes as one file; 0: not known."""
    settle_seconds: int = 0
    """How long it takes until the certificate is served, as reported."""
    tried_on_hardware: bool = False

    @property
    def signing_in(self) -> tuple[Step, ...]:
        """The steps up to the one that signs in."""
        ends = max((at for at, step in enumerate(self.steps, 1) if step.signs_in), default=0)
        return self.steps[:ends]


_ENCODINGS, _LOGINS, _METHODS = ("multipart", "form"), ("none", "http", "form"), ("GET", "POST")


def parse(text: str, *, name: str) -> Profile:
    """The profile in TOML. Raises ProfileInvalid, naming the entry."""
    try:
        found = tomllib.loads(text)
        steps, removal = (
            tuple(_step(name, each) for each in found.pop(key, ())) for key in ("step", "removal")
        )
        listing = _listing(name, found.pop("listing", None))
        profile = Profile(steps=steps, listing=listing, removal=removal, **_only(Profile, found, name))
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ProfileInvalid(f"{name}: {error}") from error
    if not steps or not any(step.changes for step in steps):
        raise ProfileInvalid(f"{name}: at least one [[step]] with changes = true was expected")
    if profile.login not in _LOGINS:
        raise ProfileInvalid(f"{name}: login is one of {', '.join(_LOGINS)}, not {profile.login!r}")
    if profile.login == "form" and not any(step.signs_in for step in steps):
        raise ProfileInvalid(f"{name}: login = form wants a step with signs_in = true")
    if removal and (listing is None or not any(step.changes for step in removal)):
        raise ProfileInvalid(f"{name}: [[removal]] wants [listing], and a step with changes = true")
    return profile


def _listing(name: str, entry: Mapping[str, Any] | None) -> Listing | None:
    if entry is None:
        return None
    where = f"{name}, listing"
    listing = Listing(**_only(Listing, entry, where))
    for pattern in (listing.number, listing.serial):
        _check_pattern(where, pattern, groups=1)
    if "{number}" not in listing.view:
        raise ProfileInvalid(f"{where}: view was expected to hold {{number}}")
    return listing


def _check_pattern(where: str, pattern: str, *, groups: int | None) -> None:
    """`groups` None: any number of them."""
    try:
        found = re.compile(pattern).groups
    except re.error as error:
        raise ProfileInvalid(f"{where}: {pattern!r} is no pattern: {error}") from error
    if groups is not None and found != groups:
        raise ProfileInvalid(f"{where}: {pattern!r} was expected to have one group")


def _step(name: str, entry: Mapping[str, Any]) -> Step:
    where = f"{name}, step {entry.get('name', '?')!r}"
    values = dict(_only(Step, entry, where))
    values["parts"] = tuple(_part(where, part) for part in values.get("parts", ()))
    for key in ("needs", "needs_type", "success_status"):
        values[key] = tuple(values.get(key, ()))
    step = Step(**values)
    _check_pattern(where, step.success, groups=None)
    for pattern in (step.error, step.capture):
        if pattern:
            _check_pattern(where, pattern, groups=1)
    if step.method not in _METHODS or step.encoding not in _ENCODINGS or not step.path.startswith("/"):
        raise ProfileInvalid(
            f"{where}: method GET or POST, encoding multipart or form, and a path were expected"
        )
    return step


def _part(where: str, entry: Mapping[str, Any]) -> Part:
    values = dict(_only(Part, entry, where))
    values["value"] = Value(values.get("value", ""))
    part = Part(**values)
    if bool(part.name) == bool(part.name_of):
        raise ProfileInvalid(f"{where}: a part has either name or name_of")
    return part


def _only(kind: type[Any], entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    known = {each.name for each in fields(kind)}
    if unknown := set(entry) - known:
        raise ProfileInvalid(
            f"{where}: unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
        )
    return entry


@cache
def built_in() -> Mapping[str, Profile]:
    """Every profile of this package, by the name of its file."""
    return MappingProxyType(
        {path.stem: parse(path.read_text(), name=path.name) for path in sorted(_FOLDER.glob("*.toml"))}
    )


def label_of(profile: Profile) -> Any:
    """For people, with what is not known about it."""
    if profile.tried_on_hardware:
        return profile.label
    return format_lazy("{label} ({note})", label=profile.label, note=NOT_TRIED)
