"""Small helpers of the templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.http import QueryDict
from django.template.defaultfilters import date
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from devices import texts
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.models import AuditEvent, ScepSettings, SettingsTemplate
from devices.templates import Row

register = template.Library()

_FIELDS = {field.name: field for field in ScepSettings._meta.fields}


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
