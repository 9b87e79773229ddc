"""Devices: added, changed and removed, checked and audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, deployments
from devices.access import Permission
from devices.audit import Actor
from devices.inventory.common import delete, require, set_fields
from devices.models import (
    AuditEvent,
    Device,
    IssuanceRequest,
    RestartSettings,
    ScepSettings,
)
from devices.models.bulk import overwrite
from devices.rules import secret_places
from devices.rules.lifecycle import UNDER_WAY_STATES, State
from devices.rules.secret_places import SecretsPut

DEVICE_FIELDS = (
    "name",
    "host",
    "serial_number",
    "vendor",
    "model",
    "firmware",
    "location",
    "group",
    "key_limit",
    "tls_enabled",
    "ieee_802_1x_enabled",
    "ipsec_enabled",
    "ipsec_destinations",
    "connector",
    "connector_settings",
    "tls_ports",
)
"""What people enter about a device; forms, API and files take these names.

`connector_settings` may hold what the connector's schema marks as secret: it goes in and never comes out.
"""


DELIVERY_FIELDS = frozenset(
    {
        "host",
        "group",
        "connector",
        "connector_settings",
        "connector_secrets_encrypted",
        "secrets_entrusted_to",
        "tls_ports",
    }
)
"""What a delivery may have failed for: when it changes, deliveries that wait for it are tried again."""


PLACE_FIELDS = frozenset({"host", "group", "connector", "connector_settings"})
"""What says where the connector's secrets are sent to, and whose they are."""


_SECRETS_FACT = "connector_secrets"
"""What stands for `_CONNECTOR_SECRETS` among the changes of a device."""


class _Set(NamedTuple):
    """What was set in a device."""

    before: dict[str, Any]
    problems: dict[str, list[str]]
    """What is wrong with the connector's settings."""
    facts: dict[str, str]
    """What became of secret ones, as the audit trail says it."""


def _set_device(device: Device, fields: Mapping[str, Any], *, entrusts: bool) -> _Set:
    """Set `fields`, the connector's settings by its schema.

    With `entrusts` stored secrets are sent to another address from now on; else whoever changes the address has to
    give them anew, and they are held until somebody does. Raises TypeError for a name that the model does not have.
    """
    was_for, was_held = device.secrets_entrusted_to, device.secrets_held
    before = set_fields(
        device, {name: value for name, value in fields.items() if name != "connector_settings"}
    )
    same_connector = before.get("connector", device.connector) == device.connector
    put = SecretsPut(changed=False, all_given=False)
    if "connector_settings" in fields or not same_connector:
        before["connector_settings"] = device.connector_settings
        try:
            # what another connector was told is none of this one's business
            put = device.put_connector_settings(
                fields.get("connector_settings", {}), keep_secrets=same_connector
            )
        except ValidationError as error:
            return _Set(before, error.message_dict, {})
    if not PLACE_FIELDS.isdisjoint(fields) and (entrusts or put.all_given):
        # also where nothing is to be sent yet: its group may get secrets later
        device.secrets_entrusted_to = device.place_to_entrust
    fate = secret_places.fate(
        put,
        was_held=was_held,
        is_held=device.secrets_held,
        was_for=was_for,
        is_for=device.secrets_entrusted_to if device.secrets_place else "",
    )
    return _Set(before, {}, {_SECRETS_FACT: fate} if fate else {})


def _check_device(device: Device, problems: dict[str, list[str]], **how: Any) -> None:
    """`full_clean`, with the `problems` that are known already. Raises ValidationError with a dict of fields."""
    try:
        device.full_clean(**how)
    except ValidationError as error:
        if "connector" in error.message_dict:
            raise  # its settings cannot be judged
        raise ValidationError({**error.error_dict, **problems}) from None
    if problems:
        raise ValidationError(problems)


def create_device(actor: Actor, **fields: Any) -> Device:
    """A new device with its (empty) SCEP settings. Raises ValidationError with a dict of fields."""
    return create_devices(actor, [fields])[0]


