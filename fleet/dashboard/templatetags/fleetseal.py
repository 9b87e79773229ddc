"""Small helpers of the templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import QueryDict
from django.template.defaultfilters import date
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, ngettext

from devices import texts
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.models import AuditEvent, Deployment, Device, Restart, ScepSettings, SettingsTemplate
from devices.models.choices import (
    DeliveryStateChoices,
    DeploymentStateChoices,
    JobItemStateChoices,
    JobStateChoices,
    RestartStateChoices,
    RowOutcomeChoices,
    StatusChoices,
)
from devices.templates import Outcome, Row

register = template.Library()

COLORS = {
    StatusChoices.TO_BE_PROCESSED: "blue",
    StatusChoices.PROCESSING: "yellow",
    StatusChoices.ERROR: "red",
    StatusChoices.SUCCESSFUL: "green",
}


JOB_COLORS = {
    JobStateChoices.WAITING: "blue",
    JobStateChoices.RUNNING: "yellow",
    JobStateChoices.FINISHED: "green",
    JobStateChoices.CANCELED: "secondary",
    JobStateChoices.REFUSED: "red",
}

RESTART_COLORS = {
    RestartStateChoices.WAITING: "blue",
    RestartStateChoices.REQUESTED: "yellow",
    RestartStateChoices.COMING_BACK: "yellow",
    RestartStateChoices.DONE: "green",
    RestartStateChoices.FAILED: "red",
    RestartStateChoices.REFUSED: "red",
}

DEPLOYMENT_COLORS = {
    DeploymentStateChoices.ISSUED: "blue",
    DeploymentStateChoices.DELIVERED: "yellow",
    DeploymentStateChoices.ACTIVE: "yellow",
    DeploymentStateChoices.VERIFIED: "green",
    DeploymentStateChoices.NOT_VERIFIABLE: "green",
    DeploymentStateChoices.ROLLING_BACK: "orange",
    DeploymentStateChoices.ROLLED_BACK: "red",
    DeploymentStateChoices.FAILED: "red",
}
MOVING_DEPLOYMENTS = frozenset(
    {
        DeploymentStateChoices.DELIVERED,
        DeploymentStateChoices.ACTIVE,
        DeploymentStateChoices.ROLLING_BACK,
    }
)

JOB_ITEM_COLORS = {
    JobItemStateChoices.WAITING: "blue",
    JobItemStateChoices.DONE: "green",
    JobItemStateChoices.REFUSED: "red",
    JobItemStateChoices.CANCELED: "secondary",
}


DELIVERY_COLORS = {
    DeliveryStateChoices.WAITING: "blue",
    DeliveryStateChoices.DELIVERED: "green",
    DeliveryStateChoices.FAILED: "red",
}

OUTCOME_COLORS = {Outcome.CHANGED: "blue", Outcome.UNCHANGED: "secondary", Outcome.REFUSED: "red"}


ROW_COLORS = {
    RowOutcomeChoices.ADDED: "green",
    RowOutcomeChoices.CHANGED: "blue",
    RowOutcomeChoices.UNCHANGED: "secondary",
    RowOutcomeChoices.LOCKED: "yellow",
    RowOutcomeChoices.REFUSED: "red",
}

IMPORT_STATES = {
    "checking": (gettext_lazy("Being checked"), "yellow"),
    "checked": (gettext_lazy("Checked"), "blue"),
    "unusable": (gettext_lazy("Cannot be used"), "red"),
    "check_ended": (gettext_lazy("Not checked to the end"), "secondary"),
    "applying": (gettext_lazy("Being applied"), "yellow"),
    "applied": (gettext_lazy("Applied"), "green"),
    "canceled": (gettext_lazy("Canceled"), "secondary"),
    "nothing_applied": (gettext_lazy("Nothing was applied"), "red"),
}
"""What `Import.state` says to people."""


_FIELDS = {field.name: field for field in ScepSettings._meta.fields}


def badge(label: object, color: str, *, moving: bool = False) -> SafeString:
    """Words behind a colored dot; the words carry the meaning."""
    return format_html(
        '<span class="status status-{}"><span class="status-dot{}" aria-hidden="true"></span>{}</span>',
        color,
        " status-dot-animated" if moving else "",
        label,
    )


@register.filter
def status_badge(status: str) -> SafeString:
    """The manual's [Status]."""
    if not status:
        return format_html('<span class="text-secondary">{}</span>', gettext("No request yet"))
    choice = StatusChoices(status)
    return badge(choice.label, COLORS[choice], moving=choice is StatusChoices.PROCESSING)


@register.filter
def job_badge(state: str) -> SafeString:
    """Where a job stands."""
    choice = JobStateChoices(state)
    return badge(choice.label, JOB_COLORS[choice], moving=choice is JobStateChoices.RUNNING)


