"""Who may ask for a certificate, and when: settings, the timer and manual requests (R3, R4 to R15).

Every function locks the device's ScepSettings first and its requests after: so a timer that is switched
off and a request that ends at the same moment agree on what comes next. Every function raises
PermissionDenied when `actor` may not (R1).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, doorbell
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import log
from devices.errors import Conflict
from devices.models import PARAMETER_FIELDS, Device, IssuanceRequest, ScepSettings, summary
from devices.models.choices import TriggerChoices
from devices.models.parameters import COMMON_NAME_LENGTH, KeyAndCertificateParameters
from devices.rules import schedule
from devices.rules.keys import KeyUse

_PERIOD_FIELDS = frozenset({"request_interval_days", "renew_at_percent", "renew_days_before"})
"""What the time of the next periodic request depends on."""

LONGEST_LATE_START = timedelta(hours=1)
"""A start that passed less long ago was meant for now: somebody took a while over the form."""

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


@transaction.atomic
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
    access.require(actor, Permission.CHANGE_SCEP_SETTINGS)
    if start := fields.get("request_start_at"):
        # whole seconds, as forms show them: a form that is saved unchanged changes nothing
        fields["request_start_at"] = start.replace(microsecond=0)
    settings = _locked_settings(device)
    before = {name: getattr(settings, name) for name in SETTINGS_FIELDS}
    password_changed = _assign(settings, fields, SETTINGS_FIELDS)
    changes = audit.difference(before, {name: getattr(settings, name) for name in SETTINGS_FIELDS})
    if not changes and not password_changed:
        return settings
    facts: dict[str, Any] = {"challenge_password": "changed"} if password_changed else {}
    if before["timer_enabled"] and settings.timer_enabled and "server" in changes:
        if not suspend_timers:
            raise Conflict(
                "timer_enabled",
                _(
                    "[Communication Settings] cannot be updated while [Enable Timer for Certificate Issuance "
                    "Auto Request] is on. Suspend the timer, update, and resume in one go (suspend_timers)."
                ),
            )
        current = log.open_request(device.pk)
        if current and not log.is_scheduled(current):
            raise _request_open()
        facts["suspended_timers"] = 1
    _check(settings, device, _timer_problems(settings, device, changes, now or timezone.now()))
    _apply_timer(settings, changes)
    settings.save()
    _sync_scheduled(settings, changes)
    summary.refresh([device.pk])
    audit.record(
        actor,
        "scep_settings.update",
        device,
        changes | facts,
    )
    return settings


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
        raise _request_open()
    now = timezone.now()
    request = IssuanceRequest(
        device=device, server=settings.server, trigger=TriggerChoices.MANUAL, sequence=1
    )
    log.set_time(request, now, 0)
    _assign(request, parameters, PARAMETER_FIELDS)
    problems = _name_problems(request, device)
    if settings.server is None:
        problems["server"] = _("Choose a SCEP server in the device's settings first.")
    _check(request, device, problems)
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
    _assign(request, dict(parameters), PARAMETER_FIELDS)
    others = {field.name for field in request._meta.fields} - {*PARAMETER_FIELDS}
    errors: dict[str, Any] = {}
    try:
        request.clean_fields(exclude=others)
    except ValidationError as error:
        errors |= error.error_dict
    errors |= _destination_problems(request)
    if errors:
        raise ValidationError(errors)


def _locked_settings(device: Device) -> ScepSettings:
    return ScepSettings.objects.select_related("server").select_for_update(of=("self",)).get(device=device)


def _request_open() -> Conflict:
    return Conflict(
        "request_open",
        _("A certificate issuance request of this device is under way. Wait until it has ended."),
    )


def _assign(target: KeyAndCertificateParameters, fields: dict[str, Any], known: tuple[str, ...]) -> bool:
    """Set `fields`; True when a challenge password was set or removed. Raises TypeError."""
    if unknown := set(fields) - {*known, "challenge_password"}:
        raise TypeError(f"{type(target).__name__} has no {', '.join(sorted(unknown))}")
    for name in known:
        if name in fields:
            setattr(target, name, fields[name])
    if target.key_use != KeyUse.IPSEC and "ipsec_destination" not in fields:
        # the destination belongs to the use that was left
        target.ipsec_destination = ""
    password = fields.get("challenge_password")
    if password is None or not (password or target.has_challenge_password):
        return False
    target.set_challenge_password(password)
    return True


def _check(target: KeyAndCertificateParameters, device: Device, problems: dict[str, str]) -> None:
    """Raise ValidationError with every problem of every field at once."""
    errors: dict[str, Any] = {}
    try:
        target.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        errors |= error.error_dict
    errors |= problems
    errors |= _destination_problems(target, device)
    if errors:
        raise ValidationError(errors)


def _destination_problems(
    target: KeyAndCertificateParameters, device: Device | None = None
) -> dict[str, str]:
    """What is wrong with [Key Use Location] and the IPSec destination (R6); without a device, for any device."""
    if target.key_use != KeyUse.IPSEC:
        if not target.ipsec_destination:
            return {}
        return {"ipsec_destination": _("Only a key whose use is [IPSec] has an IPSec destination.")}
    if not target.ipsec_destination:
        return {"ipsec_destination": _("Choose the IPSec destination that will use the key.")}
    if device is None or target.ipsec_destination in device.ipsec_destinations:
        return {}
    return {
        "ipsec_destination": _("“%(name)s” is not one of the device's IPSec destinations (%(known)s).")
        % {"name": target.ipsec_destination, "known": ", ".join(device.ipsec_destinations) or _("none")}
    }


def _name_problems(target: KeyAndCertificateParameters, device: Device) -> dict[str, str]:
    """Without a common name the device's address takes its place, and must fit."""
    if target.common_name or len(device.host) <= COMMON_NAME_LENGTH:
        return {}
    return {
        "common_name": _(
            "The device's own address is longer than the %(longest)d characters of a common name; enter one."
        )
        % {"longest": COMMON_NAME_LENGTH}
    }


