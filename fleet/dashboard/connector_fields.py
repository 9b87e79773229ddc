"""The settings of each connector as fields of a form, out of the connectors' own schemas."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from devices.delivery.connectors import registry
from devices.delivery.connectors.settings import Kind, Setting, SettingsInvalid, check
from devices.models import Device, DeviceGroup

PLACEHOLDER = "••••••••"


def field_name(connector: str, setting: str) -> str:
    """What the field of a setting is called in the form."""
    return f"{connector}__{setting}"


def fields(device: Device | None) -> Iterator[tuple[str, forms.Field]]:
    """Name and field of every setting of every connector, with what `device` has stored.

    Whether a setting is required depends on the connector that is chosen: `settings_of` checks.
    """
    for name, connector in registry.known().items():
        stored: Mapping[str, Any] = {}
        secrets: list[str] = []
        of_group: list[str] = []
        if device is not None and device.connector == name:
            stored, secrets = device.connector_settings, device.connector_secrets_set
        if device is not None and device.group is not None and not secrets:
            of_group = device.group.connector_secrets_set.get(name, [])
        for setting in connector.schema:
            field = _field(setting, stored, is_stored=setting.name in secrets)
            if setting.name in of_group:
                field.help_text = _("The device group has one. Leave this empty to use it.")
            # the page shows the settings of the connector that is chosen
            field.widget.attrs["data-of-connector"] = name
            yield field_name(name, setting.name), field


def of_schema(
    prefix: str, schema: Iterable[Setting], stored: Mapping[str, Any], secrets: Collection[str]
) -> Iterator[tuple[str, forms.Field]]:
    """Name and field of every setting of a schema that belongs to no connector."""
    for setting in schema:
        yield field_name(prefix, setting.name), _field(setting, stored, is_stored=setting.name in secrets)


def _field(setting: Setting, stored: Mapping[str, Any], *, is_stored: bool) -> forms.Field:
    common: dict[str, Any] = {
        "label": setting.label,
        "help_text": setting.help_text,
        "required": False,
        "initial": stored.get(setting.name, setting.default),
    }
    if setting.is_secret:
        attributes = {"autocomplete": "new-password"}
        if is_stored:
            attributes["placeholder"] = PLACEHOLDER
            common["help_text"] = _("It is stored. Leave this empty to keep it.")
        if setting.is_multiline:
            # a password field of a browser has one line; what is stored is never put into it
            common["initial"] = None
            return forms.CharField(
                **common, strip=False, widget=forms.Textarea(attrs={**attributes, "rows": 4})
            )
        widget = forms.PasswordInput(attrs=attributes)
        return forms.CharField(**common, strip=False, widget=widget)
    match setting.kind:
        case Kind.NUMBER:
            return forms.IntegerField(**common, min_value=setting.minimum, max_value=setting.maximum)
        case Kind.FLAG:
            return forms.BooleanField(**common)
        case Kind.TEXT if setting.choices:
            return forms.ChoiceField(**common, choices=setting.choices)
        case Kind.TEXT if setting.is_multiline:
            return forms.CharField(
                **common, max_length=setting.max_length, widget=forms.Textarea(attrs={"rows": 4})
            )
        case Kind.TEXT:
            return forms.CharField(**common, max_length=setting.max_length)


def settings_of(
    connector: str, cleaned: Mapping[str, Any], device: Device | None, group: DeviceGroup | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings that were entered for `connector`, and what is wrong with them by the field's name.

    An empty password is none: the one that is stored stays, or that of `group` is used.
    """
    found = registry.known().get(connector)
    schema = found.schema if found else ()
    entered = {setting.name: cleaned.get(field_name(connector, setting.name)) for setting in schema}
    values = {name: value for name, value in entered.items() if value not in (None, "")}
    chosen = copy.copy(device) if device and device.connector == connector else Device(connector=connector)
    chosen.group = group
    try:
        check(schema, values, stored_secrets=chosen.names_at_hand(schema, values))
    except SettingsInvalid as error:
        return values, {field_name(connector, name): text for name, text in error.problems.items()}
    return values, {}