@register.filter
def job_item_badge(state: str) -> SafeString:
    """What came of a job for one device."""
    choice = JobItemStateChoices(state)
    return badge(choice.label, JOB_ITEM_COLORS[choice])


@register.filter
def delivery_badge(state: str) -> SafeString:
    """Where a webhook's delivery stands."""
    choice = DeliveryStateChoices(state)
    return badge(choice.label, DELIVERY_COLORS[choice])


@register.filter
def breakable(fingerprint: str) -> SafeString:
    """A fingerprint that may go on in the next line after a colon, and nowhere else."""
    first, *others = fingerprint.split(":")
    return format_html("{}{}", first, format_html_join("", ":<wbr>{}", ((pair,) for pair in others)))


@register.filter
def pretty(value: object) -> str:
    """JSON over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def outcome_badge(outcome: Outcome) -> SafeString:
    """What applying a template comes to for one device."""
    return badge(outcome.label, OUTCOME_COLORS[outcome])


@register.filter
def fits_badge(fits: bool) -> SafeString:
    """Whether a load keeps within the allowance."""
    return badge(gettext("Fits"), "green") if fits else badge(gettext("Too much at once"), "red")


@register.filter
def restart_badge(restart: Restart) -> SafeString:
    """Where a restart stands."""
    choice = RestartStateChoices(restart.state)
    return badge(choice.label, RESTART_COLORS[choice], moving=RESTART_COLORS[choice] == "yellow")


@register.filter
def row_badge(outcome: str) -> SafeString:
    """What a row of a file comes to."""
    choice = RowOutcomeChoices(outcome)
    return badge(choice.label, ROW_COLORS[choice])


@register.simple_tag
def row_bar(counts: Sequence[tuple[RowOutcomeChoices, int]]) -> SafeString:
    """How the rows of a file divide into outcomes, as a bar; the numbers stand beside it in words."""
    total = sum(count for _choice, count in counts)
    pieces, x = [], 0.0
    for choice, count in counts:
        width = 100 * count / total
        pieces.append((f"{x:.2f}%", f"{width:.2f}%", ROW_COLORS[choice], choice.label, intcomma(count)))
        x += width
    return format_html(
        '<svg class="row-bar d-block w-100 rounded" height="8" aria-hidden="true">{}</svg>',
        format_html_join(
            "",
            '<rect x="{}" width="{}" height="8" class="text-{}" fill="currentColor"><title>{}: {}</title></rect>',
            pieces,
        ),
    )


@register.filter
def import_badge(state: str) -> SafeString:
    """Where an import stands."""
    label, color = IMPORT_STATES[state]
    return badge(label, color, moving=color == "yellow")


def deployment_state_badge(state: str) -> SafeString:
    """Where deliveries stand."""
    choice = DeploymentStateChoices(state)
    return badge(choice.label, DEPLOYMENT_COLORS[choice])


@register.filter
def deployment_badge(delivery: Deployment) -> SafeString:
    """Where a delivery stands."""
    choice = DeploymentStateChoices(delivery.state)
    return badge(choice.label, DEPLOYMENT_COLORS[choice], moving=choice in MOVING_DEPLOYMENTS)


@register.filter
def delivery_states(device: Device) -> list[tuple[str, str]]:
    """Where the deliveries of the device's keys stand, each state once, with its color; they are at hand."""
    states = dict.fromkeys(DeploymentStateChoices(delivery.state) for delivery in device.deployments.all())
    return [(str(state.label), DEPLOYMENT_COLORS[state]) for state in states]


@register.filter
def moment(value: datetime | None) -> str | SafeString:
    """Date and time in the active time zone, and how far away it is on hovering."""
    if value is None:
        return "–"  # noqa: RUF001
    local = timezone.localtime(value)
    text = date(local, "j M Y, H:i:s")
    return format_html(
        '<time datetime="{}" title="{}" class="text-nowrap">{}</time>',
        value.isoformat(),
        distance(value, timezone.now()),
        text,
    )


def distance(value: datetime, now: datetime) -> str:
    """How far away it is: “in 5 minutes”, “30 hours ago”, “in 90 days”, for dates are planned in days."""
    ahead = value > now
    minutes = round(abs(value - now).total_seconds() / 60)
    if minutes < 1:
        return gettext("in less than a minute") if ahead else gettext("just now")
    hours = round(minutes / 60)
    if minutes < 90:
        amount = ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}
    elif hours < 48:
        amount = ngettext("%(count)d hour", "%(count)d hours", hours) % {"count": hours}
    else:
        days = round(hours / 24)
        amount = ngettext("%(count)d day", "%(count)d days", days) % {"count": days}
    return (gettext("in %(amount)s") if ahead else gettext("%(amount)s ago")) % {"amount": amount}


