"""The list of devices, one device, and its own data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from devices import inventory
from devices.access import Permission, may
from devices.delivery import deploy, download, fingerprints, restart
from devices.enrollment import default_key
from devices.errors import Conflict, sentences
from devices.filters import DEVICE_ORDERINGS, device_queryset
from devices.models import Deployment, Device, IssuanceRequest, KeyAndCertificate, Restart
from fleet.dashboard.filters import DeviceListFilter
from fleet.dashboard.forms import DeviceForm
from fleet.dashboard.selection import filter_query
from fleet.dashboard.views.common import (
    actor_of,
    changes,
    confirm_page,
    delete_page,
    device_time,
    form_page,
    page_of,
)

RESTARTS_SHOWN = 5
"""On the device's page; the API has more."""

_DELIVERIES = Deployment.objects.only("device", "state").order_by("-pk")
"""What the list shows of them, the newest first."""

OF_SELECTIONS = (
    *(Permission.ADD_ISSUANCE_REQUEST, Permission.CHANGE_SCEP_SETTINGS),
    *(Permission.RESTART_DEVICE, Permission.DEPLOY_DEVICE),
)
"""What the actions on selected devices take."""


@require_safe
def device_list(request: HttpRequest) -> HttpResponse:
    """Search, filter, sort, page; htmx gets the table alone."""
    ordering = request.GET.get("ordering", "name")
    if ordering.removeprefix("-") not in DEVICE_ORDERINGS:
        ordering = "name"
    # the id in the same direction: an index on both is walked, where sorting 100,000 devices took half a second
    by_id = "-pk" if ordering.startswith("-") else "pk"
    found = DeviceListFilter(request.GET, device_queryset())
    devices = found.qs if found.is_valid() else device_queryset().none()
    context = {
        "filter": found,
        "ordering": ordering,
        "page": page_of(
            request, devices.prefetch_related(Prefetch("deployments", _DELIVERIES)).order_by(ordering, by_id)
        ),
        "filter_query": filter_query(request),
        "may_select": any(may(request.user, permission) for permission in OF_SELECTIONS),
        "is_filtered": any(found.form.cleaned_data.values()) if found.is_valid() else True,
    }
    # going back in the browser asks by htmx too, and for the whole page
    wants_part = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    response = render(request, f"dashboard/{'_device_table' if wants_part else 'devices'}.html", context)
    patch_vary_headers(response, ["HX-Request", "HX-History-Restore-Request"])
    return response


@require_safe
def device_detail(request: HttpRequest, device_id: int) -> HttpResponse:
    """One device: settings, keys and certificates, status log."""
    return _device(request, device_id, "dashboard/device.html")


@require_safe
def device_state(request: HttpRequest, device_id: int) -> HttpResponse:
    """The part of the device's page that updates itself."""
    return _device(request, device_id, "dashboard/_device_state.html")


def _device(request: HttpRequest, device_id: int, template: str) -> HttpResponse:
    device = get_object_or_404(device_queryset(), pk=device_id)
    lines = list(IssuanceRequest.objects.filter(device=device).select_related("certificate", "server"))
    restarts = list(Restart.objects.filter(device=device)[:RESTARTS_SHOWN])
    context = {
        "restarts": restarts,
        # the open one is the newest
        "restart_obstacle": restart.obstacle(device, next((r for r in restarts if not r.completed_at), None)),
        "device": device,
        "is_by_hand": download.is_by_hand(device.connector),
        "settings": device.scep_settings,
        "lines": lines,
        "has_open_request": any(line.completed_at is None for line in lines),
        "keys": held_keys(device),
        "pins": deploy.pins(device),
        "confirmed_fingerprint": fingerprints.readable(deploy.confirmed(device)),
    }
    with device_time(device):
        return render(request, template, context)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key of the device's key store, with its delivery."""

    key: KeyAndCertificate
    delivery: Deployment | None
    obstacle: Conflict | None
    """Why it cannot be delivered now."""


def held_keys(device: Device) -> list[HeldKey]:
    """The key store, in one query."""
    found = []
    for key in KeyAndCertificate.objects.filter(device=device).select_related("deployment"):
        key.device = device
        row = getattr(key, "deployment", None)
        found.append(HeldKey(key, row, deploy.obstacle(key, row)))
    return found


@require_safe
def certificate(request: HttpRequest, device_id: int, key_id: int) -> HttpResponse:
    """A certificate with its chain, as PEM."""
    key = get_object_or_404(KeyAndCertificate, pk=key_id, device=device_id)
    response = HttpResponse(key.certificate + key.chain, content_type="application/x-pem-file")
    response["Content-Disposition"] = f'attachment; filename="certificate-{key.serial_number}.pem"'
    return response


@changes(Permission.ADD_DEVICE)
def device_add(request: HttpRequest) -> HttpResponse:
    """A new device."""
    return form_page(
        request,
        DeviceForm(request.POST or None),
        partial(inventory.create_device, actor_of(request)),
        title=_("Add a device"),
        back=reverse("device-list"),
        done=_("The device was added. Choose its SCEP server and timer in its settings."),
        then=_page_of_device,
        warning=lambda saved: _(saved.why_held) if saved.secrets_held else "",
    )


