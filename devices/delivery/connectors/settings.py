"""What a connector is to be told: its settings, declared as data, and checked from there for forms and REST alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    Text = str | _StrPromise


class Kind(StrEnum):
    """What a setting's value is."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a connector."""

    name: str
    """The key in `connector_settings`, in snake case."""
    label: Text
    kind: Kind = Kind.TEXT
    help_text: Text = ""
    required: bool = False
    default: Any = None
    """Taken by the connector when the setting is left out; None: it does without."""
    minimum: int | None = None
    maximum: int | None = None
    """Of a number, both or neither; both ends included."""
    max_length: int = 500
    """Characters of a text."""
    choices: Sequence[tuple[str, Text]] = ()
    """Of a text: the values that it may have, with their labels. Empty: any."""
    is_secret: bool = False
    """Stored encrypted, and never shown again. Texts only."""
    is_multiline: bool = False
    """Of a text: entered in several lines."""
    is_address: bool = False
    """A part of where secrets are sent to, as those of ADDRESS_SETTINGS always are, or of what is done with them
    there: when it changes, stored secrets have to be given anew. Not for secrets."""
    check: Callable[[Any], None] | None = None
    """Raises ValidationError for a value of the right kind that makes no sense all the same."""


ADDRESS_SETTINGS = frozenset({"port", "url"})
"""Settings that are a part of the address in every connector."""


def address_in(schema: Sequence[Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings that were checked, those that are a part of the address; a default is as good as its value."""
    return {
        setting.name: values.get(setting.name, setting.default)
        for setting in schema
        if setting.is_address or setting.name in ADDRESS_SETTINGS
    }


TLS_FINGERPRINT = "tls_fingerprint"
"""The setting of connectors that speak TLS which pins the certificate of a device."""


def tls_fingerprint() -> Setting:
    """The pin of a connector that speaks TLS."""
    return Setting(
        name=TLS_FINGERPRINT,
        label=gettext_lazy("Confirmed fingerprint of the device's certificate"),
        help_text=gettext_lazy(
            "SHA-256, as the device shows it. Compare and confirm it on the device's page. Certificates that were "
            "installed from here count as well."
        ),
        check=validate_fingerprint,
    )


def validate_fingerprint(value: str) -> None:
    """Raise ValidationError unless `value` is a SHA-256 fingerprint, colons and spaces allowed."""
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", re.sub(r"[\s:]", "", value)):
        raise ValidationError(_("Write the SHA-256 fingerprint as 64 hexadecimal digits, colons allowed."))


class SettingsInvalid(Exception):
    """Settings that do not fit; `problems` has a translated sentence for each name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Checked:
    """Settings that fit, apart by what may be seen."""

    plain: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    """Those that were given; the empty text removes a stored one."""


def check(schema: Sequence[Setting], values: Any, *, stored_secrets: Collection[str] = ()) -> Checked:
    """`values` by `schema`. `stored_secrets` are the names of secrets that are there already and may be left out.

    A setting that is null or, unless it is secret, an empty text counts as left out.
    Raises SettingsInvalid with every problem at once.
    """
    if not isinstance(values, Mapping):
        raise SettingsInvalid({"": _("Settings are names with values, like %s.") % '{"url": "..."}'})
    known = {setting.name: setting for setting in schema}
    problems: dict[str, str] = {}
    plain: dict[str, Any] = {}
    secret: dict[str, str] = {}
    for name in values:
        if name not in known:
            problems[str(name)] = _("There is no such setting. Known are: %s.") % (
                ", ".join(known) or _("none")
            )
    for name, setting in known.items():
        value = values.get(name)
        if value is None or (value == "" and not setting.is_secret):
            if setting.required and name not in stored_secrets:
                problems[name] = _("This setting is required.")
        elif problem := _problem(setting, value):
            problems[name] = problem
        elif setting.is_secret:
            secret[name] = value
        else:
            plain[name] = value
    if problems:
        raise SettingsInvalid(problems)
    return Checked(plain, secret)


def _problem(setting: Setting, value: Any) -> str:
    """What is wrong with `value`, or the empty text."""
    match setting.kind:
        case Kind.NUMBER:
            low, high = setting.minimum, setting.maximum
            if isinstance(value, bool) or not isinstance(value, int):
                return _("A whole number was expected.")
            if (low is not None and value < low) or (high is not None and value > high):
                return _("A number from %(low)s to %(high)s was expected.") % {"low": low, "high": high}
        case Kind.FLAG:
            if not isinstance(value, bool):
                return _("true or false was expected.")
        case Kind.TEXT:
            if not isinstance(value, str):
                return _("A text was expected.")
            if len(value) > setting.max_length:
                return _("At most %(most)d characters were expected.") % {"most": setting.max_length}
            if setting.choices and value not in dict(setting.choices):
                known = ", ".join(name for name, _label in setting.choices)
                return _("“%(value)s” is not a choice; choose one of %(known)s.") % {
                    "value": value,
                    "known": known,
                }
            if setting.is_secret and not value:
                return _("This setting is required.") if setting.required else ""
    if setting.check is not None:
        try:
            setting.check(value)
        except ValidationError as error:
            return " ".join(error.messages)
    return ""
