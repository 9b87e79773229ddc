"""Finding devices: searches of address ranges, and what they found, proposed for adding."""

from __future__ import annotations

from functools import partial

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from devices.access import Permission
from devices.delivery import discovery
from devices.errors import Conflict
from devices.models import DeviceGroup, DeviceSearch, FoundDevice
from fleet.dashboard.care_forms import DeviceSearchForm
from fleet.dashboard.views.common import actor_of, changes, confirm_page, form_page, page_of

SEARCHES_SHOWN = 5


@require_safe
def found_list(request: HttpRequest) -> HttpResponse:
    """What was found, and the last searches."""
    return _page(request)


@require_safe
def found_state(request: HttpRequest) -> HttpResponse:
    """The part of that page that updates itself while a search runs."""
    return _page(request, template="_found_devices")


def _page(
    request: HttpRequest, status: int = 200, problem: str = "", *, template: str = "found_devices"
) -> HttpResponse:
    searches = list(DeviceSearch.objects.all()[:SEARCHES_SHOWN])
    context = {
        "page": page_of(request, discovery.found_devices().order_by("is_known", "host")),
        "searches": searches,
        "is_searching": any(search.is_open for search in searches),
        "groups": DeviceGroup.objects.all(),
        "problem": problem,
    }
    return render(request, f"dashboard/{template}.html", context, status=status)


@changes(Permission.ADD_DEVICE)
def found_add(request: HttpRequest) -> HttpResponse:
    """Add what is ticked."""
    if request.method != "POST":
        return _page(request)
    ids = [int(value) for value in request.POST.getlist("found") if value.isdecimal() and len(value) < 19]
    group_id = request.POST.get("group", "")
    group = get_object_or_404(DeviceGroup, pk=group_id) if group_id.isdecimal() else None
    try:
        devices = discovery.add(actor_of(request), FoundDevice.objects.filter(pk__in=ids), group=group)
    except Conflict as conflict:
        return _page(request, 409, str(conflict))
    except ValidationError as error:
        return _page(request, 422, " ".join(error.messages))
    messages.success(
        request,
        ngettext("%(count)d device was added.", "%(count)d devices were added.", len(devices))
        % {"count": len(devices)},
    )
    return redirect("found-list")


@changes(Permission.SEARCH_DEVICES)
def search_add(request: HttpRequest) -> HttpResponse:
    """Name a network and start."""
    return form_page(
        request,
        DeviceSearchForm(request.POST or None),
        partial(discovery.start, actor_of(request)),
        title=_("Search a network for devices"),
        back=reverse("found-list"),
        done=_("The search has begun. What answers appears in the list."),
        submit=_("Search"),
        note=_("Every address of the network is asked, and no other one. Nothing is added by itself."),
    )


@changes(Permission.SEARCH_DEVICES)
def search_cancel(request: HttpRequest, search_id: int) -> HttpResponse:
    """Ask, then ask nobody any more."""
    search = get_object_or_404(DeviceSearch, pk=search_id)
    return confirm_page(
        request,
        partial(discovery.cancel, actor_of(request), search),
        title=_("Cancel the search of %(name)s") % {"name": search},
        question=_("No further address is asked. What was found stays in the list."),
        submit=_("Cancel the search"),
        back=reverse("found-list"),
        done=_("The search was canceled."),
        then=reverse("found-list"),
    )
