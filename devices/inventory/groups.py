"""Device groups: added, changed and removed, checked and audited."""

from __future__ import annotations

from typing import Any

from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from devices.audit import Actor
from devices.errors import Conflict
from devices.inventory.common import create, delete, update
from devices.models import (
    DeviceGroup,
)

GROUP_FIELDS = ("name", "time_zone", "maintenance_start", "maintenance_end", "urgent_days")
"""What people enter about a device group."""


def create_group(actor: Actor, **fields: Any) -> DeviceGroup:
    """A new device group. Raises ValidationError with a dict of fields."""
    return create(actor, DeviceGroup(), fields)


def update_group(actor: Actor, group: DeviceGroup, **fields: Any) -> DeviceGroup:
    """Change `fields`. Raises ValidationError with a dict of fields."""
    return update(actor, group, fields)


def delete_group(actor: Actor, group: DeviceGroup) -> None:
    """Remove an empty group. Raises Conflict while devices are in it."""
    try:
        delete(actor, group)
    except ProtectedError:
        raise Conflict(
            "group_in_use", _("Devices are in this group. Move them to another group first.")
        ) from None