@changes(Permission.CHANGE_DEVICE)
def device_edit(request: HttpRequest, device_id: int) -> HttpResponse:
    """A device's own data."""
    device = get_object_or_404(Device, pk=device_id)
    return form_page(
        request,
        DeviceForm(request.POST or None, instance=device),
        partial(inventory.update_device, actor_of(request), device),
        title=_("Edit %(name)s") % {"name": device},
        back=_page_of_device(device),
        done=_("The device was updated."),
        then=_page_of_device,
        note=_note_of_secrets(request, device),
        warning=lambda saved: _(saved.why_held) if saved.secrets_held else "",
    )


def _note_of_secrets(request: HttpRequest, device: Device) -> str:
    """What saving the device means for a password that is held; empty: nothing."""
    if not device.secrets_held:
        return ""
    if may(request.user, Permission.ENTRUST_SECRETS):
        return _(
            "The password that is stored for this device or its group is not sent to this address yet. It is when "
            "you save."
        )
    return _(device.why_held)


@changes(Permission.DELETE_DEVICE)
def device_delete(request: HttpRequest, device_id: int) -> HttpResponse:
    """Ask, then delete."""
    device = get_object_or_404(Device, pk=device_id)
    return delete_page(
        request,
        device,
        inventory.delete_device,
        question=_(
            "The device's settings, its status log and its keys and certificates are deleted here. "
            "Nothing changes on the device itself, and its audit trail is kept."
        ),
        back=_page_of_device(device),
        then="device-list",
    )


@changes(Permission.RESTART_DEVICE)
def device_restart(request: HttpRequest, device_id: int) -> HttpResponse:
    """[Restart] (R7): the device's page sends it; whoever comes here otherwise is asked."""
    device = get_object_or_404(Device, pk=device_id)
    return confirm_page(
        request,
        partial(restart.request_restart, actor_of(request), device),
        title=_("Restart %(name)s") % {"name": device},
        question=_("The device restarts as soon as it is idle, and does not print or scan meanwhile."),
        submit=_("Restart"),
        back=_page_of_device(device),
        done=_("The device restarts soon. Its progress is under Restarts."),
        then=_page_of_device(device),
    )


@changes(Permission.DEPLOY_DEVICE)
def key_deliver(request: HttpRequest, device_id: int, key_id: int) -> HttpResponse:
    """Deliver a key, for the first time or again: sent from the page of the device, or asked."""
    key = get_object_or_404(KeyAndCertificate.objects.select_related("device"), pk=key_id, device=device_id)
    return confirm_page(
        request,
        partial(deploy.request_delivery, actor_of(request), key),
        title=_("Deliver %(key)s to %(name)s") % {"key": key, "name": key.device},
        question=_("The key is sent to the device now, also outside the maintenance window."),
        submit=_("Deliver"),
        back=_page_of_device(key.device),
        done=_("The key is delivered soon. Its progress is under Keys and certificates."),
        then=_page_of_device(key.device),
        is_harmless=True,
    )


@changes(Permission.CHANGE_KEY)
def key_default(request: HttpRequest, device_id: int, key_id: int) -> HttpResponse:
    """Make a key the default key (R14), or take that away from the one that is."""
    key = get_object_or_404(KeyAndCertificate.objects.select_related("device"), pk=key_id, device=device_id)
    question, submit, done = (
        (
            _("[Delete Old Key and Certificate] may overwrite it from then on."),
            _("No longer the default key"),
            _("The device has no default key any more."),
        )
        if key.is_default
        else (
            _("The default key is never overwritten. A device has one: this one takes the place of another."),
            _("Make it the default key"),
            _("The default key was changed."),
        )
    )
    return confirm_page(
        request,
        partial(default_key.set_default, actor_of(request), key, is_default=not key.is_default),
        title=_("Default key of %(name)s: %(key)s") % {"key": key, "name": key.device},
        question=question,
        submit=submit,
        back=_page_of_device(key.device),
        done=done,
        then=_page_of_device(key.device),
        is_harmless=not key.is_default,
    )


@changes(Permission.CHANGE_DEVICE)
def device_fingerprint(request: HttpRequest, device_id: int) -> HttpResponse:
    """What the device shows of itself, for somebody to compare and confirm; it gets nothing that is secret."""
    device = get_object_or_404(Device, pk=device_id)
    actor, problem, seen = actor_of(request), "", None
    try:
        if request.method == "POST":
            deploy.confirm(actor, device, request.POST.get("fingerprint", ""))
            messages.success(
                request, _("The fingerprint was confirmed. Deliveries that waited for it go on.")
            )
            return redirect(_page_of_device(device))
        seen = deploy.presented(actor, device)
    except Conflict as conflict:
        problem = str(conflict)
    except ValidationError as error:
        problem = sentences(error)
    confirmed = deploy.confirmed(device)
    context = {
        "device": device,
        "back": _page_of_device(device),
        "problem": problem,
        "seen": seen,
        "seen_readable": fingerprints.readable(seen.fingerprint) if seen else "",
        "confirmed": fingerprints.readable(confirmed),
        "is_confirmed": seen is not None and fingerprints.is_same(confirmed, seen.fingerprint),
        "is_installed": seen is not None and seen.fingerprint in device.installed_fingerprints,
    }
    status = 409 if problem and request.method == "POST" else 200
    return render(request, "dashboard/fingerprint.html", context, status=status)


def _page_of_device(device: Device) -> str:
    return reverse("device-detail", args=[device.pk])
