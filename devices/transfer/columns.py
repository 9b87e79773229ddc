"""The one list of columns: for CSV, XML, their templates, the documents and the messages (R19).

Names are the API's. A field that joins DEVICE_FIELDS or SETTINGS_FIELDS is a column of every file by itself; its
kind comes from the model. Cells are text: `Column.read` takes them as people and spreadsheets write them,
`Column.write` gives them the one spelling that a file of ours has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.enrollment.requests import SETTINGS_FIELDS
from devices.inventory import DEVICE_FIELDS
from devices.models import Device, ScepSettings
from devices.models.choices import spelled
from devices.models.device import default_tls_ports

SET_NAME = gettext_lazy("Settings/Registration Basic Information")
"""The manual's name of what these files hold."""

LONGEST_CELL = 20_000
"""Characters; a device's longest list of IPSec destinations has far fewer."""


class Kind(StrEnum):
    """What a column's cells hold."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    MOMENT = "moment"
    """A date and time; without an offset it is in the time zone of the device's group."""
    LIST = "list"
    """Names, one per line, or as a JSON list."""
    NUMBERS = "numbers"
    """Whole numbers, with commas between them, or as a JSON list."""
    REFERENCE = "reference"
    """Something else by its name."""
    OBJECT = "object"
    """Named values, as a JSON object."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of every file."""

    name: str
    model: type[models.Model]
    kind: Kind
    required: bool = False
    """True when a new device must have it."""
    clearable: bool = True
    """True when an empty cell empties it; else an empty cell leaves it as it is, and a new device has the default."""
    secret: bool = False
    """True when it is in encrypted files only."""
    choices: tuple[tuple[Any, Any], ...] = ()

    @property
    def of_settings(self) -> bool:
        """True for a SCEP setting, which administrators alone change (R1)."""
        return self.model is ScepSettings

    @property
    def label(self) -> str:
        """The manual's label, for people."""
        if self is CONNECTOR_SECRETS:
            return _("Secret settings of the connector")
        if self.secret:
            return _("Challenge Password")
        return str(getattr(self.model._meta.get_field(self.name), "verbose_name", self.name))

    @property
    def help(self) -> str:
        """What may stand in it, for people."""
        if self.choices:
            return ", ".join(str(value) for value, _label in self.choices)
        field = None if self.secret else self.model._meta.get_field(self.name)
        return str(getattr(field, "help_text", ""))

    def read(self, cell: str) -> Any:
        """The value of a cell that is not empty; a reference is its name still. Raises ValidationError."""
        if len(cell) > LONGEST_CELL:
            raise ValidationError(_("This is too long for a cell: more than %d characters.") % LONGEST_CELL)
        if "\0" in cell:
            raise ValidationError(_("Null characters are not allowed."))
        match self.kind:
            case Kind.INTEGER:
                return _integer(cell)
            case Kind.BOOLEAN:
                return _boolean(cell)
            case Kind.CHOICE:
                return _exactly(self.choices, cell) or _choice(self.choices, cell)
            case Kind.MOMENT:
                return _moment(cell)
            case Kind.LIST:
                return _list(cell)
            case Kind.NUMBERS:
                return _numbers(cell)
            case Kind.OBJECT:
                return _object(cell)
        return cell

    @property
    def empty(self) -> Any:
        """The value of an empty cell, where `clearable`."""
        match self.kind:
            case Kind.LIST:
                return []
            case Kind.OBJECT:
                return {}
            case Kind.TEXT | Kind.CHOICE:
                return ""
        return None

    def write(self, value: Any) -> str:
        """The cell of a value; a reference comes as its name. `read` takes it back; the empty cell is `empty`."""
        if value is None:
            return ""
        match self.kind:
            case Kind.BOOLEAN:
                return "true" if value else "false"
            case Kind.MOMENT:
                return as_iso(value)
            case Kind.LIST:
                return _written_list(value)
            case Kind.NUMBERS:
                return ", ".join(map(str, value))
            case Kind.OBJECT:
                return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
        return str(value)


def as_iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second, for example 2027-01-11T07:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- cells as people and spreadsheets write them -----------------------------------------------------------

_WORDS: Mapping[str, bool] = MappingProxyType(
    {
        # spreadsheets write TRUE and FALSE in the language of whoever saves
        **dict.fromkeys(("true", "yes", "on", "1", "wahr", "verdadeiro", "vrai", "verdadero", "vero"), True),
        **dict.fromkeys(("false", "no", "off", "0", "falsch", "falso", "faux"), False),
    }
)
_WHOLE = re.compile(r"([+-]?\d{1,18})(?:[.,]0+)?", re.ASCII)
_DAY_FIRST = re.compile(
    r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{2}|\d{4})"
    r"[ T,]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?P<half>)",
    re.ASCII,
)
_SLASHES = re.compile(
    r"(?P<one>\d{1,2})/(?P<two>\d{1,2})/(?P<year>\d{2}|\d{4})"
    r"[ T,]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?\s*(?P<half>[AaPp][Mm])?",
    re.ASCII,
)


def _exactly(choices: tuple[tuple[Any, Any], ...], cell: str) -> Any:
    """The value that the cell holds as it is stored, else None: for most, labels need not be looked at."""
    return next((value for value, _label in choices if str(value) == cell), None)


@lru_cache(maxsize=1000)
def _choice(choices: tuple[tuple[Any, Any], ...], cell: str) -> Any:
    return spelled(choices, cell)


