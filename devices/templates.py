"""Templates of settings: kept, previewed for a selection of devices, and applied to one device at a time.

What a template would change, and what is refused, says `enrollment.requests.plan_settings`, which saving uses
too: so a preview and what comes of it cannot differ by their rules. Jobs apply templates to many devices.
Every function that writes raises PermissionDenied when `actor` may not (R1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import QuerySet
from django.forms.utils import from_current_timezone
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import log, requests
from devices.enrollment.requests import SETTINGS_FIELDS, Plan
from devices.errors import Conflict, sentences
from devices.models import Device, IssuanceRequest, ScepServer, SettingsTemplate

_CHUNK = 1000
"""Devices that a survey looks at with two queries."""


LEFT = "left as it is"
"""What the audit trail says of a setting that a template does not set."""


class Outcome(models.TextChoices):
    """What applying a template comes to for one device."""

    CHANGED = "changed", gettext_lazy("Changes")
    UNCHANGED = "unchanged", gettext_lazy("Nothing changes")
    REFUSED = "refused", gettext_lazy("Refused")


# --- keeping templates -----------------------------------------------------------------------------------


@transaction.atomic
def create(
    actor: Actor,
    *,
    name: str,
    description: str = "",
    settings: Mapping[str, Any],
    challenge_password: str = "",
) -> SettingsTemplate:
    """A new template that sets `settings`: any of SETTINGS_FIELDS, and a challenge password unless it is empty.

    `request_start_at` is a local date and time without a zone. Raises ValidationError with a dict of fields.
    """
    access.require(actor, Permission.ADD_SETTINGS_TEMPLATE)
    template = SettingsTemplate(name=name, description=description)
    template.set_challenge_password(challenge_password)
    _set_settings(template, settings)
    template.full_clean()
    template.save()
    password = {"challenge_password": "set"} if template.has_challenge_password else {}
    facts = {"description": description, **_settings_on_record(template), **password}
    audit.record(actor, "settingstemplate.create", template, facts)
    return template


@transaction.atomic
def update(actor: Actor, template: SettingsTemplate, **fields: Any) -> SettingsTemplate:
    """Change what `create` takes; `settings` take the place of all that there were.

    What is left out stays as it is; the empty challenge password removes it. Devices and jobs that took the
    template over are left alone. Raises ValidationError with a dict of fields.
    """
    access.require(actor, Permission.CHANGE_SETTINGS_TEMPLATE)
    if unknown := fields.keys() - {"name", "description", "settings", "challenge_password"}:
        raise TypeError(f"a template has no {', '.join(sorted(unknown))}")
    template = SettingsTemplate.objects.select_for_update(of=("self",)).get(pk=template.pk)
    before = _on_record(template)
    template.name = fields.get("name", template.name)
    template.description = fields.get("description", template.description)
    password = fields.get("challenge_password")
    password_changed = password is not None and bool(password or template.has_challenge_password)
    if password is not None:
        template.set_challenge_password(password)
    _set_settings(template, fields.get("settings"))
    template.full_clean()
    changes: dict[str, Any] = dict(audit.difference(before, _on_record(template)))
    if password_changed:
        changes["challenge_password"] = "changed"  # noqa: S105 - a word of the audit trail
    if changes:
        template.save()
        audit.record(actor, "settingstemplate.update", template, changes)
    return template


@transaction.atomic
def delete(actor: Actor, template: SettingsTemplate) -> None:
    """Remove the template; what it was applied to stays as it is."""
    access.require(actor, Permission.DELETE_SETTINGS_TEMPLATE)
    audit.record(actor, "settingstemplate.delete", template)
    template.delete()


def _on_record(template: SettingsTemplate) -> dict[str, Any]:
    """Everything that the audit trail compares; a setting that the template does not name says so."""
    settings = dict.fromkeys(SETTINGS_FIELDS, LEFT) | _settings_on_record(template)
    return {"name": template.name, "description": template.description, **settings}


def _settings_on_record(template: SettingsTemplate) -> dict[str, Any]:
    """What it sets, the server by its name, as the events of devices have it."""
    return template.values | ({} if template.server is None else {"server": str(template.server)})


def _set_settings(template: SettingsTemplate, settings: Mapping[str, Any] | None) -> None:
    """Check and set; None leaves them. Raises ValidationError, also for a template that sets nothing at all."""
    if settings is not None:
        values = _clean(settings)
        template.server = values.pop("server", None)
        if start := values.get("request_start_at"):
            values["request_start_at"] = start.isoformat(timespec="seconds")
        template.settings = values
    if not template.values and not template.has_challenge_password:
        raise ValidationError({"settings": _("Choose at least one setting that the template sets.")})


def _clean(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` in the types of ScepSettings. Raises ValidationError with every problem of every field."""
    known = {name: settings[name] for name in SETTINGS_FIELDS if name in settings}
    errors: dict[str, Any] = {
        name: _("There is no such setting. Known are: %s.") % ", ".join(SETTINGS_FIELDS)
        for name in settings
        if name not in known
    }
    values: dict[str, Any] = {}
    try:
        values = requests.check_settings(known)
    except ValidationError as error:
        errors |= error.error_dict
    if known.get("common_name"):
        errors["common_name"] = _(
            "Many devices cannot share one common name. Leave it empty: each device takes its own address."
        )
    if "server" in known and known["server"] is None:
        errors["server"] = _("Choose a SCEP server, or let each device keep its own.")
    start = values.get("request_start_at")
    if start is not None and timezone.is_aware(start):
        errors["request_start_at"] = _(
            "Write a local date and time without a time zone; each device takes it in its group's time zone."
        )
    if errors:
        raise ValidationError(errors)
    return values