@register.filter
def away(value: datetime | None) -> str | SafeString:
    """How far away it is, and date and time on hovering."""
    if value is None:
        return "–"  # noqa: RUF001
    text = date(timezone.localtime(value), "j M Y, H:i:s")
    return format_html(
        '<time datetime="{}" title="{}" class="text-nowrap">{}</time>',
        value.isoformat(),
        text,
        distance(value, timezone.now()),
    )


@register.filter
def day(value: datetime | None) -> str | SafeString:
    """The day, and below it how far away it is; the time on hovering."""
    if value is None:
        return "–"  # noqa: RUF001
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}"><span class="text-nowrap">{}</span> '
        '<span class="text-secondary small text-nowrap">{}</span></time>',
        value.isoformat(),
        date(local, "j M Y, H:i:s"),
        date(local, "j M Y"),
        distance(value, timezone.now()),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of an audit event's `changes`, for people; `old` only where something was changed."""

    name: str
    new: str
    old: str = ""
    is_change: bool = False


@register.filter
def changes_of(event: AuditEvent) -> list[Change]:
    """What changed, and what else is on record, in the order in which it was written."""
    return [
        Change(name, shown(value[1]), shown(value[0]), is_change=True)
        if isinstance(value, list) and len(value) == 2
        else Change(name, shown(value))
        for name, value in event.changes.items()
    ]


@register.filter
def settings_of(kept: SettingsTemplate) -> list[Change]:
    """What a template sets, each with the label of the settings' form."""
    entries = []
    for name in SETTINGS_FIELDS:
        if name in kept.values:
            value: Any = kept.server if name == "server" else kept.values[name]
            if name == "request_start_at" and value:
                value = datetime.fromisoformat(value)
            entries.append(Change(_label(name), _setting(name, value)))
    if kept.has_challenge_password:
        entries.append(Change(gettext("Challenge Password"), gettext("stored")))
    return entries


@register.filter
def planned(row: Row) -> list[Change]:
    """What applying a template changes on one device, its times where the device stands."""
    if row.plan is None:
        return []
    with timezone.override(row.device.zone):
        entries = [
            Change(_label(name), _setting(name, value), _setting(name, row.plan.before[name]), is_change=True)
            for name, value in row.plan.after.items()
        ]
    if row.plan.password_changed:
        entries.append(Change(gettext("Challenge Password"), gettext("a new one")))
    return entries


def _label(name: str) -> str:
    return str(_FIELDS[name].verbose_name)


def _setting(name: str, value: Any) -> str:
    """The value of a setting for people; an aware time in the active time zone, another as it is."""
    choices = dict(_FIELDS[name].flatchoices)
    if value in choices:
        return str(choices[value])
    if isinstance(value, datetime):
        return str(date(timezone.localtime(value) if timezone.is_aware(value) else value, "j M Y, H:i:s"))
    if name == "common_name" and value == "":
        return gettext("the device's own address")
    return shown(value)


@register.filter
def shown(value: Any) -> str:
    """A stored value for people."""
    if value is None or value == "":
        return "–"  # noqa: RUF001
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"  # noqa: RUF001
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(own)}" for name, own in value.items()) or "–"  # noqa: RUF001
    return str(value)


@register.filter
def localized(text: str) -> str:
    """Stored sentences of ours, one a line, in the reader's language; a server's own words stay as they are."""
    return texts.localized(text or "")


@register.simple_tag(takes_context=True)
def sort_header(context: dict[str, Any], name: str, label: str) -> SafeString:
    """A column's head that sorts by it; once more turns the order round."""
    current = context["ordering"]
    query = context["request"].GET.copy()
    query.pop("page", None)
    query["ordering"] = f"-{name}" if current == name else name
    state, arrow = {name: ("ascending", "↑"), f"-{name}": ("descending", "↓")}.get(current, ("none", ""))
    return format_html(
        '<th scope="col" aria-sort="{}"><a class="table-sort-link" href="?{}" hx-get="?{}">{}'
        '<span aria-hidden="true"> {}</span></a></th>',
        state,
        query.urlencode(),
        query.urlencode(),
        label,
        arrow,
    )


@register.filter
def listed(query: QueryDict, name: str) -> list[str]:
    """Every value of `name` in a query."""
    return query.getlist(name)


@register.simple_tag(takes_context=True)
def page_query(context: dict[str, Any], page: int) -> str:
    """The query of another page of the same list."""
    query = context["request"].GET.copy()
    query["page"] = str(page)
    return str(query.urlencode())
