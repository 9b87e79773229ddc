"""What all status logs of the fleet come to (F1): a constant number of queries, however many devices."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.db.models.functions import TruncHour

from devices.models import Deployment, Device, IssuanceRequest, KeyAndCertificate, ScepSettings
from devices.models.choices import DeploymentStateChoices, StatusChoices
from devices.rules.lifecycle import CLOSED_STATES, OPEN_STATES, State

HOURS = 24
_ROWS = 8
_LATEST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Hour:
    """The requests that ended within one hour; `start` is aware, in UTC and on the full hour."""

    start: datetime
    successful: int
    error: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The fleet at one moment."""

    total: int
    by_status: dict[str, int]
    """Devices per [Status], every one of the four, and "" for devices without any request."""
    timers_on: int
    deliveries: dict[str, int]
    """Keys per state of their delivery, every one of the states."""
    drifted: int
    """Devices that do not serve their certificate as it should be."""
    expires_unrenewed: int
    """Devices whose certificate will expire before anything is requested."""
    failures: list[tuple[str, int]]
    """[Details] of devices whose last request failed, with their number, most frequent first, then by their names."""
    due: list[IssuanceRequest]
    """Requests that wait for their time or their poll, soonest first; of one moment the older first."""
    expiring: list[KeyAndCertificate]
    latest: list[IssuanceRequest]
    """Ended requests, newest first; of one moment the newer first."""
    hours: list[Hour]
    """HOURS entries, oldest first; the last one is the hour that runs."""


def fleet_overview(now: datetime) -> Overview:
    """Aggregate every device's status log as it stands. `now` is aware."""
    by_status = dict.fromkeys([*StatusChoices.values, ""], 0)
    by_status.update(Device.objects.order_by().values_list("status").annotate(Count("pk")))
    failures = Counter(
        dict(
            Device.objects.filter(status=StatusChoices.ERROR)
            .order_by()
            .values_list("details")
            .annotate(Count("pk"))
        )
    )
    return Overview(
        total=sum(by_status.values()),
        by_status=by_status,
        deliveries=_deliveries(),
        drifted=Device.objects.exclude(drift="").count(),
        expires_unrenewed=Device.objects.filter(Device.EXPIRES_UNRENEWED).count(),
        timers_on=ScepSettings.objects.filter(timer_enabled=True).count(),
        failures=sorted(failures.items(), key=lambda found: (-found[1], found[0])),
        due=list(
            IssuanceRequest.objects.filter(state__in=sorted(OPEN_STATES))
            .select_related("device__group", "server")
            .order_by("next_action_at", "pk")[:_ROWS]
        ),
        expiring=list(
            KeyAndCertificate.objects.select_related("device__group").order_by("not_after", "pk")[:_ROWS]
        ),
        latest=list(
            IssuanceRequest.objects.filter(state__in=sorted(CLOSED_STATES))
            .select_related("device__group", "certificate")
            .order_by("-completed_at", "-pk")[:_LATEST_ROWS]
        ),
        hours=_hours(now),
    )


def _deliveries() -> dict[str, int]:
    counted = Deployment.objects.order_by().values_list("state").annotate(Count("pk"))
    return {**dict.fromkeys(DeploymentStateChoices.values, 0), **dict(counted)}


def _hours(now: datetime) -> list[Hour]:
    last = now.replace(minute=0, second=0, microsecond=0)
    starts = [last - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    counts = {
        hour: (successful, error)
        for hour, successful, error in IssuanceRequest.objects.filter(
            state__in=sorted(CLOSED_STATES), completed_at__gte=starts[0]
        )
        .order_by()
        .annotate(hour=TruncHour("completed_at", tzinfo=now.tzinfo))
        .values_list("hour")
        .annotate(
            successful=Count("pk", filter=Q(state=State.SUCCESSFUL)),
            error=Count("pk", filter=Q(state=State.FAILED)),
        )
    }
    return [Hour(start, *counts.get(start, (0, 0))) for start in starts]
