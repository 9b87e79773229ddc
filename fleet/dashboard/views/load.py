"""How loaded the SCEP servers will be, and spreading a device group (F1)."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import date
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from devices.access import Permission
from devices.forecast import OfServer, ServerLoad, forecast, groups_of
from devices.jobs import spread as jobs
from devices.models import DeviceGroup, ScepServer
from devices.rules.load import Day, Peak, Summary, by_day, day_ends, lateness, minute_of, moment_of, summarize
from devices.spread import ServerSpread, Spread, next_peak
from fleet.dashboard.spread_form import SpreadForm
from fleet.dashboard.views.common import actor_of, changes, page_of
from fleet.dashboard.views.jobs import page_of_job

MINUTES = 24 * 60
DAYS = 90
SERVERS_PER_PAGE = 8
_GROUPS = 5
_MOST_POINTS = 1500
"""Of a chart: more than a screen has pixels for."""


@require_safe
def load(request: HttpRequest) -> HttpResponse:
    """Of every SCEP server the coming 24 hours by the minute, and the coming 90 days by the day."""
    page = page_of(request, ScepServer.objects.order_by("name"), size=SERVERS_PER_PAGE)
    now, zone = timezone.now(), timezone.get_current_timezone()
    first = minute_of(now)
    end = moment_of(day_ends(first, DAYS, zone)[-1])
    servers = list(page)
    groups = groups_of(servers, end=end)
    cards = [
        _card(one, by_day(one.load, one.per_minute, first=first, days=DAYS, zone=zone), first)
        | {"groups": groups.get(one.server.pk, [])[:_GROUPS]}
        for one in forecast(servers, now=now, end=end)
    ]
    return render(request, "dashboard/load.html", {"page": page, "cards": cards, "now": now})


@changes(Permission.CHANGE_SCEP_SETTINGS)
def group_spread(request: HttpRequest, group_id: int) -> HttpResponse:
    """Ask for a window, show what it comes to, and apply the very proposal that was shown."""
    group = get_object_or_404(DeviceGroup, pk=group_id)
    with timezone.override(zoneinfo.ZoneInfo(group.time_zone)):
        return _group_spread(request, group, timezone.now())


def _group_spread(request: HttpRequest, group: DeviceGroup, now: datetime) -> HttpResponse:
    asked = request.POST if request.method == "POST" else request.GET
    peak = next_peak(group, now=now, end=now + timedelta(days=DAYS))
    form = SpreadForm(asked or None, group=group, initial={"window_start": _suggested_start(peak, now)})
    spread = form.proposal(now)
    has_changed = False
    if request.method == "POST" and spread is not None:
        has_changed = request.POST.get("digest") != spread.digest
        if spread.moves and not has_changed:
            job = jobs.start(actor_of(request), spread)
            messages.success(request, _("The new start times are on their way to the devices."))
            return redirect(page_of_job(job))
    context = {
        "group": group,
        "form": form,
        "peak": peak,
        "spread": spread,
        "has_changed": has_changed,
        "cards": [_spread_card(spread, one) for one in spread.servers] if spread else [],
        "words": _move_words(spread) if spread else [],
    }
    status = 422 if form.errors else 409 if has_changed else 200
    return render(request, "dashboard/spread.html", context, status=status)


def _suggested_start(peak: datetime | None, now: datetime) -> datetime:
    """The peak itself; where there is none, or it is about to come, the next full hour that leaves time to look."""
    soon = (now + timedelta(minutes=75)).replace(minute=0, second=0, microsecond=0)
    return max(peak, soon) if peak else soon


def _card(one: ServerLoad, days: list[Day], first: int) -> dict[str, Any]:
    end = first + MINUTES
    coming = _between(one.load, first, end)
    return {
        "server": one.server,
        "is_empty": not one.load,
        "parts": [
            {
                "id": f"hours-{one.server.pk}",
                "title": _("Coming 24 hours, requests per minute"),
                "chart": _minutes_chart(coming, one, first, end),
                "rows": _hours(coming, one),
                **_verdict(summarize(coming, one.per_minute), one),
            },
            {
                "id": f"days-{one.server.pk}",
                "title": _("Coming 90 days, the busiest minute of each day"),
                "chart": _days_chart(days, one),
                "rows": [
                    {"label": date(day.date, "j M Y"), "requests": day.requests, **_peak(day.busiest)}
                    for day in days
                    if day.busiest
                ],
                **_verdict(one.summary, one),
            },
        ],
    }


def _spread_card(spread: Spread, one: ServerSpread) -> dict[str, Any]:
    def part(name: str, title: str, summary: Summary, whole: Mapping[int, int]) -> dict[str, Any]:
        load = _between(whole, spread.first, spread.end)
        return {
            "id": f"{name}-{one.server.pk}",
            "title": title,
            "chart": _minutes_chart(load, one, spread.first, spread.end),
            "rows": _hours(load, one),
            **_verdict(summary, one),
        }

    return {
        "server": one.server,
        "words": _fit_words(one),
        "parts": [
            part("before", _("Before"), one.before, one.proposal.before),
            part("after", _("After"), one.after, one.proposal.after),
        ],
    }


def _between(load: Mapping[int, int], first: int, end: int) -> dict[int, int]:
    return {minute: requests for minute, requests in load.items() if first <= minute < end}


def _verdict(summary: Summary, of: OfServer) -> dict[str, Any]:
    return {"fits": summary.fits, "verdict": verdict(summary, of)}


def _minutes_chart(load: Mapping[int, int], of: OfServer, first: int, end: int) -> dict[str, Any]:
    """Each point is a minute; where there are too many, the busiest of several."""
    step = -(-(end - first) // _MOST_POINTS)
    values = [0] * -(-(end - first) // step)
    for minute, requests in load.items():
        place = (minute - first) // step
        values[place] = max(values[place], requests)
    return {
        "begin": 60 * first,
        "step": 60 * step,
        "zone": timezone.get_current_timezone_name(),
        "values": values,
        "allowance": of.per_minute,
    }


def _days_chart(days: list[Day], of: OfServer) -> dict[str, Any]:
    return {
        "labels": [date(day.date, "j M") for day in days],
        "values": [day.busiest.requests if day.busiest else 0 for day in days],
        "allowance": of.per_minute,
    }


def _hours(load: Mapping[int, int], of: OfServer) -> list[dict[str, Any]]:
    """The hours that have requests, for the table: each with its busiest minute."""
    late = lateness(load, of.per_minute)
    hours: dict[int, list[int]] = {}
    for minute in sorted(load):
        # by the minute in which it began: an hour that the clocks repeat is another hour
        hours.setdefault(minute - timezone.localtime(moment_of(minute)).minute, []).append(minute)
    rows = []
    for hour, minutes in hours.items():
        busiest = max(minutes, key=lambda minute: (load[minute], -minute))
        rows.append(
            {
                "label": date(timezone.localtime(moment_of(hour)), "j M, H:i"),
                "requests": sum(load[minute] for minute in minutes),
                **_peak(Peak(busiest, load[busiest], late[busiest])),
            }
        )
    return rows


def _peak(peak: Peak) -> dict[str, Any]:
    return {"at": moment_of(peak.minute), "most": peak.requests, "minutes_late": peak.minutes_late}


def _when(minute: int) -> str:
    return date(timezone.localtime(moment_of(minute)), "j M H:i")


def verdict(summary: Summary, of: OfServer) -> str:
    """Whether a load fits the server's allowance, in a sentence or two."""
    peak, latest = summary.busiest, summary.latest
    if peak is None:
        return _("No requests are expected.")
    facts = {
        "when": _when(peak.minute),
        "requests": intcomma(peak.requests),
        "allowance": intcomma(of.per_minute),
        "late": intcomma(peak.minutes_late),
    }
    if of.is_assumed:
        told = ngettext(
            "Busiest minute: %(when)s, %(requests)s request.",
            "Busiest minute: %(when)s, %(requests)s requests.",
            peak.requests,
        )
        assumed = (
            _("This server has no allowance; the %(allowance)s a minute that are assumed here are enough.")
            if summary.fits
            else _(
                "This server has no allowance, so all of them are sent at once; %(allowance)s a minute are "
                "assumed here."
            )
        )
        return f"{told} {assumed}" % facts
    if summary.fits:
        return (
            ngettext(
                "Busiest minute: %(when)s, %(requests)s request; the allowance is %(allowance)s: it fits.",
                "Busiest minute: %(when)s, %(requests)s requests; the allowance is %(allowance)s: they fit.",
                peak.requests,
            )
            % facts
        )
    told = (
        ngettext(
            "Busiest minute: %(when)s, %(requests)s requests; the allowance is %(allowance)s: the last of them "
            "is sent %(late)s minute late.",
            "Busiest minute: %(when)s, %(requests)s requests; the allowance is %(allowance)s: the last of them "
            "is sent %(late)s minutes late.",
            peak.minutes_late,
        )
        % facts
    )
    if latest is None or latest.minutes_late <= peak.minutes_late:
        return told
    most_late = ngettext(
        "Most late is the last of %(when)s, by %(late)s minute.",
        "Most late is the last of %(when)s, by %(late)s minutes.",
        latest.minutes_late,
    ) % {"when": _when(latest.minute), "late": intcomma(latest.minutes_late)}
    return f"{told} {most_late}"


