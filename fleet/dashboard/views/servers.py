"""SCEP servers and device groups."""

from __future__ import annotations

from functools import partial

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from devices import inventory
from devices.access import Permission, may
from devices.models import DeviceGroup, ScepServer, ScepSettings
from fleet.dashboard.forms import ScepServerForm
from fleet.dashboard.group_forms import DeviceGroupForm
from fleet.dashboard.views.common import (
    Suspension,
    actor_of,
    changes,
    delete_page,
    form_page,
    page_of,
    wants_to_suspend,
)


@require_safe
def server_list(request: HttpRequest) -> HttpResponse:
    """Every SCEP server with the number of devices that use it."""
    servers = ScepServer.objects.annotate(
        devices=Count("settings"), timers_on=Count("settings", filter=Q(settings__timer_enabled=True))
    )
    return render(request, "dashboard/servers.html", {"page": page_of(request, servers.order_by("name"))})


@changes(Permission.ADD_SCEP_SERVER)
def server_add(request: HttpRequest) -> HttpResponse:
    """A new SCEP server."""
    return form_page(
        request,
        ScepServerForm(request.POST or None),
        partial(inventory.create_server, actor_of(request)),
        title=_("Add a SCEP server"),
        back=reverse("server-list"),
        done=_("The SCEP server was added."),
    )


@changes(Permission.CHANGE_SCEP_SERVER)
def server_edit(request: HttpRequest, server_id: int) -> HttpResponse:
    """[Communication Settings] and allowance; R3 may refuse."""
    server = get_object_or_404(ScepServer, pk=server_id)
    timers_on = ScepSettings.objects.filter(server=server, timer_enabled=True).count()
    suspends = wants_to_suspend(request)
    return form_page(
        request,
        ScepServerForm(request.POST or None, instance=server, locked_by_timers=0 if suspends else timers_on),
        partial(inventory.update_server, actor_of(request), server, suspend_timers=suspends),
        suspension=Suspension(timers_on, suspends),
        title=_("Edit %(name)s") % {"name": server},
        back=reverse("server-list"),
        done=_("The SCEP server was updated."),
    )


@changes(Permission.DELETE_SCEP_SERVER)
def server_delete(request: HttpRequest, server_id: int) -> HttpResponse:
    """Ask, then delete."""
    return delete_page(
        request,
        get_object_or_404(ScepServer, pk=server_id),
        inventory.delete_server,
        question=_("Only a server that no device uses and no template names can be deleted."),
        back=reverse("server-list"),
        then="server-list",
    )


def _note_of_held(group: DeviceGroup) -> str:
    """How many devices do not get the group's password; empty: all do."""
    held = sum(1 for _device in inventory.held_devices(group))
    if not held:
        return ""
    return ngettext(
        "%(count)d device of this group does not get its password, because somebody who may not decide that gave it "
        "its address or brought it here. An administrator can change that, here or in the device's data.",
        "%(count)d devices of this group do not get its password, because somebody who may not decide that gave them "
        "their address or brought them here. An administrator can change that, here or in the devices' data.",
        held,
    ) % {"count": held}


def _note_of_group() -> str:
    return _(
        "Credentials are for the devices of the group that have no password of their own, by their connector. They "
        "are stored encrypted and never shown."
    )


@require_safe
def group_list(request: HttpRequest) -> HttpResponse:
    """Every device group with its number of devices."""
    groups = DeviceGroup.objects.annotate(size=Count("devices"))
    return render(request, "dashboard/groups.html", {"page": page_of(request, groups.order_by("name"))})


@changes(Permission.ADD_DEVICE_GROUP)
def group_add(request: HttpRequest) -> HttpResponse:
    """A new device group."""
    return form_page(
        request,
        DeviceGroupForm(request.POST or None),
        partial(inventory.create_group, actor_of(request)),
        title=_("Add a device group"),
        back=reverse("group-list"),
        done=_("The device group was added."),
        note=_note_of_group(),
    )


@changes(Permission.CHANGE_DEVICE_GROUP)
def group_edit(request: HttpRequest, group_id: int) -> HttpResponse:
    """A device group."""
    group = get_object_or_404(DeviceGroup, pk=group_id)
    return form_page(
        request,
        DeviceGroupForm(
            request.POST or None,
            instance=group,
            may_entrust=may(request.user, Permission.ENTRUST_SECRETS),
        ),
        partial(inventory.update_group, actor_of(request), group),
        title=_("Edit %(name)s") % {"name": group},
        back=reverse("group-list"),
        done=_("The device group was updated."),
        warning=_note_of_held,
        note=_note_of_group(),
    )


@changes(Permission.DELETE_DEVICE_GROUP)
def group_delete(request: HttpRequest, group_id: int) -> HttpResponse:
    """Ask, then delete."""
    return delete_page(
        request,
        get_object_or_404(DeviceGroup, pk=group_id),
        inventory.delete_group,
        question=_("Only an empty group can be deleted."),
        back=reverse("group-list"),
        then="group-list",
    )
