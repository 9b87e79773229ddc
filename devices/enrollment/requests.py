"""Who may ask for a certificate, and when: settings, the timer and manual requests (R3, R4 to R15).

Every function locks the device's ScepSettings first and its requests after: so a timer that is switched
off and a request that ends at the same moment agree on what comes next. Every function raises
PermissionDenied when `actor` may not (R1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, doorbell
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import checks, log, upcoming
from devices.errors import Conflict
from devices.models import PARAMETER_FIELDS, Device, IssuanceRequest, ScepSettings, summary
from devices.models.choices import TriggerChoices

SETTINGS_FIELDS = (
    "server",
    "timer_enabled",
    "request_start_at",
    "auto_adjust",
    "polling_count",
    "polling_interval_seconds",
    "request_interval_days",
    "renew_at_percent",
    "renew_days_before",
    "auto_restart",
    "delete_old_key",
    *PARAMETER_FIELDS,
)
"""What `save_settings` takes beside `challenge_password`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change of a device's settings comes to."""

    settings: ScepSettings
    """With the new values set and not stored."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    """The values of SETTINGS_FIELDS that differ, in the model's types."""
    password_changed: bool = False
    suspends_timer: bool = False
    """True when the server changes under a timer that is on (R3)."""

    @property
    def is_empty(self) -> bool:
        """True when everything stays as it is."""
        return not self.after and not self.password_changed

    @property
    def changes(self) -> dict[str, Any]:
        """As the audit trail tells it: `{field: [old, new]}`, and of the challenge password that it changed."""
        facts = {"challenge_password": "changed"} if self.password_changed else {}
        return audit.difference(self.before, self.after) | facts


def plan_settings(
    settings: ScepSettings,
    device: Device,
    current: IssuanceRequest | None,
    fields: Mapping[str, Any],
    *,
    now: datetime,
    suspend_timers: bool = False,
) -> Plan:
    """Set `fields` in `settings` of `device`, and say what that changes; `current` is the device's open request.

    Every rule of `save_settings` without its writing, and without a query: `settings` comes with its server.
    Raises what `save_settings` raises.
    """
    if start := fields.get("request_start_at"):
        # whole seconds, as forms show them: a form that is saved unchanged changes nothing
        fields = {**fields, "request_start_at": start.replace(microsecond=0)}
    old = {name: getattr(settings, name) for name in SETTINGS_FIELDS}
    password_changed = checks.assign(settings, fields, SETTINGS_FIELDS)
    after = {name: value for name in SETTINGS_FIELDS if (value := getattr(settings, name)) != old[name]}
    before = {name: old[name] for name in after}
    if not after and not password_changed:
        return Plan(settings, before, after)
    under_way = current is not None and not log.is_scheduled(current)
    suspends_timer = bool(old["timer_enabled"] and settings.timer_enabled and "server" in after)
    if suspends_timer and not suspend_timers:
        raise Conflict(
            "timer_enabled",
            _(
                "[Communication Settings] cannot be updated while [Enable Timer for Certificate Issuance "
                "Auto Request] is on. Suspend the timer, update, and resume in one go (suspend_timers)."
            ),
        )
    if suspends_timer and under_way:
        raise checks.request_open()
    checks.check(settings, device, checks.timer_problems(settings, device, after.keys(), now))
    if under_way and settings.timer_enabled and after.keys() & upcoming.TIMER_FIELDS:
        raise checks.request_open()
    return Plan(settings, before, after, password_changed, suspends_timer)


def save_settings(
    actor: Actor, device: Device, *, suspend_timers: bool = False, now: datetime | None = None, **fields: Any
) -> ScepSettings:
    """Change any of SETTINGS_FIELDS and `challenge_password` (text; the empty one removes it).

    Switching the timer on draws R10's offset and schedules the request; a changed [Request Start
    Date/Time] or [Auto Adjust ...] draws anew, the latter without moving a periodic request. Switching it off
    removes the scheduled request. With `suspend_timers` the SCEP server changes under a timer that is on, which
    keeps its schedule (R3). `now` is the present unless given.
    Raises ValidationError with a dict of fields, and Conflict (R3, or a request is under way).
    """
    return change_settings(actor, device, fields, suspend_timers=suspend_timers, now=now).settings


