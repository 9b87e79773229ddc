"""The audit trail: who did what to what, when, from where."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from devices.models import AuditEvent
from fleet.dashboard.filters import AuditTrailFilter
from fleet.dashboard.views.common import PAGE_SIZE


@require_safe
def audit_trail(request: HttpRequest) -> HttpResponse:
    """Newest first. The next page begins at an event, so that it costs the same however long the trail is."""
    found = AuditTrailFilter(request.GET, AuditEvent.objects.order_by("-pk"))
    events = found.qs if found.is_valid() else AuditEvent.objects.none()
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit():
        events = events.filter(pk__lt=int(before))
    shown = list(events[: PAGE_SIZE + 1])
    older = request.GET.copy()
    if len(shown) > PAGE_SIZE:
        older["before"] = str(shown[PAGE_SIZE - 1].pk)
    context = {
        "filter": found,
        "events": shown[:PAGE_SIZE],
        "older": older.urlencode() if len(shown) > PAGE_SIZE else "",
        "is_filtered": not found.is_valid() or any(found.form.cleaned_data.values()) or bool(before),
    }
    return render(request, "dashboard/audit.html", context)
