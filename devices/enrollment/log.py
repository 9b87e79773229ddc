"""Opening a line of the status log: every request starts here (R16, R18)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max, Q

from devices.models import LOG_LINES, IssuanceRequest, KeyAndCertificate, ScepSettings
from devices.models.choices import StateChoices, TriggerChoices
from devices.rules.lifecycle import OPEN_STATES, State
from devices.rules.schedule import Period, next_period

OPEN = sorted(state.value for state in OPEN_STATES)
"""Values of `IssuanceRequest.state` of which a device has at most one."""


def append(request: IssuanceRequest) -> IssuanceRequest:
    """Store `request` as the newest line of its device's log; the 21st overwrites the oldest (R18).

    Call it inside a transaction that holds the lock on the device's ScepSettings.
    """
    lines = IssuanceRequest.objects.filter(device=request.device_id)
    newest: int = lines.aggregate(newest=Max("sequence"))["newest"] or 0
    request.sequence = newest + 1
    lines.filter(sequence__lte=request.sequence - LOG_LINES).delete()
    request.save(force_insert=True)
    return request


def append_many(requests: Sequence[IssuanceRequest]) -> None:
    """`append` for requests of different devices, with four statements."""
    lines = IssuanceRequest.objects.filter(device__in=[request.device_id for request in requests])
    newest = dict(lines.order_by().values_list("device").annotate(Max("sequence")))
    overwritten = Q()
    for request in requests:
        request.sequence = newest.get(request.device_id, 0) + 1
        if request.sequence > LOG_LINES:
            overwritten |= Q(device=request.device_id, sequence__lte=request.sequence - LOG_LINES)
    if overwritten:
        IssuanceRequest.objects.filter(overwritten).delete()
    IssuanceRequest.objects.bulk_create(requests)


def schedule(
    settings: ScepSettings, trigger: TriggerChoices, request_at: datetime, *, offset_seconds: int
) -> IssuanceRequest:
    """The next automatic request of a device, in [To Be Processed] until `request_at`."""
    return append(scheduled(settings, trigger, request_at, offset_seconds=offset_seconds))


def scheduled(
    settings: ScepSettings, trigger: TriggerChoices, request_at: datetime, *, offset_seconds: int
) -> IssuanceRequest:
    """The same, not stored yet."""
    request = IssuanceRequest(device_id=settings.device_id, trigger=trigger)
    set_time(request, request_at, offset_seconds)
    take_over(request, settings)
    return request


def set_time(request: IssuanceRequest, request_at: datetime, offset_seconds: int) -> None:
    """Send `request` at `request_at`, `offset_seconds` of R10 included."""
    request.request_at = request.next_action_at = request_at
    request.offset_seconds = offset_seconds
    # whoever has claimed the row for the old time finds its lease gone and leaves it alone
    request.lease = None


def take_over(request: IssuanceRequest, settings: ScepSettings) -> None:
    """Give a scheduled request what the device's settings say (R11, R13 to R15)."""
    request.copy_parameters(settings)
    request.server_id = settings.server_id
    request.polls_left = settings.polling_count
    request.polling_interval_seconds = settings.polling_interval_seconds
    request.delete_old_key = settings.delete_old_key
    request.auto_restart = settings.auto_restart


def open_request(device_id: int) -> IssuanceRequest | None:
    """The device's request that has not ended, or None."""
    return IssuanceRequest.objects.filter(device=device_id, state__in=OPEN).first()


def locked_open_request(device_id: int) -> IssuanceRequest | None:
    """The same, locked until the transaction ends: no worker takes it a step on meanwhile.

    Call it inside a transaction that holds the lock on the device's ScepSettings.
    """
    found = IssuanceRequest.objects.filter(device=device_id, state__in=OPEN)
    return found.select_for_update(of=("self",)).first()


def is_scheduled(request: IssuanceRequest | None) -> bool:
    """True for an automatic request that nothing was done for yet: settings may still change or remove it."""
    return (
        request is not None
        and request.state == StateChoices.SCHEDULED
        and request.trigger != TriggerChoices.MANUAL
    )


def next_period_after(ended: IssuanceRequest, settings: ScepSettings) -> datetime | None:
    """When the request that follows the automatic one `ended` is sent (R12), or None for never."""
    key = KeyAndCertificate.objects.filter(
        device=settings.device_id,
        key_use=settings.key_use,
        ipsec_destination=settings.ipsec_destination,
    ).first()
    return period_after(ended, settings.period, (key.not_before, key.not_after) if key else None)


def period_after(
    ended: IssuanceRequest, period: Period, validity: tuple[datetime, datetime] | None
) -> datetime | None:
    """The same, with the `validity` of the certificate in use at hand."""
    if ended.completed_at is None:
        raise ValueError(f"{ended} has not ended")
    return next_period(
        ended_at=ended.completed_at,
        request_at=ended.request_at,
        successful=ended.state == State.SUCCESSFUL,
        period=period,
        validity=validity,
    )
