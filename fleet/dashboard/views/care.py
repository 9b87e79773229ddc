"""One device's connection: whether its connector works, what the device is, how it restarts, and a key by hand."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from devices import inventory, restarts
from devices.access import Permission
from devices.delivery import connector_test, download, identify, restart
from devices.delivery.connectors import registry
from devices.errors import Conflict
from devices.models import Device, KeyAndCertificate
from devices.models.restart_settings import SNMP_SECRETS_HELD
from fleet.dashboard.care_forms import RestartSettingsForm
from fleet.dashboard.views.common import actor_of, changes, form_page, shown_once

LABELS = {field.name: field.verbose_name for field in Device._meta.fields if field.name in identify.FIELDS}


@require_safe
def connection(request: HttpRequest, device_id: int) -> HttpResponse:
    """The connector, the restarts, and what the device said of itself."""
    return _page(request, get_object_or_404(Device, pk=device_id))


def _page(request: HttpRequest, device: Device, status: int = 200, **more: Any) -> HttpResponse:
    connector = registry.known().get(device.connector)
    context = {
        "device": device,
        "connector_label": connector.label if connector else "",
        "can_test": connector_test.can_test(device.connector),
        "restarts": restarts.settings_of(device),
        **more,
    }
    return render(request, "dashboard/connection.html", context, status=status)


@changes(Permission.CHANGE_DEVICE)
def connector_test_page(request: HttpRequest, device_id: int) -> HttpResponse:
    """Try the connector's settings; the page tells what was found."""
    device = get_object_or_404(Device, pk=device_id)
    if request.method != "POST":
        return _page(request, device)
    try:
        findings = connector_test.run(actor_of(request), device)
    except Conflict as conflict:
        return _page(request, device, 409, problem=str(conflict))
    return _page(request, device, findings=findings)


@changes(Permission.CHANGE_DEVICE)
def identify_page(request: HttpRequest, device_id: int) -> HttpResponse:
    """Ask the device what it is and show what differs; or take over what was shown and ticked."""
    device = get_object_or_404(Device, pk=device_id)
    if request.method != "POST":
        return _page(request, device)
    ticked = [name for name in request.POST.getlist("take_over") if name in identify.FIELDS]
    if ticked:
        # what was shown, not what the device would say now
        values = {name: request.POST.get(f"found_{name}", "") for name in ticked}
        try:
            inventory.update_device(actor_of(request), device, **values)
        except ValidationError as error:
            device.refresh_from_db()
            return _page(request, device, 422, problem=" ".join(error.messages))
        messages.success(request, _("The device was updated."))
        return redirect("device-connection", device.pk)
    try:
        shown = identify.identify(actor_of(request), device)
    except Conflict as conflict:
        return _page(request, device, 409, problem=str(conflict))
    rows = [(name, LABELS[name], *pair) for name, pair in shown.differences.items()]
    return _page(request, device, identity=shown, rows=rows)


@changes(Permission.CHANGE_DEVICE)
def restart_settings(request: HttpRequest, device_id: int) -> HttpResponse:
    """How the device is restarted."""
    device = get_object_or_404(Device, pk=device_id)
    stored = restarts.settings_of(device)
    back = reverse("device-connection", args=[device.pk])
    return form_page(
        request,
        RestartSettingsForm(
            request.POST or None, instance=stored, stored=stored.snmp, secrets=stored.snmp_secrets_set
        ),
        partial(restart.save_settings, actor_of(request), device),
        title=_("Restarts of %(name)s") % {"name": device},
        back=back,
        done=_("The settings were saved."),
        note=_(SNMP_SECRETS_HELD) if stored.snmp_secrets_held else "",
        warning=lambda saved: _(SNMP_SECRETS_HELD) if saved.snmp_secrets_held else "",
    )


@changes(Permission.DOWNLOAD_KEY)
def key_fetch(request: HttpRequest, device_id: int, key_id: int) -> HttpResponse:
    """Ask, then hand the key out, once."""
    key = get_object_or_404(KeyAndCertificate.objects.select_related("device"), pk=key_id, device=device_id)
    back = reverse("device-detail", args=[device_id])
    obstacle = download.obstacle(key)
    if request.method == "POST":
        try:
            fetched = download.fetch(actor_of(request), key)
        except Conflict as conflict:
            obstacle = conflict
        else:
            content = base64.b64encode(fetched.pkcs12).decode()
            return shown_once(
                request,
                _("The key %(name)s") % {"name": key},
                label=_("Password of the PKCS #12"),
                secret=fetched.password,
                note=_(
                    "Save the file now, too. The delivery is done when the device serves the certificate."
                ),
                back=back,
                file=(fetched.file_name, f"data:application/x-pkcs12;base64,{content}"),
            )
    context = {
        "title": _("Fetch the key %(name)s") % {"name": key},
        "question": _(
            "The private key leaves this server, once, as PKCS #12 under a password that is shown once. Whoever "
            "has both "
            "can act as the device."
        ),
        "submit": _("Fetch key"),
        "back": back,
        "problem": str(obstacle) if obstacle else "",
    }
    return render(
        request,
        "dashboard/confirm.html",
        context,
        status=409 if obstacle and request.method == "POST" else 200,
    )
