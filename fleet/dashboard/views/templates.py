"""Templates of settings: kept, and applied to a selection of devices after a preview."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from devices import templates
from devices.access import Permission
from devices.errors import sentences
from devices.jobs import service
from devices.models import ScepSettings, SettingsTemplate
from devices.models.choices import JobKindChoices
from devices.templates import Outcome
from fleet.dashboard.filters import DeviceListFilter
from fleet.dashboard.selection import filter_query, selection_of
from fleet.dashboard.template_forms import SettingsTemplateForm
from fleet.dashboard.views.common import PAGE_SIZE, actor_of, changes, delete_page, form_page, page_of
from fleet.dashboard.views.jobs import nothing_selected, page_of_job

NARROWING = ("status", "group", "server", "timer_enabled")
"""Filters beside the search that choose devices on the page itself; others come along from the list."""


@require_safe
def template_list(request: HttpRequest) -> HttpResponse:
    """Every template with what it sets."""
    found = SettingsTemplate.objects.select_related("server").order_by("name")
    return render(request, "dashboard/templates.html", {"page": page_of(request, found)})


@changes(Permission.ADD_SETTINGS_TEMPLATE)
def template_add(request: HttpRequest) -> HttpResponse:
    """A new template; `device` in the query: with what that device is set to."""
    pk = request.GET.get("device", "")
    like = None
    if pk.isascii() and pk.isdigit():
        like = get_object_or_404(ScepSettings.objects.select_related("device__group"), device=int(pk))
    return form_page(
        request,
        SettingsTemplateForm(request.POST or None, like=like),
        partial(templates.create, actor_of(request)),
        title=_("Save the settings of %(name)s as a template") % {"name": like.device}
        if like
        else _("Add a template"),
        back=reverse("template-list"),
        done=_("The template was added."),
        note=_note(),
        template="template_form",
    )


@changes(Permission.CHANGE_SETTINGS_TEMPLATE)
def template_edit(request: HttpRequest, template_id: int) -> HttpResponse:
    """What a template sets."""
    template = get_object_or_404(SettingsTemplate, pk=template_id)
    return form_page(
        request,
        SettingsTemplateForm(request.POST or None, template=template),
        partial(templates.update, actor_of(request), template),
        title=_("Edit %(name)s") % {"name": template},
        back=reverse("template-list"),
        done=_("The template was updated."),
        note=_note(),
        template="template_form",
    )


def _note() -> str:
    return _("Tick what the template sets. Everything else stays as it is on each device.")


@changes(Permission.DELETE_SETTINGS_TEMPLATE)
def template_delete(request: HttpRequest, template_id: int) -> HttpResponse:
    """Ask, then delete."""
    return delete_page(
        request,
        get_object_or_404(SettingsTemplate, pk=template_id),
        templates.delete,
        question=_("Devices that it was applied to keep their settings."),
        back=reverse("template-list"),
        then="template-list",
    )


@changes(Permission.CHANGE_SCEP_SETTINGS)
def template_apply(request: HttpRequest) -> HttpResponse:
    """Choose a template for a selection of devices, see what it would change, and start the job that does it."""
    query = request.GET
    if "narrow" in query:
        return redirect(f"{request.path}?{_narrowed(request)}")
    try:
        devices = selection_of(request)
    except ValidationError as error:
        return nothing_selected(request, error)
    pk, suspends = query.get("template", ""), query.get("suspend") == "1"
    known = SettingsTemplate.objects.select_related("server").order_by("name")
    template = known.filter(pk=int(pk)).first() if pk.isascii() and pk.isdigit() else None
    problem = ""
    if request.method == "POST":
        try:
            parameters = {"template": template.pk if template else 0, "suspend_timers": suspends}
            job = service.start(actor_of(request), JobKindChoices.APPLY_TEMPLATE, devices, parameters)
        except ValidationError as error:
            problem = sentences(ValidationError(error.messages))
        else:
            return redirect(page_of_job(job))
    context: dict[str, Any] = {
        "templates": known,
        "template": template,
        "suspends": suspends,
        "problem": problem,
        "narrowing": DeviceListFilter(QueryDict(query.get("filter", "")), devices).form
        if query.get("all")
        else None,
        "shown": NARROWING,
    }
    if template is None:
        context["total"] = devices.count()
    else:
        found = templates.preview(template, devices, suspend_timers=suspends)
        wanted = query.get("outcome", "")
        outcome = Outcome(wanted) if wanted in Outcome.values else None
        page = Paginator(found.ids(outcome), PAGE_SIZE).get_page(query.get("page"))
        totals = found.totals
        total = len(found.outcomes)
        context |= {
            "preview": found,
            "rows": found.rows([*page.object_list]),
            "page": page,
            "outcome": outcome.value if outcome else None,
            "outcomes": [
                (None, _("All"), total),
                *((choice.value, choice.label, totals[choice]) for choice in Outcome),
            ],
            "total": total,
            "changing": totals[Outcome.CHANGED],
        }
    return render(request, "dashboard/template_apply.html", context, status=400 if problem else 200)


def _narrowed(request: HttpRequest) -> str:
    """The query of this page for what its own form chose: all devices that match."""
    chosen = {name: request.GET[name] for name in ("template", "suspend") if request.GET.get(name)}
    return urlencode({**chosen, "all": "1", "filter": filter_query(request)})
