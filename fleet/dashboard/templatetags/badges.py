"""Colored badges, and what else shows by its color where things stand; the words carry the meaning."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from devices.models import Deployment, Device, Restart
from devices.models.choices import (
    DeliveryStateChoices,
    DeploymentStateChoices,
    JobItemStateChoices,
    JobStateChoices,
    RestartStateChoices,
    RowOutcomeChoices,
    StatusChoices,
)
from devices.templates import Outcome

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
