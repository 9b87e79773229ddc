"""Devices, groups and SCEP servers: added, changed and removed, checked and audited.

Every function raises PermissionDenied when `actor` may not (R1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devices import access, audit, deployments
from devices.access import Permission
from devices.audit import Actor
from devices.errors import Conflict
from devices.models import (
    AuditEvent,
    Device,
    DeviceGroup,
    IssuanceRequest,
    ScepServer,
    ScepSettings,
    SettingsTemplate,
)
from devices.models.bulk import overwrite
from devices.rules.lifecycle import UNDER_WAY_STATES, State

M = TypeVar("M", bound=models.Model)

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
    {"host", "connector", "connector_settings", "connector_secrets_encrypted", "tls_ports"}
)
"""What a delivery may have failed for: when it changes, deliveries that wait for it are tried again."""

GROUP_FIELDS = ("name", "time_zone", "maintenance_start", "maintenance_end", "urgent_days")
"""What people enter about a device group."""

SERVER_FIELDS = (
    "name",
    "url",
    "port",
    "timeout",
    "ca_identifier",
    "ca_fingerprint",
    "allow_sha1",
    "allow_3des",
    "allow_des_replies",
    "renewal_form",
    "tls_ca_certificates",
    "proxy",
    "max_requests_per_minute",
    "max_requests_at_once",
)
"""What people enter about a SCEP server."""

COMMUNICATION_FIELDS = ("url", "port", "timeout")
"""[Communication Settings] that R3 locks."""


def _set(instance: models.Model, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set `fields` and return their old values. Raises TypeError for a name that the model does not have."""
    known = {field.name for field in instance._meta.get_fields() if getattr(field, "editable", False)}
    if unknown := set(fields) - known:
        raise TypeError(f"{type(instance).__name__} has no editable {', '.join(sorted(unknown))}")
    before = {name: getattr(instance, name) for name in fields}
    for name, value in fields.items():
        setattr(instance, name, value)
    return before


def _require(actor: Actor, verb: str, model: models.Model | type[models.Model]) -> None:
    """Raise PermissionDenied unless `actor` may `verb` (add, change, delete) such things."""
    access.require(actor, Permission(f"devices.{verb}_{model._meta.model_name}"))


def _set_device(
    device: Device, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, list[str]], bool]:
    """Set `fields`, the connector's settings by its schema.

    Returns the old values, what is wrong with the connector's settings, and whether a secret one changed.
    Raises TypeError for a name that the model does not have.
    """
    before = _set(device, {name: value for name, value in fields.items() if name != "connector_settings"})
    same_connector = before.get("connector", device.connector) == device.connector
    if "connector_settings" not in fields and same_connector:
        return before, {}, False
    before["connector_settings"] = device.connector_settings
    try:
        # what another connector was told is none of this one's business
        secret_changed = device.put_connector_settings(
            fields.get("connector_settings", {}), keep_secrets=same_connector
        )
    except ValidationError as error:
        return before, error.message_dict, False
    return before, {}, secret_changed


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


@transaction.atomic
def _create(actor: Actor, instance: M, fields: Mapping[str, Any]) -> M:
    _require(actor, "add", instance)
    _set(instance, fields)
    instance.full_clean()
    instance.save()
    audit.record(actor, f"{instance._meta.model_name}.create", instance, fields)
    return instance