@transaction.atomic
def create_devices(actor: Actor, rows: Iterable[Mapping[str, Any]]) -> list[Device]:
    """All of `rows` or none.

    Raises ValidationError with a dict of fields for one row, else with `{"<index>": ["<field>: <message>"]}`.
    """
    require(actor, "add", Device)
    devices: list[Device] = []
    errors: dict[int, ValidationError] = {}
    entrusts = access.permits(actor, Permission.ENTRUST_SECRETS)
    for index, fields in enumerate(rows):
        device = Device()
        try:
            plan_device(device, fields, entrusts=entrusts)
        except ValidationError as error:
            errors[index] = error
        devices.append(device)
    for index, duplicate in _duplicates(devices):
        errors.setdefault(index, duplicate)
    if errors:
        if len(devices) == 1:
            raise errors[0]
        raise ValidationError({str(index): _by_field(error) for index, error in sorted(errors.items())})
    store_devices(actor, [(device, {}) for device in devices])
    ScepSettings.objects.bulk_create([ScepSettings(device=device) for device in devices], batch_size=500)
    return devices


_CONNECTOR_SECRETS = ("connector_secrets_encrypted", "connector_secrets_set", "secrets_entrusted_to")
"""Columns that change together; the audit trail only says that they did, and how."""


def plan_device(device: Device, fields: Mapping[str, Any], *, entrusts: bool) -> dict[str, Any]:
    """Set `fields` in `device` and say what that changes, as the audit trail will; nothing is stored.

    `entrusts` is whether the actor may have stored secrets sent to another address (ENTRUST_SECRETS).

    No query: what is unique is checked for many at once, and a group that is at hand as an object exists.
    Raises ValidationError with a dict of fields.
    """
    before, problems, facts = _set_device(device, fields, entrusts=entrusts)
    _check_device(device, problems, exclude={"group"}, validate_unique=False, validate_constraints=False)
    return audit.difference(before, {name: getattr(device, name) for name in before}) | facts


@transaction.atomic
def store_devices(actor: Actor, planned: Sequence[tuple[Device, Mapping[str, Any]]]) -> None:
    """Store devices with what `plan_device` said of them: new ones, and the changes of stored ones; audited.

    SCEP settings of new ones are the caller's to store, in the same transaction. The caller has checked what is
    unique; IntegrityError when that was not enough. Raises PermissionDenied.
    """
    new = [device for device, _changes in planned if device._state.adding]
    changed = [(device, changes) for device, changes in planned if not device._state.adding and changes]
    if new:
        require(actor, "add", Device)
    if changed:
        require(actor, "change", Device)
    events = [audit.event(actor, "device.update", device, changes) for device, changes in changed]
    columns = {name for _device, names in changed for name in names}
    if _SECRETS_FACT in columns:
        columns = columns - {_SECRETS_FACT} | {*_CONNECTOR_SECRETS}
    if not PLACE_FIELDS.isdisjoint(columns):
        columns.add("secrets_entrusted_to")
    overwrite([device for device, _changes in changed], columns)
    tried = [
        device for device, changes in changed if not (DELIVERY_FIELDS | {_SECRETS_FACT}).isdisjoint(changes)
    ]
    if tried:
        deployments.data_changed(tried, now=timezone.now())
    _move_snmp(actor, [device for device, changes in changed if "host" in changes])
    Device.objects.bulk_create(new, batch_size=500)
    events += [audit.event(actor, "device.create", device, {"host": device.host}) for device in new]
    AuditEvent.objects.bulk_create(events, batch_size=500)


def _move_snmp(actor: Actor, moved: Sequence[Device]) -> None:
    """Secrets for SNMP go with devices to their new addresses where `actor` may decide that; else they are held."""
    if not moved or not access.permits(actor, Permission.ENTRUST_SECRETS):
        return
    devices = {device.pk: device for device in moved}
    stored = RestartSettings.objects.filter(device__in=devices).exclude(snmp_secrets_set=[])
    rows = list(stored.select_for_update().order_by("pk"))
    for row in rows:
        row.device = devices[row.device_id]
        row.snmp_secrets_entrusted_to = row.snmp_secrets_place
    overwrite(rows, ["snmp_secrets_entrusted_to"])