# --- what a template comes to ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a template sets at one moment: changing or deleting the template does not change it."""

    settings: Mapping[str, Any]
    """As `SettingsTemplate.values`."""
    server: ScepServer | None
    challenge_password: str = field(default="", repr=False)
    """Empty: each device keeps its own."""

    @classmethod
    def of(cls, template: SettingsTemplate) -> Snapshot:
        """What `template` sets now. Raises devices.secrets.SecretUnreadable."""
        return cls(template.values, template.server, template.reveal_challenge_password())

    def fields_for(self, device: Device) -> dict[str, Any]:
        """What `requests.save_settings` takes, for `device`, whose group is at hand.

        Raises ValidationError for a start that does not exist in the device's time zone, or exists twice.
        """
        fields = dict(self.settings)
        if "server" in fields:
            fields["server"] = self.server
        if start := fields.get("request_start_at"):
            fields["request_start_at"] = _moment(datetime.fromisoformat(start), device)
        if self.challenge_password:
            fields["challenge_password"] = self.challenge_password
        return fields


def _moment(local: datetime, device: Device) -> datetime:
    """The moment at which clocks where the device stands show `local`; asked as the device's own form asks."""
    with timezone.override(device.zone):
        try:
            found: datetime = from_current_timezone(local)
        except ValidationError as error:
            raise ValidationError({"request_start_at": error}) from None
    return found.astimezone(UTC)


def apply(actor: Actor, device: Device, snapshot: Snapshot, *, suspend_timers: bool = False) -> bool:
    """Save what `snapshot` sets; False when the device had it all. Raises what `requests.save_settings` raises."""
    fields = snapshot.fields_for(device)
    return not requests.change_settings(actor, device, fields, suspend_timers=suspend_timers).is_empty


@dataclass(frozen=True, slots=True)
class Row:
    """What applying a template comes to for one device: a plan, or why it is refused."""

    device: Device
    plan: Plan | None
    refusal: str = ""

    @property
    def outcome(self) -> Outcome:
        """Which of the three it is."""
        if self.plan is None:
            return Outcome.REFUSED
        return Outcome.UNCHANGED if self.plan.is_empty else Outcome.CHANGED


@dataclass(frozen=True, slots=True)
class Preview:
    """What applying a template to a selection of devices comes to."""

    template: SettingsTemplate
    now: datetime
    suspend_timers: bool
    outcomes: Mapping[int, Outcome]
    """Of every device by its id, in the order of the selection."""

    @property
    def totals(self) -> dict[Outcome, int]:
        """How many devices come to each outcome."""
        counted = Counter(self.outcomes.values())
        return {outcome: counted[outcome] for outcome in Outcome}

    def ids(self, outcome: Outcome | None = None) -> list[int]:
        """The devices that come to `outcome`, by default all, in the order of the selection."""
        return [pk for pk, found in self.outcomes.items() if outcome is None or found is outcome]

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """In full for a page of devices, with two queries."""
        return list(_rows(_unrevealed(self.template), ids, self.now, self.suspend_timers))


def preview(
    template: SettingsTemplate,
    devices: QuerySet[Device],
    *,
    suspend_timers: bool = False,
    now: datetime | None = None,
) -> Preview:
    """What applying `template` to `devices` would come to at `now`, by default the present; nothing is written.

    Two queries for a thousand devices, and one for the selection.
    """
    snapshot, now = _unrevealed(template), now or timezone.now()
    ids = list(devices.values_list("pk", flat=True))
    outcomes = {
        row.device.pk: row.outcome
        for start in range(0, len(ids), _CHUNK)
        for row in _rows(snapshot, ids[start : start + _CHUNK], now, suspend_timers)
    }
    return Preview(template, now, suspend_timers, outcomes)


def _unrevealed(template: SettingsTemplate) -> Snapshot:
    """With a stand-in for the challenge password: that there is one is all that a plan asks."""
    return Snapshot(template.values, template.server, "•" if template.has_challenge_password else "")


def _rows(snapshot: Snapshot, ids: Sequence[int], now: datetime, suspend_timers: bool) -> Iterable[Row]:
    """In the order of `ids`, without devices that are gone."""
    found = Device.objects.select_related("group", "scep_settings__server").in_bulk(ids)
    waiting = IssuanceRequest.objects.filter(device__in=ids, state__in=log.OPEN)
    current = {request.device_id: request for request in waiting.only("device", "state", "trigger")}
    for device in (found[pk] for pk in ids if pk in found):
        try:
            plan = requests.plan_settings(
                device.scep_settings,
                device,
                current.get(device.pk),
                snapshot.fields_for(device),
                now=now,
                suspend_timers=suspend_timers,
            )
        except (ValidationError, Conflict) as error:
            yield Row(device, None, sentences(error))
        else:
            yield Row(device, plan)
