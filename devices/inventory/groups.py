"""Device groups: added, changed and removed, checked and audited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, deployments
from devices.access import Permission
from devices.audit import Actor
from devices.errors import Conflict
from devices.inventory.common import delete, require, set_fields
from devices.models import Device, DeviceGroup
from devices.models.bulk import overwrite
from devices.rules.secret_places import SecretsPut

GROUP_FIELDS = (
    *("name", "time_zone", "maintenance_start", "maintenance_end", "urgent_days"),
    "connector_settings",
)
"""What people enter about a device group.

`connector_settings` are credentials by connector, `{"pappl": {"username": ..., "password": ...}}`: secret ones go in
and never come out.
"""

_CREDENTIALS = ("connector_settings", "connector_secrets_encrypted", "connector_secrets_set")
"""Columns that change together."""


@transaction.atomic
def create_group(actor: Actor, **fields: Any) -> DeviceGroup:
    """A new device group. Raises ValidationError with a dict of fields."""
    require(actor, "add", DeviceGroup)
    group = DeviceGroup()
    _before, puts = _set_group(group, fields)
    group.save()
    facts = {name: getattr(group, name) for name in fields}
    audit.record(actor, "devicegroup.create", group, facts | _fate(puts))
    return group


@transaction.atomic
def update_group(actor: Actor, group: DeviceGroup, **fields: Any) -> DeviceGroup:
    """Change `fields`. Raises ValidationError with a dict of fields.

    `connector_settings` replaces all credentials; of a connector that is named, secret ones that are left out stay.
    Who gives all secrets of a connector gives them to every device that uses them now.
    """
    require(actor, "change", group)
    if "connector_settings" in fields:
        # what is kept is what is stored now, whoever changed it last
        held = DeviceGroup.objects.select_for_update(no_key=True).get(pk=group.pk)
        for name in _CREDENTIALS:
            setattr(group, name, getattr(held, name))
    before, puts = _set_group(group, fields)
    changes = audit.difference(before, {name: getattr(group, name) for name in before})
    facts = _fate(puts)
    if changes or facts:
        group.save(update_fields=[*changes, *(_CREDENTIALS if facts else ())])
        entrusted = _entrust(actor, group, puts)
        _try_again(group, before.get("connector_settings", {}), puts)
        told = facts | ({"entrusted_devices": entrusted} if entrusted else {})
        audit.record(actor, "devicegroup.update", group, changes | told)
    return group


def _set_group(group: DeviceGroup, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, SecretsPut]]:
    """Set and check `fields`; the old values, and what became of secrets by connector. Raises ValidationError."""
    plain = {name: value for name, value in fields.items() if name != "connector_settings"}
    before, puts, problems = set_fields(group, plain), {}, {}
    if "connector_settings" in fields:
        before["connector_settings"] = group.connector_settings
        try:
            puts = group.put_connector_settings(fields["connector_settings"])
        except ValidationError as error:
            problems = error.message_dict
    try:
        group.full_clean()
    except ValidationError as error:
        raise ValidationError({**error.message_dict, **problems}) from None
    if problems:
        raise ValidationError(problems)
    return before, puts


def _fate(puts: Mapping[str, SecretsPut]) -> dict[str, Any]:
    """What the audit trail says of secrets: for which connectors they changed."""
    changed = sorted(name for name, put in puts.items() if put.changed)
    return {"connector_secrets": changed} if changed else {}


def _entrust(actor: Actor, group: DeviceGroup, puts: Mapping[str, SecretsPut]) -> int:
    """Have the devices of `group` use what changed, as far as `actor` may say so; to how many it was entrusted."""
    changed = [name for name, put in puts.items() if put.changed]
    if not changed:
        return 0
    users = Device.objects.filter(group=group, connector__in=changed, connector_secrets_set=[])
    devices = list(users.select_for_update(no_key=True).order_by("pk"))
    may_entrust = access.permits(actor, Permission.ENTRUST_SECRETS)
    entrusted = []
    for device in devices:
        device.group = group
        if device.secrets_from_group and (may_entrust or puts[device.connector].all_given):
            device.secrets_entrusted_to = device.secrets_place
            entrusted.append(device)
    overwrite(entrusted, ["secrets_entrusted_to"])
    return len(entrusted)


def _try_again(group: DeviceGroup, before: Mapping[str, Any], puts: Mapping[str, SecretsPut]) -> None:
    """Try deliveries again that waited for other credentials."""
    now_set = group.connector_settings
    names = {name for name, put in puts.items() if put.changed or before.get(name) != now_set.get(name)}
    if names:
        users = Device.objects.filter(group=group, connector__in=names, connector_secrets_set=[])
        deployments.data_changed(
            list(users.select_for_update(no_key=True).order_by("pk")), now=timezone.now()
        )


def delete_group(actor: Actor, group: DeviceGroup) -> None:
    """Remove an empty group. Raises Conflict while devices are in it."""
    try:
        delete(actor, group)
    except ProtectedError:
        raise Conflict(
            "group_in_use", _("Devices are in this group. Move them to another group first.")
        ) from None
