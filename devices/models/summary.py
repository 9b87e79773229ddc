"""The derived columns of Device: what its status log and key store come to.

Computed anew from the rows themselves, in the transaction that changed them, with one UPDATE for any
number of devices. So the summary cannot drift, and lists need no join.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Case, F, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from devices.models.choices import KeyUseChoices, StatusChoices
from devices.models.device import Device
from devices.models.issuance import IssuanceRequest
from devices.models.keystore import KeyAndCertificate
from devices.rules.lifecycle import CLOSED_STATES, STATUS, UNDER_WAY_STATES, State


def _latest(condition: Q) -> QuerySet[IssuanceRequest]:
    return IssuanceRequest.objects.filter(condition, device=OuterRef("pk")).order_by("-sequence")


def refresh(device_ids: Iterable[int]) -> None:
    """Bring the derived columns of these devices up to date."""
    under_way = _latest(Q(state__in=sorted(UNDER_WAY_STATES)))
    scheduled = _latest(Q(state=State.SCHEDULED))
    ended = _latest(Q(state__in=sorted(CLOSED_STATES)))
    keys = KeyAndCertificate.objects.filter(device=OuterRef("pk"))
    # What a function uses counts. A key without a function is spare, unless the device has no other kind.
    in_use = (
        keys.exclude(key_use=KeyUseChoices.NONE)
        .order_by()
        .values("device")
        .annotate(first=Min("not_after"))
        .values("first")
    )
    newest = keys.order_by("-issued_at", "-pk").values("not_after")[:1]
    processing = StatusChoices.PROCESSING.value
    Device.objects.filter(pk__in=list(device_ids)).annotate(
        under_way_since=Subquery(under_way.values("started_at")[:1]),
        scheduled_for=Subquery(scheduled.values("request_at")[:1]),
        ended_state=Subquery(ended.values("state")[:1]),
        ended_details=Subquery(ended.values("details")[:1]),
        ended_at=Subquery(ended.values("completed_at")[:1]),
        first_expiry=Coalesce(Subquery(in_use), Subquery(newest)),
    ).update(
        status=Case(
            When(under_way_since__isnull=False, then=Value(processing)),
            *(When(ended_state=state.value, then=Value(STATUS[state].value)) for state in CLOSED_STATES),
            When(scheduled_for__isnull=False, then=Value(StatusChoices.TO_BE_PROCESSED.value)),
            default=Value(""),
        ),
        details=Case(
            When(under_way_since__isnull=False, then=Value("")),
            default=Coalesce(F("ended_details"), Value("")),
        ),
        status_at=Coalesce(F("under_way_since"), F("ended_at"), F("scheduled_for")),
        next_request_at=F("scheduled_for"),
        expires_at=F("first_expiry"),
    )