def _move_words(spread: Spread) -> list[str]:
    """Who moves and who stays."""
    moved = len(spread.moves)
    words = [
        ngettext("%(count)s device moves.", "%(count)s devices move.", moved) % {"count": intcomma(moved)},
        ngettext("%(count)s device stays where it is.", "%(count)s devices stay where they are.", spread.stay)
        % {"count": intcomma(spread.stay)},
    ]
    if spread.moves:
        times = [timezone.localtime(move.request_at) for move in (spread.moves[0], spread.moves[-1])]
        words.append(
            _("The first new time is %(first)s, the last %(last)s.")
            % {"first": date(times[0], "j M Y, H:i:s"), "last": date(times[1], "j M Y, H:i:s")}
        )
    return words


def _fit_words(one: ServerSpread) -> list[str]:
    """What is wrong with the window, and what would do."""
    proposal, words = one.proposal, []
    if unplaced := len(proposal.unplaced):
        words.append(
            ngettext(
                "%(count)s device does not fit into the window and keeps its time.",
                "%(count)s devices do not fit into the window and keep their time.",
                unplaced,
            )
            % {"count": intcomma(unplaced)}
        )
        words.append(_enough_words(proposal.enough_hours, proposal.enough_per_minute))
    if one.expiring:
        words.append(
            ngettext(
                "The certificate of %(count)s device would expire before its new time.",
                "The certificates of %(count)s devices would expire before their new time.",
                one.expiring,
            )
            % {"count": intcomma(one.expiring)}
        )
    return words


def _enough_words(hours: int | None, allowance: int | None) -> str:
    """What would have room for all."""
    facts = {"hours": hours, "allowance": intcomma(allowance or 0)}
    if hours is not None and allowance is not None:
        told = _("A window of %(hours)s hours would do, or an allowance of %(allowance)s a minute.")
    elif hours is not None:
        told = _("A window of %(hours)s hours would do.")
    elif allowance is not None:
        told = _("No window of up to 14 days would do; an allowance of %(allowance)s a minute would.")
    else:
        told = _("No window of up to 14 days would do.")
    return told % facts
