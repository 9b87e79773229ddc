"""Moving one device's request to another time, and nothing else: what spreading a fleet's load takes (R9, R10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import checks, log
from devices.errors import Conflict
from devices.models import Device, ScepSettings, summary
from devices.models.choices import TriggerChoices
from devices.rules import schedule


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device's waiting request was when its new time was worked out."""

    server_id: int
    request_at: datetime
    offset_seconds: int
    """The offset that the device's timer drew (R10)."""


@transaction.atomic
def move_start(
    actor: Actor, device: Device, request_start_at: datetime, *, seen: Seen | None = None
) -> ScepSettings:
    """Set [Request Start Date/Time], keep the offset that was drawn, and move the request that waits.

    Raises PermissionDenied (R1), and Conflict: the timer is off, no request waits, one is under way, the new time has
    passed, or the device is not any more what was `seen`.
    """
    access.require(actor, Permission.CHANGE_SCEP_SETTINGS)
    settings = ScepSettings.objects.select_for_update().get(device=device)
    current = log.locked_open_request(device.pk)
    if not settings.timer_enabled or settings.offset_seconds is None:
        raise Conflict("timer_disabled", _("The timer is off: there is no start to move."))
    if current is None:
        raise Conflict("no_request", _("No request of this device waits: there is none to move."))
    if not log.is_scheduled(current):
        raise checks.request_open()
    if seen not in (None, Seen(current.server_id or 0, current.request_at, settings.offset_seconds)):
        raise Conflict(
            "changed_since",
            _("The device was changed since this time was proposed for it. Spread its group again."),
        )
    request_at = schedule.request_time(request_start_at, settings.offset_seconds)
    if request_at <= timezone.now():
        raise Conflict("time_passed", _("The new time has passed already. Spread the group again."))
    before = {"request_start_at": settings.request_start_at, "request_at": current.request_at}
    settings.request_start_at = request_start_at
    settings.save(update_fields=["request_start_at"])
    current.trigger = TriggerChoices.TIMER
    log.set_time(current, request_at, settings.offset_seconds)
    current.save(update_fields=["trigger", "request_at", "next_action_at", "offset_seconds", "lease"])
    summary.refresh([device.pk])
    after = {"request_start_at": request_start_at, "request_at": request_at}
    audit.record(actor, "scep_settings.update", device, audit.difference(before, after))
    return settings
