"""A device's SCEP settings, and manual requests."""

from __future__ import annotations

from functools import partial

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _

from devices.access import Permission
from devices.enrollment import requests
from devices.filters import device_queryset
from fleet.dashboard.forms import ManualRequestForm, ScepSettingsForm
from fleet.dashboard.views.common import (
    Suspension,
    actor_of,
    changes,
    device_time,
    form_page,
    wants_to_suspend,
)


@changes(Permission.CHANGE_SCEP_SETTINGS)
def scep_settings(request: HttpRequest, device_id: int) -> HttpResponse:
    """[Settings for Certificate Issuance Auto Request] (R9 to R15)."""
    device = get_object_or_404(device_queryset(), pk=device_id)
    settings, suspends = device.scep_settings, wants_to_suspend(request)
    with device_time(device):
        return form_page(
            request,
            ScepSettingsForm(request.POST or None, device=device, instance=settings, suspends=suspends),
            partial(requests.save_settings, actor_of(request), device, suspend_timers=suspends),
            suspension=Suspension(int(settings.timer_enabled), suspends),
            title=_("Settings for Certificate Issuance Auto Request: %(name)s") % {"name": device},
            back=reverse("device-detail", args=[device.pk]),
            done=_("The settings were saved."),
            aside=(f"{reverse('template-add')}?device={device.pk}", _("Save as template")),
        )


@changes(Permission.ADD_ISSUANCE_REQUEST)
def manual_request(request: HttpRequest, device_id: int) -> HttpResponse:
    """[Certificate Issuance Request] (R4 to R8)."""
    device = get_object_or_404(device_queryset(), pk=device_id)
    return form_page(
        request,
        ManualRequestForm(request.POST or None, device=device),
        partial(requests.request_certificate, actor_of(request), device),
        title=_("Certificate Issuance Request: %(name)s") % {"name": device},
        back=reverse("device-detail", args=[device.pk]),
        done=_("The request was sent on its way. Its progress is in the status log."),
        submit=_("Send Request"),
        note=_("What you enter here is used once and not kept: no setting of the device changes."),
        locked=_(
            "A manual request cannot be sent while the timer is on. Switch it off in the settings first."
        )
        if device.scep_settings.timer_enabled
        else "",
    )
