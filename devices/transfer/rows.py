"""What a chunk of rows comes to: matched, checked by the rules of single edits, planned. Nothing is written.

Checking a file and applying it both go by this, so they cannot differ. Six queries for any number of rows, seven when
they are locked.
"""

from __future__ import annotations

import copy
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.forms.utils import from_current_timezone
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, inventory
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import bulk, requests
from devices.enrollment.bulk import Standing
from devices.enrollment.requests import Plan
from devices.errors import Conflict
from devices.models import Device, DeviceGroup, ScepServer, ScepSettings
from devices.models.choices import RowOutcomeChoices
from devices.secrets import SecretUnreadable
from devices.transfer.columns import CHALLENGE_PASSWORD, CONNECTOR_SECRETS, Column, Kind, columns
from devices.transfer.source import Problem, SourceRow

_SHOWN = 200
"""Characters of a value in a message."""


@dataclass(slots=True)
class PlannedRow:
    """A row, with the device that it is about and what it comes to."""

    row: SourceRow
    device: Device | None = None
    """With the row's values set and not stored; None when it is refused before that."""
    device_changes: dict[str, list[Any]] = field(default_factory=dict)
    standing: Standing | None = None
    plan: Plan | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def outcome(self) -> RowOutcomeChoices:
        """What it comes to."""
        if self.problems or self.device is None or self.plan is None:
            return RowOutcomeChoices.REFUSED
        if self.device._state.adding:
            return RowOutcomeChoices.ADDED
        if self.plan.suspends_timer:
            return RowOutcomeChoices.LOCKED
        if self.device_changes or not self.plan.is_empty:
            return RowOutcomeChoices.CHANGED
        return RowOutcomeChoices.UNCHANGED

    @property
    def changes(self) -> dict[str, Any]:
        """`{column: [old, new]}` of a stored device; of the challenge password that it changed."""
        if self.device is None or self.plan is None or self.device._state.adding:
            return {}
        return self.device_changes | self.plan.changes

    @property
    def device_id(self) -> int | None:
        """Of the stored device that it is about."""
        return self.device.pk if self.device is not None else None

    def refuse(self, name: str, reason: object) -> None:
        """Add a problem at the column `name`; "" is the row as a whole."""
        column = columns().get(name)
        value = "" if column is None or column.secret else self.row.cells.get(name, "")
        self.problems.append(Problem(name, value[:_SHOWN], str(reason)))


class _References:
    """Groups and servers by their names, for one chunk."""

    def __init__(self, chunk: Sequence[SourceRow]) -> None:
        self._found: dict[str, Mapping[str, models.Model]] = {}
        targets: Iterable[tuple[str, Any]] = (("group", DeviceGroup), ("server", ScepServer))
        for name, model in targets:
            wanted = {row.cells[name] for row in chunk if row.cells.get(name)}
            self._found[name] = model.objects.in_bulk(wanted, field_name="name") if wanted else {}

    def find(self, column: Column, name: str) -> models.Model:
        """Raises ValidationError when there is none."""
        found = self._found[column.name].get(name)
        if found is None:
            problem = {
                "group": _("There is no device group “%(name)s”. Add it first, or correct the name."),
                "server": _("There is no SCEP server “%(name)s”. Add it first, or correct the name."),
            }[column.name]
            raise ValidationError(problem % {"name": name[:_SHOWN]})
        return found


class _Devices:
    """The stored devices that a chunk may be about, and who has the names and serial numbers in it."""

    def __init__(self, chunk: Sequence[SourceRow], *, lock: bool) -> None:
        self.by_name = self._taken("name", chunk)
        self.by_serial = self._taken("serial_number", chunk)
        ids = {*self.by_name.values(), *self.by_serial.values()}
        self.standing = bulk.standing(ids, lock=lock) if ids else {}

    @staticmethod
    def _taken(name: str, chunk: Sequence[SourceRow]) -> dict[str, int]:
        wanted = {row.cells[name] for row in chunk if row.cells.get(name)}
        if not wanted:
            return {}
        return dict(Device.objects.filter(**{f"{name}__in": wanted}).values_list(name, "pk"))

    def match(self, row: SourceRow) -> int | None:
        """The device that a row is about: by its serial number, or else by its name."""
        serial, name = row.cells.get("serial_number", ""), row.cells.get("name", "")
        return self.by_serial.get(serial) or self.by_name.get(name)


def plan(
    actor: Actor, chunk: Sequence[SourceRow], *, now: datetime, suspend_timers: bool, lock: bool = False
) -> list[PlannedRow]:
    """What each row comes to when `actor` applies it; a device is in the chunk once.

    With `lock` its rows stay as they are until the end.
    """
    entrusts = access.permits(actor, Permission.ENTRUST_SECRETS)
    references, stored = _References(chunk), _Devices(chunk, lock=lock)
    return [_plan(row, references, stored, now, suspend_timers, entrusts) for row in chunk]