@transaction.atomic
def _update(
    actor: Actor, instance: M, fields: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> M:
    """Check, store and audit; `facts` go into the event beside the changes."""
    _require(actor, "change", instance)
    before = _set(instance, fields)
    instance.full_clean()
    changes = audit.difference(before, fields)
    if changes:
        instance.save(update_fields=[*changes])
        audit.record(actor, f"{instance._meta.model_name}.update", instance, changes | dict(facts or {}))
    return instance


@transaction.atomic
def _delete(actor: Actor, instance: models.Model, facts: Mapping[str, Any] | None = None) -> None:
    _require(actor, "delete", instance)
    audit.record(actor, f"{instance._meta.model_name}.delete", instance, facts)
    instance.delete()


def create_device(actor: Actor, **fields: Any) -> Device:
    """A new device with its (empty) SCEP settings. Raises ValidationError with a dict of fields."""
    return create_devices(actor, [fields])[0]


@transaction.atomic
def create_devices(actor: Actor, rows: Iterable[Mapping[str, Any]]) -> list[Device]:
    """All of `rows` or none.

    Raises ValidationError with a dict of fields for one row, else with `{"<index>": ["<field>: <message>"]}`.
    """
    _require(actor, "add", Device)
    devices: list[Device] = []
    errors: dict[int, ValidationError] = {}
    for index, fields in enumerate(rows):
        device = Device()
        try:
            plan_device(device, fields)
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


_CONNECTOR_SECRETS = ("connector_secrets_encrypted", "connector_secrets_set")
"""Columns that change together; the audit trail only says that they did."""


def plan_device(device: Device, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set `fields` in `device` and say what that changes, as the audit trail will; nothing is stored.

    No query: what is unique is checked for many at once, and a group that is at hand as an object exists.
    Raises ValidationError with a dict of fields.
    """
    before, problems, secret_changed = _set_device(device, fields)
    _check_device(device, problems, exclude={"group"}, validate_unique=False, validate_constraints=False)
    facts = {"connector_secrets": "changed"} if secret_changed else {}
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
        _require(actor, "add", Device)
    if changed:
        _require(actor, "change", Device)
    events = [audit.event(actor, "device.update", device, changes) for device, changes in changed]
    columns = {name for _device, names in changed for name in names}
    if "connector_secrets" in columns:
        columns = columns - {"connector_secrets"} | {*_CONNECTOR_SECRETS}
    overwrite([device for device, _changes in changed], columns)
    Device.objects.bulk_create(new, batch_size=500)
    events += [audit.event(actor, "device.create", device, {"host": device.host}) for device in new]
    AuditEvent.objects.bulk_create(events, batch_size=500)


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
    connector begins with none.
    """
    _require(actor, "change", device)
    before, problems, secret_changed = _set_device(device, fields)
    _check_device(device, problems)
    changes = audit.difference(before, {name: getattr(device, name) for name in before})
    columns, facts = [*changes], {}
    if secret_changed:
        columns += _CONNECTOR_SECRETS
        facts["connector_secrets"] = "changed"
    if columns:
        device.save(update_fields=columns)
        audit.record(actor, "device.update", device, changes | facts)
        if not DELIVERY_FIELDS.isdisjoint(columns):
            deployments.data_changed(device, now=timezone.now())
    return device


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
    _require(actor, "delete", device)
    current = lock_device(device)
    under_way = current is not None and State(current.state) in UNDER_WAY_STATES
    _delete(actor, device, {"transaction_id": current.transaction_id} if current and under_way else None)


def create_group(actor: Actor, **fields: Any) -> DeviceGroup:
    """A new device group. Raises ValidationError with a dict of fields."""
    return _create(actor, DeviceGroup(), fields)


def update_group(actor: Actor, group: DeviceGroup, **fields: Any) -> DeviceGroup:
    """Change `fields`. Raises ValidationError with a dict of fields."""
    return _update(actor, group, fields)


def delete_group(actor: Actor, group: DeviceGroup) -> None:
    """Remove an empty group. Raises Conflict while devices are in it."""
    try:
        _delete(actor, group)
    except ProtectedError:
        raise Conflict(
            "group_in_use", _("Devices are in this group. Move them to another group first.")
        ) from None


def create_server(actor: Actor, **fields: Any) -> ScepServer:
    """A new SCEP server. Raises ValidationError with a dict of fields."""
    return _create(actor, ScepServer(), fields)


@transaction.atomic
def update_server(
    actor: Actor, server: ScepServer, *, suspend_timers: bool = False, **fields: Any
) -> ScepServer:
    """Change `fields`, and forget what the server said of itself under its old address.

    With `suspend_timers` the timers that use the server stand still while its communication settings change,
    and resume with the schedule that they had: one operation, one audit event (R3).
    Raises ValidationError with a dict of fields, and Conflict while R3 locks the communication settings.
    """
    _require(actor, "change", server)
    # dispatchers leave a locked server alone: nothing is sent while it changes
    ScepServer.objects.select_for_update().get(pk=server.pk)
    locked = [
        name for name in COMMUNICATION_FIELDS if name in fields and fields[name] != getattr(server, name)
    ]
    timers_on = ScepSettings.objects.filter(server=server, timer_enabled=True).count() if locked else 0
    if timers_on and not suspend_timers:
        raise Conflict(
            "timer_enabled",
            ngettext(
                "[Communication Settings] cannot be updated while the timer of %(count)d device that uses "
                "this server is on. Suspend this timer, update, and resume in one go (suspend_timers).",
                "[Communication Settings] cannot be updated while the timers of %(count)d devices that use "
                "this server are on. Suspend these timers, update, and resume in one go (suspend_timers).",
                timers_on,
            )
            % {"count": timers_on},
        )
    _update(actor, server, fields, {"suspended_timers": timers_on} if timers_on else None)
    ScepServer.objects.filter(pk=server.pk).update(profile=None, profile_fetched_at=None)
    return server


def delete_server(actor: Actor, server: ScepServer) -> None:
    """Remove a server that no device uses and no template names. Raises Conflict otherwise."""
    try:
        _delete(actor, server)
    except ProtectedError as error:
        templates = [row for row in error.protected_objects if isinstance(row, SettingsTemplate)]
        if len(templates) == len(error.protected_objects):
            raise Conflict(
                "server_in_use",
                _("Templates name this SCEP server: %(names)s. Choose another server in them first.")
                % {"names": ", ".join(sorted(map(str, templates)))},
            ) from None
        raise Conflict(
            "server_in_use",
            _("Devices use this SCEP server. Choose another server in their settings first."),
        ) from None
