"""What becomes of a device's open request when its settings change: the same for one device and for many."""

from __future__ import annotations

import random
from collections.abc import Callable, Set
from datetime import datetime

from django.db.models import QuerySet

from devices.enrollment import log
from devices.models import IssuanceRequest, ScepSettings
from devices.models.choices import TriggerChoices
from devices.rules import schedule

TIMER_FIELDS = frozenset({"timer_enabled", "request_start_at", "auto_adjust"})
"""What the time of the timer's own request depends on."""

PERIOD_FIELDS = frozenset({"request_interval_days", "renew_at_percent", "renew_days_before"})
"""What the time of the next periodic request depends on."""


def after_change(
    settings: ScepSettings,
    current: IssuanceRequest | None,
    changed: Set[str],
    period: Callable[[], datetime | None],
) -> IssuanceRequest | None:
    """The open request once the fields `changed` of `settings` have; nothing is stored.

    `current`, changed in place, or a new one without an id, or None when nothing is to come. Draws R10's offset
    into `settings`. `period` says when the next periodic request would be sent, or None.
    """
    if changed & TIMER_FIELDS:
        current = _after_timer(settings, current, changed)
    if not settings.timer_enabled:
        return current
    if changed & PERIOD_FIELDS and (current is None or is_periodic(current)):
        current = _after_period(settings, current, period)
    if current is not None and log.is_scheduled(current):
        current.lease = None  # a worker that is just making a key for it drops what it made
        current.next_action_at = current.request_at
        log.take_over(current, settings)
    return current


def is_periodic(request: IssuanceRequest) -> bool:
    """True for a periodic request that waits: it moves with its period. One under way ends by itself."""
    return request.trigger == TriggerChoices.PERIODIC and log.is_scheduled(request)


def _after_timer(
    settings: ScepSettings, current: IssuanceRequest | None, changed: Set[str]
) -> IssuanceRequest | None:
    """The timer's own request (R9, R10)."""
    if not settings.timer_enabled:
        settings.offset_seconds = None
        return None if log.is_scheduled(current) else current
    if settings.request_start_at is None:
        raise AssertionError("a timer that is on has its start: timer_problems saw to it")
    settings.offset_seconds = schedule.draw_offset(settings.auto_adjust, random.randint)
    if not changed & {"timer_enabled", "request_start_at"} and (
        current is None or current.trigger != TriggerChoices.TIMER
    ):
        # the timer has rung: what follows counts from the last success and has no offset (R12)
        return current
    request_at = schedule.request_time(settings.request_start_at, settings.offset_seconds)
    if current is None:
        return log.scheduled(
            settings, TriggerChoices.TIMER, request_at, offset_seconds=settings.offset_seconds
        )
    current.trigger = TriggerChoices.TIMER
    log.set_time(current, request_at, settings.offset_seconds)
    return current


def _after_period(
    settings: ScepSettings, current: IssuanceRequest | None, period: Callable[[], datetime | None]
) -> IssuanceRequest | None:
    """The periodic request under the new rules (R12)."""
    at = period()
    if at is None:
        return None
    if current is None:
        return log.scheduled(settings, TriggerChoices.PERIODIC, at, offset_seconds=0)
    log.set_time(current, at, 0)
    return current


def next_period(settings: ScepSettings) -> datetime | None:
    """When the next periodic request would be sent, counted from the last automatic one; two queries."""
    last = ended(settings.device_id).order_by("-sequence").first()
    return log.next_period_after(last, settings) if last else None


def ended(*device_ids: int) -> QuerySet[IssuanceRequest]:
    """The automatic requests of these devices that have ended."""
    return IssuanceRequest.objects.filter(device__in=device_ids, completed_at__isnull=False).exclude(
        trigger=TriggerChoices.MANUAL
    )


def store(before: IssuanceRequest | None, after: IssuanceRequest | None) -> None:
    """Write what `after_change` made of `before`."""
    if after is None:
        if before is not None:
            before.delete()
    elif after._state.adding:
        log.append(after)
    elif log.is_scheduled(after):
        after.save()
