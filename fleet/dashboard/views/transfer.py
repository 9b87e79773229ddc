"""Files in and out: [Settings/Registration Basic Information] of the fleet (R19)."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from devices import imports
from devices.access import Permission, may
from devices.errors import Conflict
from devices.filters import DeviceFilter, select_devices
from devices.models import Device, Import
from devices.models.choices import FileFormatChoices, RowOutcomeChoices
from devices.transfer import exporter, report
from devices.transfer.columns import SET_NAME, columns
from devices.transfer.source import FileUnusable
from fleet.dashboard.transfer_forms import ApplyForm, SecretsForm, UploadForm
from fleet.dashboard.views.common import actor_of, changes, page_of
from fleet.dashboard.views.jobs import page_of_job

_TYPES = {"csv": "text/csv; charset=utf-8", "xml": "application/xml", "zip": "application/zip"}
_RECENT = 10


def _download(pieces: Any, name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(pieces, content_type=_TYPES[name.rpartition(".")[2]])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


# --- imports -------------------------------------------------------------------------------------------------


@changes(Permission.ADD_DEVICE)
def import_add(request: HttpRequest) -> HttpResponse:
    """Hand a file in; a job checks it."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            found = imports.receive(
                actor_of(request), file, file_name=file.name or "", password=form.cleaned_data["password"]
            )
        except FileUnusable as unusable:
            form.add_error("file", str(unusable))
        else:
            return redirect("import-detail", import_id=found.pk)
    recent = Import.objects.select_related("check_job", "apply_job")[:_RECENT]
    context = {
        "form": form,
        "set_name": SET_NAME,
        "recent": recent,
        "device_data_only": not may(request.user, Permission.CHANGE_SCEP_SETTINGS),
    }
    return render(request, "dashboard/import_add.html", context, status=422 if form.errors else 200)


@require_safe
def import_template(request: HttpRequest, file_format: str) -> HttpResponse:
    """An empty file with every column."""
    if file_format not in FileFormatChoices.values:
        raise Http404
    name = f"template.{file_format}"
    response = HttpResponse(
        exporter.template(FileFormatChoices(file_format)), content_type=_TYPES[file_format]
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_safe
def import_detail(request: HttpRequest, import_id: int) -> HttpResponse:
    """What the file comes to, the choice, and what became of it."""
    return _import(request, import_id, "dashboard/import.html")


@require_safe
def import_state(request: HttpRequest, import_id: int) -> HttpResponse:
    """The part of the import's page that updates itself."""
    return _import(request, import_id, "dashboard/_import_state.html")


def _import(
    request: HttpRequest, import_id: int, template: str, *, form: ApplyForm | None = None, problem: str = ""
) -> HttpResponse:
    found = get_object_or_404(Import.objects.select_related("check_job", "apply_job"), pk=import_id)
    outcome, state = request.GET.get("outcome", ""), request.GET.get("state", "")
    rows = found.rows.order_by("number")
    if outcome in RowOutcomeChoices.values:
        rows = rows.filter(outcome=outcome)
    if state:
        rows = rows.filter(state=state)
    page = page_of(request, rows)
    names = [row.name for row in page if row.outcome == RowOutcomeChoices.ADDED]
    added = dict(Device.objects.filter(name__in=names).values_list("name", "pk")) if names else {}
    job = found.apply_job or found.check_job
    context = {
        "import": found,
        "job": job,
        "is_open": job is not None and job.is_open,
        "page": page,
        "pairs": [(row, row.device_id or added.get(row.name)) for row in page],
        "outcome": outcome,
        "state": state,
        "counts": [
            (choice, getattr(found, choice.value))
            for choice in RowOutcomeChoices
            if getattr(found, choice.value)
        ],
        "form": form or ApplyForm(refused=found.refused),
        "problem": problem,
        "may_apply": found.state == "checked"
        and may(request.user, Permission.ADD_DEVICE)
        and (
            not any(columns()[name].of_settings for name in found.columns)
            or may(request.user, Permission.CHANGE_SCEP_SETTINGS)
        ),
        "applicable": found.added + found.changed + found.locked,
    }
    return render(request, template, context, status=409 if problem else 200)


@changes(Permission.ADD_DEVICE)
def import_apply(request: HttpRequest, import_id: int) -> HttpResponse:
    """Have the file applied; its page asks how."""
    if request.method != "POST":
        return _import(request, import_id, "dashboard/import.html")
    found = get_object_or_404(Import, pk=import_id)
    form = ApplyForm(request.POST, refused=found.refused)
    form.is_valid()
    try:
        job = imports.apply(
            actor_of(request),
            found,
            good_rows_only=bool(form.cleaned_data.get("good_rows_only")),
            suspend_timers=bool(form.cleaned_data.get("suspend_timers")),
        )
    except Conflict as conflict:
        return _import(request, import_id, "dashboard/import.html", form=form, problem=str(conflict))
    return redirect(page_of_job(job))


@require_safe
def import_report(request: HttpRequest, import_id: int) -> HttpResponseBase:
    """Every change and every problem, as CSV."""
    return _download(report.as_csv(get_object_or_404(Import, pk=import_id)), "report.csv")


# --- exports -------------------------------------------------------------------------------------------------

KINDS = {
    "devices.csv": FileFormatChoices.CSV,
    "devices.xml": FileFormatChoices.XML,
    "status-log.csv": None,
    "certificates.zip": None,
}


def _selected(request: HttpRequest) -> tuple[QuerySet[Device], dict[str, Any]]:
    """The devices that the list's query in the address finds."""
    query = {name: value for name in DeviceFilter.base_filters if (value := request.GET.get(name))}
    return select_devices(query=query), query


@require_safe
def export(request: HttpRequest) -> HttpResponse:
    """What there is to download."""
    return _export(request, SecretsForm())


def _export(request: HttpRequest, form: SecretsForm) -> HttpResponse:
    selected, query = _selected(request)
    context = {
        "set_name": SET_NAME,
        "count": selected.count(),
        "query": query,
        "form": form,
        "back": f"{reverse('device-list')}?{request.GET.urlencode()}",
    }
    return render(request, "dashboard/export.html", context, status=422 if form.errors else 200)


@require_safe
def export_file(request: HttpRequest, name: str) -> HttpResponseBase:
    """One of KINDS, without secrets."""
    if name not in KINDS:
        raise Http404
    selected, query = _selected(request)
    actor, file_format = actor_of(request), KINDS[name]
    if file_format is not None:
        return _download(exporter.devices(actor, selected, file_format, query), name)
    write = exporter.status_log if name == "status-log.csv" else exporter.certificates
    return _download(write(actor, selected, query), name)


@changes(Permission.CHANGE_SCEP_SETTINGS)
def export_secrets(request: HttpRequest) -> HttpResponseBase:
    """Devices with their secrets, in an encrypted ZIP."""
    form = SecretsForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _export(request, form)
    selected, query = _selected(request)
    file = exporter.devices_with_secrets(
        actor_of(request),
        selected,
        FileFormatChoices(form.cleaned_data["format"]),
        query,
        form.cleaned_data["password"],
    )
    return FileResponse(file, as_attachment=True, filename="devices.zip", content_type="application/zip")
