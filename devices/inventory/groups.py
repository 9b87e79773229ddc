"""Device groups: added, changed and removed, checked and audited."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError, QuerySet
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

BATCH = 1000
"""Devices of a group that are at hand, and written, at once."""

_PLACE_COLUMNS = (
    *("host", "group", "connector", "connector_settings"),
    *("connector_secrets_set", "secrets_entrusted_to"),
)
"""What `Device.secrets_held` looks at."""

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
def update_group(
    actor: Actor, group: DeviceGroup, *, entrust_devices: bool = False, **fields: Any
) -> DeviceGroup:
    """Change `fields`. Raises ValidationError with a dict of fields.

    `connector_settings` replaces all credentials; of a connector that is named, secret ones that are left out stay.
    With `entrust_devices` they are sent to every device of the group, also to those that are `held_devices`.
    """
    require(actor, "change", group)
    if entrust_devices:
        access.require(actor, Permission.ENTRUST_SECRETS)
    if "connector_settings" in fields:
        # what is kept is what is stored now, whoever changed it last
        stored = DeviceGroup.objects.select_for_update(no_key=True).get(pk=group.pk)
        for name in _CREDENTIALS:
            setattr(group, name, getattr(stored, name))
    before, puts = _set_group(group, fields)
    changes = audit.difference(before, {name: getattr(group, name) for name in before})
    facts = _fate(puts)
    if changes or facts:
        group.save(update_fields=[*changes, *(_CREDENTIALS if facts else ())])
    if entrust_devices and (entrusted := _entrust(group)):
        facts["entrusted_devices"] = entrusted
    _try_again(group, before.get("connector_settings", {}), puts)
    if changes or facts:
        audit.record(actor, "devicegroup.update", group, changes | facts)
    return group


def held_devices(group: DeviceGroup) -> Iterator[Device]:
    """The devices that do not get the group's credentials: whoever gave them their address, or brought them into the
    group, may not decide where secrets are sent. One query, and never all of a large group in memory."""
    return _held(group, _users(group, group.connector_secrets_set).only(*_PLACE_COLUMNS))


def _held(group: DeviceGroup, users: QuerySet[Device]) -> Iterator[Device]:
    for device in users.iterator(chunk_size=BATCH):
        device.group = group
        if device.secrets_held:
            yield device


def _users(group: DeviceGroup, connectors: Collection[str]) -> QuerySet[Device]:
    """The devices that use the group's credentials for `connectors`."""
    found = Device.objects.filter(group=group, connector__in=connectors, connector_secrets_set=[])
    return found.order_by("pk")


def _in_batches(devices: Iterable[Device]) -> Iterator[list[Device]]:
    rest = iter(devices)
    while batch := list(islice(rest, BATCH)):
        yield batch


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


def _entrust(group: DeviceGroup) -> int:
    """Have every device of `group` use its credentials, and try deliveries again; for how many that is new."""
    users = _users(group, group.connector_secrets_set).select_for_update(no_key=True)
    entrusted = 0
    for held in _in_batches(_held(group, users)):
        for device in held:
            device.secrets_entrusted_to = device.secrets_place
        overwrite(held, ["secrets_entrusted_to"])
        deployments.data_changed(held, now=timezone.now())
        entrusted += len(held)
    return entrusted


def _try_again(group: DeviceGroup, before: Mapping[str, Any], puts: Mapping[str, SecretsPut]) -> None:
    """Try deliveries again that waited for other credentials."""
    now_set = group.connector_settings
    names = [name for name, put in puts.items() if put.changed or before.get(name) != now_set.get(name)]
    if not names:
        return
    # of a group of 60,000 those alone for which there is something to do
    users = _users(group, names).filter(deployments.of_device_waits()).select_for_update(no_key=True)
    for devices in _in_batches(users.only("pk").iterator(chunk_size=BATCH)):
        deployments.data_changed(devices, now=timezone.now())


def delete_group(actor: Actor, group: DeviceGroup) -> None:
    """Remove an empty group. Raises Conflict while devices are in it."""
    try:
        delete(actor, group)
    except ProtectedError:
        raise Conflict(
            "group_in_use", _("Devices are in this group. Move them to another group first.")
        ) from None