@transaction.atomic
def change_settings(
    actor: Actor,
    device: Device,
    fields: Mapping[str, Any],
    *,
    suspend_timers: bool = False,
    now: datetime | None = None,
) -> Plan:
    """As `save_settings`; returns what changed."""
    access.require(actor, Permission.CHANGE_SCEP_SETTINGS)
    settings = _locked_settings(device)
    current = log.locked_open_request(device.pk)
    plan = plan_settings(
        settings, device, current, fields, now=now or timezone.now(), suspend_timers=suspend_timers
    )
    if plan.is_empty:
        return plan
    if "server" in plan.after:
        # it may have been deleted since the caller read it
        settings.clean_fields(exclude={field.name for field in settings._meta.fields} - {"server"})
    if plan.password_changed:
        settings.set_challenge_password(fields["challenge_password"])
    following = upcoming.after_change(
        settings, current, plan.after.keys(), lambda: upcoming.next_period(settings)
    )
    settings.save()
    upcoming.store(current, following)
    summary.refresh([device.pk])
    facts = {"suspended_timers": 1} if plan.suspends_timer else {}
    audit.record(actor, "scep_settings.update", device, plan.changes | facts)
    return plan


@transaction.atomic
def request_certificate(
    actor: Actor, device: Device, *, ring: bool = True, **parameters: Any
) -> IssuanceRequest:
    """Send a manual request with `parameters`: PARAMETER_FIELDS and `challenge_password` (R4).

    What is not given takes the factory default, not the device's settings, and none of them changes (R8).
    Without `ring` it waits for the next tick: for many at once.
    Raises ValidationError with a dict of fields; Conflict while the timer is on (R7) or a request is open.
    """
    access.require(actor, Permission.ADD_ISSUANCE_REQUEST)
    settings = _locked_settings(device)
    if settings.timer_enabled:
        raise Conflict(
            "timer_enabled",
            _(
                "A manual request cannot be sent while [Enable Timer for Certificate Issuance Auto Request] "
                "is on. Switch the timer off first."
            ),
        )
    if log.open_request(device.pk):
        raise checks.request_open()
    now = timezone.now()
    request = IssuanceRequest(
        device=device, server=settings.server, trigger=TriggerChoices.MANUAL, sequence=1
    )
    log.set_time(request, now, 0)
    if checks.assign(request, parameters, PARAMETER_FIELDS):
        request.set_challenge_password(parameters["challenge_password"])
    problems = checks.name_problems(request, device)
    if settings.server is None:
        problems["server"] = _("Choose a SCEP server in the device's settings first.")
    checks.check(request, device, problems)
    log.append(request)
    summary.refresh([device.pk])
    audit.record(
        actor,
        "issuance_request.create",
        device,
        {name: getattr(request, name) for name in PARAMETER_FIELDS},
        at=now,
    )
    if ring:
        transaction.on_commit(doorbell.ring_dispatcher)
    return request


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise ValidationError with a dict of fields for parameters that no device could take (R4)."""
    request = IssuanceRequest()
    checks.assign(request, parameters, PARAMETER_FIELDS)
    others = {field.name for field in request._meta.fields} - {*PARAMETER_FIELDS}
    errors: dict[str, Any] = {}
    try:
        request.clean_fields(exclude=others)
    except ValidationError as error:
        errors |= error.error_dict
    errors |= checks.destination_problems(request)
    if errors:
        raise ValidationError(errors)


def check_settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values of SETTINGS_FIELDS in the model's types, whatever device they are for.

    Raises ValidationError with a dict of fields for values that no device could take, and TypeError for a name
    that is none of SETTINGS_FIELDS.
    """
    settings = ScepSettings()
    checks.assign(settings, fields, SETTINGS_FIELDS)
    errors: dict[str, Any] = {}
    try:
        settings.clean_fields(exclude={field.name for field in settings._meta.fields} - fields.keys())
    except ValidationError as error:
        errors |= error.error_dict
    if settings.timer_enabled and "request_start_at" in fields and settings.request_start_at is None:
        errors["request_start_at"] = _("Enter the [Request Start Date/Time] before you switch the timer on.")
    errors |= checks.destination_problems(settings)
    if errors:
        raise ValidationError(errors)
    return {name: getattr(settings, name) for name in SETTINGS_FIELDS if name in fields}


def _locked_settings(device: Device) -> ScepSettings:
    return ScepSettings.objects.select_related("server").select_for_update(of=("self",)).get(device=device)
