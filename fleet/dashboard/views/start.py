"""The start page: every status log of the fleet, aggregated (F1)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from devices.filters import NO_STATUS
from devices.models.choices import DeploymentStateChoices, StatusChoices
from devices.statistics import Overview, fleet_overview
from fleet.dashboard.templatetags.badges import deployment_state_badge


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """The page; its fragment comes again every few seconds."""
    return _render(request, "dashboard/start.html")


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """The fragment that updates itself."""
    return _render(request, "dashboard/_overview.html")


def _render(request: HttpRequest, template: str) -> HttpResponse:
    now = timezone.now()
    fleet = fleet_overview(now)
    context = {
        "fleet": fleet,
        "now": now,
        "cards": _cards(fleet),
        "deliveries": _deliveries(fleet),
        "chart": _chart(fleet),
    }
    return render(request, template, context)


def _cards(fleet: Overview) -> list[dict[str, Any]]:
    cards = [
        {"status": choice.value, "label": choice.label, "count": fleet.by_status[choice.value]}
        for choice in StatusChoices
    ]
    if fleet.by_status[""]:
        cards.append({"status": NO_STATUS, "label": None, "count": fleet.by_status[""]})
    return cards


ALWAYS_SHOWN = (
    DeploymentStateChoices.ISSUED,
    DeploymentStateChoices.DELIVERED,
    DeploymentStateChoices.VERIFIED,
    DeploymentStateChoices.FAILED,
)


def _deliveries(fleet: Overview) -> list[dict[str, Any]]:
    """How many keys are how far; nothing at all in a fleet without deliveries."""
    if not sum(fleet.deliveries.values()):
        return []
    return [
        {"state": choice.value, "count": fleet.deliveries[choice], "badge": deployment_state_badge(choice)}
        for choice in DeploymentStateChoices
        if choice in ALWAYS_SHOWN or fleet.deliveries[choice]
    ]


def _chart(fleet: Overview) -> dict[str, list[Any]]:
    """Columns for the chart; `hour` as the reader's clock shows it."""
    return {
        "hour": [f"{timezone.localtime(hour.start):%H:%M}" for hour in fleet.hours],
        "successful": [hour.successful for hour in fleet.hours],
        "error": [hour.error for hour in fleet.hours],
    }
