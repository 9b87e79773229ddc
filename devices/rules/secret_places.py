"""Where a stored secret may be sent: the place that it was given for. Pure: no Django, no I/O.

Whoever may change a device's address need not be somebody who knows its password. So a stored secret is bound to the
place for which somebody gave or entrusted it, and is sent to no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


def place(way: str, host: str, address: Mapping[str, Any], *, group: int | None = None) -> str:
    """The place `host` as it is compared and stored, never empty.

    `way` is the connector's name, `address` the settings that are a part of the address (port, url); `group` the id
    of the device group whose secrets are meant, None for the device's own.
    """
    return json.dumps([way, host.casefold(), sorted(address.items()), group])


class SecretsPut(NamedTuple):
    """What somebody did with stored secrets."""

    changed: bool
    """Some were given or dropped."""
    all_given: bool
    """Whoever did it knows all of those that are stored now."""


def fate(put: SecretsPut, *, was_held: bool, is_held: bool, was_for: str, is_for: str) -> str:
    """What became of stored secrets, for the audit trail; empty: nothing.

    "changed", "held" (not sent to the address that the device has now), "entrusted" (sent to another place than
    before, although nobody gave them anew). `was_for` and `is_for` are the places for which they count.
    """
    words = ["changed"] if put.changed else []
    if is_held and not was_held:
        words.append("held")
    elif not put.all_given and is_for not in ("", was_for):
        words.append("entrusted")
    return ", ".join(words)
