"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.i18n import set_language

from fleet.dashboard.views import (
    audit,
    devices,
    enrollment,
    jobs,
    load,
    servers,
    sign_in,
    start,
    templates,
    tokens,
    webhooks,
)

urlpatterns = [
    path("sign-in/", sign_in.SignInView.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("language/", login_not_required(set_language), name="set_language"),
    path("", start.start, name="start"),
    path("overview/", start.overview, name="overview"),
    path("devices/", devices.device_list, name="device-list"),
    path("devices/request/", jobs.manual_requests, name="manual-requests"),
    path("devices/restart/", jobs.restart_devices, name="restart-devices"),
    path("devices/add/", devices.device_add, name="device-add"),
    path("devices/<int:device_id>/", devices.device_detail, name="device-detail"),
    path("devices/<int:device_id>/state/", devices.device_state, name="device-state"),
    path("devices/<int:device_id>/edit/", devices.device_edit, name="device-edit"),
    path("devices/<int:device_id>/delete/", devices.device_delete, name="device-delete"),
    path("devices/<int:device_id>/settings/", enrollment.scep_settings, name="device-settings"),
    path("devices/<int:device_id>/request/", enrollment.manual_request, name="device-request"),
    path("devices/<int:device_id>/restart/", devices.device_restart, name="device-restart"),
    path("devices/<int:device_id>/keys/<int:key_id>.pem", devices.certificate, name="certificate"),
    path("audit-trail/", audit.audit_trail, name="audit-trail"),
    path("settings-templates/", templates.template_list, name="template-list"),
    path("settings-templates/add/", templates.template_add, name="template-add"),
    path("settings-templates/apply/", templates.template_apply, name="template-apply"),
    path("settings-templates/<int:template_id>/edit/", templates.template_edit, name="template-edit"),
    path("settings-templates/<int:template_id>/delete/", templates.template_delete, name="template-delete"),
    path("tokens/", tokens.token_list, name="token-list"),
    path("tokens/add/", tokens.token_add, name="token-add"),
    path("tokens/<int:token_id>/revoke/", tokens.token_revoke, name="token-revoke"),
    path("webhooks/", webhooks.webhook_list, name="webhook-list"),
    path("webhooks/add/", webhooks.webhook_add, name="webhook-add"),
    path("webhooks/<int:webhook_id>/", webhooks.webhook_detail, name="webhook-detail"),
    path("webhooks/<int:webhook_id>/edit/", webhooks.webhook_edit, name="webhook-edit"),
    path("webhooks/<int:webhook_id>/test/", webhooks.webhook_test, name="webhook-test"),
    path("webhooks/<int:webhook_id>/delete/", webhooks.webhook_delete, name="webhook-delete"),
    path("jobs/", jobs.job_list, name="job-list"),
    path("jobs/<int:job_id>/", jobs.job_detail, name="job-detail"),
    path("jobs/<int:job_id>/state/", jobs.job_state, name="job-state"),
    path("jobs/<int:job_id>/cancel/", jobs.job_cancel, name="job-cancel"),
    path("load/", load.load, name="load"),
    path("scep-servers/", servers.server_list, name="server-list"),
    path("scep-servers/add/", servers.server_add, name="server-add"),
    path("scep-servers/<int:server_id>/edit/", servers.server_edit, name="server-edit"),
    path("scep-servers/<int:server_id>/delete/", servers.server_delete, name="server-delete"),
    path("device-groups/", servers.group_list, name="group-list"),
    path("device-groups/add/", servers.group_add, name="group-add"),
    path("device-groups/<int:group_id>/edit/", servers.group_edit, name="group-edit"),
    path("device-groups/<int:group_id>/spread/", load.group_spread, name="group-spread"),
    path("device-groups/<int:group_id>/delete/", servers.group_delete, name="group-delete"),
]