def _integer(cell: str) -> int:
    found = _WHOLE.fullmatch(cell)
    if not found:
        raise ValidationError(_("“%(value)s” is not a whole number."), params={"value": cell[:100]})
    return int(found[1])


def _boolean(cell: str) -> bool:
    try:
        return _WORDS[cell.casefold()]
    except KeyError:
        raise ValidationError(
            _("“%(value)s” is neither “true” nor “false”."), params={"value": cell[:100]}
        ) from None


def _moment(cell: str) -> datetime:
    """Aware when the cell says its offset, else naive: the caller knows the time zone."""
    try:
        found = parse_datetime(cell)
        if found is None and (parts := _DAY_FIRST.fullmatch(cell)):
            found = _put_together(parts, int(parts["day"]), int(parts["month"]))
        if found is None and (parts := _SLASHES.fullmatch(cell)):
            found = _put_together(parts, *_day_and_month(parts))
    except ValueError:
        found = None
    if found is None or not 1970 <= found.year <= 9000:
        raise ValidationError(
            _("“%(value)s” is not a date and time; write it like 2027-01-11T07:00:00."),
            params={"value": cell[:100]},
        )
    return found


def _day_and_month(parts: re.Match[str]) -> tuple[int, int]:
    """AM and PM are American, and so the month comes first; without them only a day above 12 tells."""
    one, two = int(parts["one"]), int(parts["two"])
    if parts["half"] or two > 12:
        return two, one
    if one > 12 or one == two:
        return one, two
    raise ValidationError(
        _("“%(value)s” may be two different days; write it like 2027-01-11T07:00:00."),
        params={"value": parts[0]},
    )


def _put_together(parts: re.Match[str], day: int, month: int) -> datetime:
    year, hour = int(parts["year"]), int(parts["hour"])
    if parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if parts["half"].lower() == "pm" else 0)
    second = int(parts["second"] or 0)
    return datetime(year if year > 99 else 2000 + year, month, day, hour, int(parts["minute"]), second)  # noqa: DTZ001


def _list(cell: str) -> list[str]:
    if not cell.startswith("["):
        return [name for line in cell.splitlines() if (name := line.strip())]
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValidationError(_('Write one name per line, or a JSON list like ["first", "second"].'))
    return found


def _written_list(names: Sequence[str]) -> str:
    """One per line; as JSON where lines would not come back as they were."""
    lines = "\n".join(names)
    if lines.startswith("[") or _list(lines) != [*names]:
        return json.dumps([*names], ensure_ascii=False)
    return lines


def _numbers(cell: str) -> list[int]:
    words = [word for word in re.split(r"[\s,;]+", cell.strip().removeprefix("[").removesuffix("]")) if word]
    if not all(word.isascii() and word.isdigit() and len(word) < 18 for word in words):
        raise ValidationError(_("Write whole numbers with commas between them, like 443, 631."))
    return [int(word) for word in words]


def _object(cell: str) -> dict[str, Any]:
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValidationError(_('Write named values as a JSON object like {"port": 443}.'))
    return found


# --- the list ----------------------------------------------------------------------------------------------


_JSON_KINDS: Mapping[Any, Kind] = MappingProxyType({list: Kind.LIST, default_tls_ports: Kind.NUMBERS})
"""What a JSON field holds, by what it begins with."""


def _column(name: str, model: type[models.Model]) -> Column:
    field = model._meta.get_field(name)
    if not isinstance(field, models.Field):
        raise TypeError(f"{model.__name__}.{name} is not a column")
    clearable = bool(field.null or (field.blank and not isinstance(field, models.BooleanField)))
    choices = tuple(field.flatchoices) if field.choices else ()
    if choices:
        kind, clearable = Kind.CHOICE, "" in dict(choices)
    elif isinstance(field, models.ForeignKey):
        kind = Kind.REFERENCE
    elif isinstance(field, models.BooleanField):
        kind = Kind.BOOLEAN
    elif isinstance(field, models.DateTimeField):
        kind = Kind.MOMENT
    elif isinstance(field, models.JSONField):
        kind = _JSON_KINDS.get(field.default, Kind.OBJECT)
    elif isinstance(field, models.IntegerField):
        kind = Kind.INTEGER
    else:
        kind = Kind.TEXT
    required = not clearable and not field.has_default() and not isinstance(field, models.BooleanField)
    return Column(name, model, kind, required=required, clearable=clearable, choices=choices)


CHALLENGE_PASSWORD = Column("challenge_password", ScepSettings, Kind.TEXT, clearable=False, secret=True)
"""[Challenge Password]; an empty cell keeps the one that is stored."""


CONNECTOR_SECRETS = Column("connector_secrets", Device, Kind.OBJECT, clearable=False, secret=True)
"""The connector's secret settings by their names; an empty cell keeps those that are stored."""


@cache
def columns() -> Mapping[str, Column]:
    """Every column by its name, in the order of our files."""
    of_device = (_column(name, Device) for name in DEVICE_FIELDS)
    of_settings = (_column(name, ScepSettings) for name in SETTINGS_FIELDS)
    found = [*of_device, *of_settings, CONNECTOR_SECRETS, CHALLENGE_PASSWORD]
    return MappingProxyType({column.name: column for column in found})


def plain_columns() -> list[Column]:
    """Those that are in every file; the secret ones are in encrypted files only."""
    return [column for column in columns().values() if not column.secret]
