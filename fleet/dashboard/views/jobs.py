"""Actions over many devices: asked for here, done by workers, watched on the job's page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from devices.access import Permission, denial, may
from devices.errors import sentences
from devices.jobs import service
from devices.jobs.kinds import KINDS
from devices.models import Job
from devices.models.choices import JobItemStateChoices, JobKindChoices
from fleet.dashboard.forms import ManualRequestForm
from fleet.dashboard.selection import selection_of
from fleet.dashboard.views.common import actor_of, changes, confirm_page, form_page, page_of


def page_of_job(job: Job) -> str:
    """Where its progress is shown."""
    return reverse("job-detail", args=[job.pk])


@changes(Permission.ADD_ISSUANCE_REQUEST)
def manual_requests(request: HttpRequest) -> HttpResponse:
    """[Certificate Issuance Request] for a selection of devices (R7)."""
    try:
        devices = selection_of(request)
    except ValidationError as error:
        return nothing_selected(request, error)
    count = devices.count()
    timers_on = devices.filter(scep_settings__timer_enabled=True).count()
    start = partial(service.start, actor_of(request), JobKindChoices.MANUAL_REQUEST, devices)
    return form_page(
        request,
        ManualRequestForm(request.POST or None, device=None),
        lambda **parameters: start(parameters),
        title=ngettext(
            "Certificate Issuance Request: %(count)d device",
            "Certificate Issuance Request: %(count)d devices",
            count,
        )
        % {"count": count},
        back=reverse("device-list"),
        done=_("The requests are on their way."),
        submit=_("Send Request"),
        note=_("What you enter here is used once and not kept: no setting of the devices changes.")
        + (" " + _timers_note(timers_on) if timers_on else ""),
        then=page_of_job,
    )


def _timers_note(timers_on: int) -> str:
    return ngettext(
        "The timer of %(count)d of them is on: a manual request is refused there.",
        "The timers of %(count)d of them are on: manual requests are refused there.",
        timers_on,
    ) % {"count": timers_on}


@changes(Permission.RESTART_DEVICE)
def restart_devices(request: HttpRequest) -> HttpResponse:
    """[Restart] for a selection of devices (R7)."""
    return _confirmed(
        request,
        JobKindChoices.RESTART,
        title=lambda count: ngettext("Restart %(count)d device", "Restart %(count)d devices", count),
        question=_(
            "Each device restarts as soon as it is idle, and does not print or scan meanwhile. Devices without a "
            "connector are refused."
        ),
        submit=_("Restart"),
        done=_("The devices restart soon."),
    )


@changes(Permission.DEPLOY_DEVICE)
def deliver_again(request: HttpRequest) -> HttpResponse:
    """The keys of a selection of devices, delivered again."""
    return _confirmed(
        request,
        JobKindChoices.DELIVER,
        title=lambda count: ngettext(
            "Deliver the keys of %(count)d device again", "Deliver the keys of %(count)d devices again", count
        ),
        question=_(
            "The keys in use, and those whose delivery failed, are sent to the devices now, also outside the "
            "maintenance windows. Devices restart after that where their settings say so. One that serves its "
            "certificate already is sent nothing."
        ),
        submit=_("Deliver again"),
        done=_("The keys are delivered soon."),
        is_harmless=True,
    )


def _confirmed(
    request: HttpRequest,
    kind: JobKindChoices,
    *,
    title: Callable[[int], str],
    is_harmless: bool = False,
    **words: str,
) -> HttpResponse:
    """A job without parameters over the selection, once it is confirmed."""
    try:
        devices = selection_of(request)
    except ValidationError as error:
        return nothing_selected(request, error)
    count = devices.count()
    return confirm_page(
        request,
        partial(service.start, actor_of(request), kind, devices, {}),
        title=title(count) % {"count": count},
        back=reverse("device-list"),
        then=page_of_job,
        is_harmless=is_harmless,
        **words,
    )


def nothing_selected(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Say what is wrong with the selection, and lead back to the list."""
    context = {"problem": sentences(ValidationError(error.messages))}
    return render(request, "dashboard/nothing_selected.html", context, status=400)


@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """Every job, newest first."""
    return render(request, "dashboard/jobs.html", {"page": page_of(request, Job.objects.order_by("-pk"))})


@require_safe
def job_detail(request: HttpRequest, job_id: int) -> HttpResponse:
    """One job: its progress, and what came of each device."""
    return _job(request, job_id, "dashboard/job.html")


@require_safe
def job_state(request: HttpRequest, job_id: int) -> HttpResponse:
    """The part of the job's page that updates itself."""
    return _job(request, job_id, "dashboard/_job_state.html")


def _job(request: HttpRequest, job_id: int, template: str) -> HttpResponse:
    job = get_object_or_404(Job, pk=job_id)
    state = request.GET.get("state", "")
    items = job.items.order_by("position")
    if state in JobItemStateChoices.values:
        items = items.filter(state=state)
    context: dict[str, Any] = {
        "job": job,
        "page": page_of(request, items),
        "state": state,
        "states": JobItemStateChoices.choices,
        "may_cancel": job.is_open and may(request.user, KINDS[job.kind].permission),
    }
    return render(request, template, context)


@require_http_methods(["GET", "HEAD", "POST"])
def job_cancel(request: HttpRequest, job_id: int) -> HttpResponse:
    """Ask, then cancel; whoever may start such a job may."""
    job = get_object_or_404(Job, pk=job_id)
    permission = KINDS[job.kind].permission
    if not may(request.user, permission):
        raise PermissionDenied(denial(permission))
    return confirm_page(
        request,
        partial(service.cancel, actor_of(request), job),
        title=_("Cancel %(name)s") % {"name": job},
        question=_("Devices that are done stay done; those that still wait are left alone."),
        submit=_("Cancel the job"),
        back=page_of_job(job),
        done=_("The job was canceled."),
        then=page_of_job(job),
    )