def _timer_problems(
    settings: ScepSettings, device: Device, changes: Collection[str], now: datetime
) -> dict[str, str]:
    if not settings.timer_enabled:
        return {}
    problems = _name_problems(settings, device)
    if settings.server_id is None:
        problems["server"] = _("Choose the SCEP server before you switch the timer on.")
    if settings.request_start_at is None:
        problems["request_start_at"] = _(
            "Enter the [Request Start Date/Time] before you switch the timer on."
        )
    elif (
        not {"timer_enabled", "request_start_at"}.isdisjoint(changes)
        and not schedule.repeats(settings.period)
        and settings.request_start_at <= now - LONGEST_LATE_START
    ):
        problems["request_start_at"] = _(
            "This start is in the past, and nothing follows it: enter a later one, or switch periodic requests on."
        )
    return problems


def _apply_timer(settings: ScepSettings, changes: dict[str, Any]) -> None:
    """Bring the device's next request in line with the timer (R9, R10)."""
    if not changes.keys() & {"timer_enabled", "request_start_at", "auto_adjust"}:
        return
    current = log.open_request(settings.device_id)
    if not settings.timer_enabled:
        settings.offset_seconds = None
        if current and log.is_scheduled(current):
            current.delete()
        return
    if current and not log.is_scheduled(current):
        raise _request_open()
    if settings.request_start_at is None:
        raise AssertionError("a timer that is on has its start: _timer_problems saw to it")
    settings.offset_seconds = schedule.draw_offset(settings.auto_adjust, random.randint)
    started = not changes.keys().isdisjoint({"timer_enabled", "request_start_at"})
    if not started and (current is None or current.trigger != TriggerChoices.TIMER):
        # the timer has rung: what follows counts from the last success and has no offset (R12)
        return
    request_at = schedule.request_time(settings.request_start_at, settings.offset_seconds)
    if current is None:
        log.schedule(settings, TriggerChoices.TIMER, request_at, offset_seconds=settings.offset_seconds)
    else:
        current.trigger = TriggerChoices.TIMER
        log.set_time(current, request_at, settings.offset_seconds)
        current.save()


def _sync_scheduled(settings: ScepSettings, changes: dict[str, Any]) -> None:
    """Let the request that waits take the new settings over, and move with a new period."""
    if not settings.timer_enabled:
        return
    current = log.open_request(settings.device_id)
    period_changed = bool(changes.keys() & _PERIOD_FIELDS)
    if current is None and not period_changed:
        return
    if period_changed and (current is None or current.trigger == TriggerChoices.PERIODIC):
        current = _move_period(settings, current)
    if current is not None and log.is_scheduled(current):
        current.lease = None  # a worker that is just making a key for it drops what it made
        current.next_action_at = current.request_at
        log.take_over(current, settings)
        current.save()


def _move_period(settings: ScepSettings, current: IssuanceRequest | None) -> IssuanceRequest | None:
    """The periodic request under the new rules (R12); one under way is left to end by itself."""
    if current is not None and not log.is_scheduled(current):
        return current
    last = (
        IssuanceRequest.objects.filter(device=settings.device_id, completed_at__isnull=False)
        .exclude(trigger=TriggerChoices.MANUAL)
        .order_by("-sequence")
        .first()
    )
    at = log.next_period_after(last, settings) if last else None
    if at is None:
        if current is not None:
            current.delete()
        return None
    if current is None:
        return log.schedule(settings, TriggerChoices.PERIODIC, at, offset_seconds=0)
    log.set_time(current, at, 0)
    return current