def _plan(
    row: SourceRow,
    references: _References,
    stored: _Devices,
    now: datetime,
    suspend_timers: bool,
    entrusts: bool,
) -> PlannedRow:
    planned = PlannedRow(row, problems=[*row.problems])
    if any(not problem.column for problem in row.problems):
        return planned  # its cells cannot be told apart
    standing = stored.standing.get(stored.match(row) or 0)
    device = standing.settings.device if standing else Device()
    settings = standing.settings if standing else ScepSettings(device=device)
    planned.device, planned.standing = device, standing
    fields = _read(planned, references)
    _place(planned, fields)
    given = {name: value for name, value in fields.items() if not columns()[name].of_settings}
    wanted = {name: value for name, value in fields.items() if columns()[name].of_settings}
    if _is_stored(settings, wanted.get(CHALLENGE_PASSWORD.name)):
        del wanted[CHALLENGE_PASSWORD.name]
    _take_connector_secrets(device, given)
    try:
        planned.device_changes = inventory.plan_device(device, given, entrusts=entrusts)
    except ValidationError as error:
        _take(planned, error)
    if stored.by_name.get(device.name, device.pk) != device.pk:
        planned.refuse("name", _("Another device has the name “%s”.") % device.name)
    if device.serial_number and stored.by_serial.get(device.serial_number, device.pk) != device.pk:
        planned.refuse("serial_number", _("Another device has this serial number."))
    try:
        planned.plan = requests.plan_settings(
            settings,
            device,
            standing.current if standing else None,
            wanted,
            now=now,
            suspend_timers=suspend_timers,
        )
    except ValidationError as error:
        _take(planned, error)
    except Conflict as conflict:
        planned.refuse("server" if conflict.code == "timer_enabled" else "", conflict)
    return planned


def _is_stored(settings: ScepSettings, challenge_password: str | None) -> bool:
    """True for the challenge password that the device has: files that come back change nothing."""
    if not challenge_password or not settings.has_challenge_password:
        return False
    try:
        return settings.reveal_challenge_password() == challenge_password
    except SecretUnreadable:
        return False


def _take_connector_secrets(device: Device, given: dict[str, Any]) -> None:
    """Put the secret settings of the connector that are new among its others, as the services take them.

    At another address they are new however they read: whoever has them in the file knows them.
    """
    secret = given.pop(CONNECTOR_SECRETS.name, None)
    if not secret:
        return
    try:
        stored = device.reveal_connector_secrets()
    except SecretUnreadable:
        stored = {}
    if given.get("connector", device.connector) == device.connector and not _moves(device, given):
        secret = {name: value for name, value in secret.items() if stored.get(name) != value}
    if secret:
        given["connector_settings"] = {**given.get("connector_settings", device.connector_settings), **secret}


def _moves(device: Device, given: Mapping[str, Any]) -> bool:
    """True when the device's secrets would be sent elsewhere than they were given for."""
    moved = copy.copy(device)
    for name in inventory.PLACE_FIELDS & given.keys():
        setattr(moved, name, given[name])
    return moved.secrets_held


def _read(planned: PlannedRow, references: _References) -> dict[str, Any]:
    """The values of the row's cells, what is wrong among them noted and left out."""
    fields: dict[str, Any] = {}
    known = columns()
    broken = {problem.column for problem in planned.problems}
    for name, cell in planned.row.cells.items():
        column = known[name]
        if name in broken:
            continue
        try:
            if not cell:
                if column.clearable:
                    fields[name] = column.empty
                elif column.required:
                    raise ValidationError(_("This cannot be empty."))
            elif column.kind is Kind.REFERENCE:
                fields[name] = references.find(column, cell)
            else:
                fields[name] = column.read(cell)
        except ValidationError as error:
            planned.refuse(name, " ".join(error.messages))
    return fields


def _place(planned: PlannedRow, fields: dict[str, Any]) -> None:
    """Give a moment without an offset the time zone of the device's group, the one of the row if it names one."""
    for name, value in [*fields.items()]:
        if columns()[name].kind is Kind.MOMENT and value is not None and timezone.is_naive(value):
            group = fields.get("group", planned.device and planned.device.group)
            zone = zoneinfo.ZoneInfo(group.time_zone) if group else timezone.get_default_timezone()
            try:
                with timezone.override(zone):
                    fields[name] = from_current_timezone(value)
            except ValidationError as error:
                planned.refuse(name, " ".join(error.messages))
                del fields[name]


def _take(planned: PlannedRow, error: ValidationError) -> None:
    """Note what services say of fields; what is wrong with a cell already is not said twice."""
    broken = {problem.column for problem in planned.problems}
    for name, messages in error.message_dict.items():
        if name not in broken:
            planned.refuse("" if name == NON_FIELD_ERRORS else name, " ".join(messages))


def challenge_password(row: SourceRow) -> str:
    """The one that the row sets; empty when it sets none."""
    return row.cells.get(CHALLENGE_PASSWORD.name, "")