def _by_field(error: ValidationError) -> list[str]:
    return [f"{name}: {message}" for name, messages in error.message_dict.items() for message in messages]


def _duplicates(devices: list[Device]) -> Iterable[tuple[int, ValidationError]]:
    """Rows whose name or serial number is taken, in the database or by an earlier row; two queries."""
    names = set(
        Device.objects.filter(name__in=[device.name for device in devices]).values_list("name", flat=True)
    )
    serials = set(
        Device.objects.filter(
            serial_number__in=[device.serial_number for device in devices if device.serial_number]
        ).values_list("serial_number", flat=True)
    )
    for index, device in enumerate(devices):
        problems: dict[str, str] = {}
        if device.name in names:
            problems["name"] = _("Another device has the name “%s”.") % device.name
        if device.serial_number and device.serial_number in serials:
            problems["serial_number"] = _("Another device has this serial number.")
        if problems:
            yield index, ValidationError(problems)
        names.add(device.name)
        serials.add(device.serial_number)


@transaction.atomic
def update_device(actor: Actor, device: Device, **fields: Any) -> Device:
    """Change `fields`. Raises ValidationError with a dict of fields.

    `connector_settings` replaces all of them; secret ones that are left out stay, empty ones go. Another
    connector begins with none. At another address (PLACE_FIELDS) those that stay are held until somebody gives them
    anew, unless `actor` may entrust them.
    """
    require(actor, "change", device)
    _hold_secrets(device)
    entrusts = access.permits(actor, Permission.ENTRUST_SECRETS)
    before, problems, facts = _set_device(device, fields, entrusts=entrusts)
    _check_device(device, problems)
    changes = audit.difference(before, {name: getattr(device, name) for name in before})
    columns = [*changes, *(_CONNECTOR_SECRETS if facts else ())]
    if columns:
        device.save(update_fields=[*columns, "secrets_entrusted_to"])
        if "host" in changes:
            _move_snmp(actor, [device])
        audit.record(actor, "device.update", device, changes | facts)
        if not DELIVERY_FIELDS.isdisjoint(columns):
            deployments.data_changed([device], now=timezone.now())
    return device


def _hold_secrets(device: Device) -> None:
    """Hold the device until the end of the transaction, and take its secrets and the place that they are for as they
    are stored now: `device` may have been read before somebody gave others for another place."""
    rows = Device.objects.select_for_update(no_key=True).filter(pk=device.pk)
    for row in rows.values(*_CONNECTOR_SECRETS):
        for name, value in row.items():
            setattr(device, name, value)


def lock_device(device: Device) -> IssuanceRequest | None:
    """Hold the device until the caller's transaction ends; returns its open request, held too."""
    # settings before requests, as everybody locks them: who is just ending the request waits, and finds it gone
    list(ScepSettings.objects.select_for_update().filter(device=device))
    current = (
        IssuanceRequest.objects.select_for_update().filter(device=device, completed_at__isnull=True).first()
    )
    # and the device before the rest of what belongs to it
    list(Device.objects.select_for_update().filter(pk=device.pk).values_list("pk"))
    return current


@transaction.atomic
def delete_device(actor: Actor, device: Device) -> None:
    """Remove the device with its settings, its log and its keys; the audit trail stays.

    A request under way goes too, and the worker that has it ends quietly. Its transaction ID is in the event: the
    SCEP server may issue the certificate all the same.
    """
    require(actor, "delete", device)
    current = lock_device(device)
    under_way = current is not None and State(current.state) in UNDER_WAY_STATES
    delete(actor, device, {"transaction_id": current.transaction_id} if current and under_way else None)
