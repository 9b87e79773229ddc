"""Webhooks: administrators keep them, try them, and read what was delivered."""

from __future__ import annotations

from functools import partial

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from devices.access import Permission, denial, may
from devices.models import Webhook
from devices.models.choices import DeliveryStateChoices
from devices.webhooks import service
from fleet.dashboard.system_forms import WebhookForm
from fleet.dashboard.views.common import actor_of, changes, delete_page, form_page, page_of, shown_once


def _require_view(request: HttpRequest) -> None:
    if not may(request.user, Permission.VIEW_WEBHOOK):
        raise PermissionDenied(denial(Permission.VIEW_WEBHOOK, request.user))


@require_safe
def webhook_list(request: HttpRequest) -> HttpResponse:
    """Every webhook, and whether its receiver takes what is sent."""
    _require_view(request)
    webhooks = Webhook.objects.annotate(
        waiting=Count("deliveries", filter=Q(deliveries__state=DeliveryStateChoices.WAITING)),
        given_up=Count("deliveries", filter=Q(deliveries__state=DeliveryStateChoices.FAILED)),
        delivered_at=Max(
            "deliveries__completed_at", filter=Q(deliveries__state=DeliveryStateChoices.DELIVERED)
        ),
    )
    return render(request, "dashboard/webhooks.html", {"page": page_of(request, webhooks.order_by("name"))})


@require_safe
def webhook_detail(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """One webhook and its deliveries, newest first."""
    _require_view(request)
    webhook = get_object_or_404(Webhook, pk=webhook_id)
    page = page_of(request, webhook.deliveries.order_by("-pk"))
    return render(request, "dashboard/webhook.html", {"webhook": webhook, "page": page})


@changes(Permission.ADD_WEBHOOK)
def webhook_add(request: HttpRequest) -> HttpResponse:
    """A new webhook; a secret that was drawn is shown in the answer to its form and never again."""

    def answer(made: tuple[Webhook, str]) -> HttpResponse:
        webhook, drawn = made
        if not drawn:
            messages.success(request, _("The webhook was added."))
            return redirect(_page_of(webhook))
        return shown_once(
            request,
            _("Secret of the webhook %(name)s") % {"name": webhook},
            label=_("The secret"),
            secret=drawn,
            note=_("Your receiver checks the signatures with it."),
            back=_page_of(webhook),
        )

    return form_page(
        request,
        WebhookForm(request.POST or None),
        partial(service.create, actor_of(request)),
        title=_("Add a webhook"),
        back=reverse("webhook-list"),
        done="",
        note=_("Another system is told of events by signed HTTP POSTs (Standard Webhooks)."),
        answer=answer,
    )


@changes(Permission.CHANGE_WEBHOOK)
def webhook_edit(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """A webhook."""
    webhook = get_object_or_404(Webhook, pk=webhook_id)
    return form_page(
        request,
        WebhookForm(request.POST or None, instance=webhook),
        partial(service.update, actor_of(request), webhook),
        title=_("Edit %(name)s") % {"name": webhook},
        back=_page_of(webhook),
        done=_("The webhook was updated."),
    )


@require_POST
def webhook_test(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Send a test event; its delivery stands on the webhook's page."""
    webhook = get_object_or_404(Webhook, pk=webhook_id)
    service.send_test(actor_of(request), webhook)
    messages.success(request, _("A test event is on its way. Look at the page again to see what came of it."))
    return redirect(_page_of(webhook))


@changes(Permission.DELETE_WEBHOOK)
def webhook_delete(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Ask, then delete."""
    webhook = get_object_or_404(Webhook, pk=webhook_id)
    return delete_page(
        request,
        webhook,
        service.delete,
        question=_("Its deliveries are deleted too, also those that still wait."),
        back=_page_of(webhook),
        then="webhook-list",
    )


def _page_of(webhook: Webhook) -> str:
    return reverse("webhook-detail", args=[webhook.pk])
