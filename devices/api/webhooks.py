"""Webhooks over REST: administrators keep them, try them, and read what was delivered."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.access import Permission
from devices.api.fields import LenientChoiceField, StrictSerializer
from devices.api.views import ServiceViewSet, actor_of, model_permissions
from devices.models import Webhook, WebhookDelivery
from devices.models.choices import DeliveryStateChoices, WebhookEventChoices
from devices.webhooks import service

_EVENTS = [choice for choice in WebhookEventChoices.choices if choice[0] != WebhookEventChoices.TEST]


class WebhookSerializer(StrictSerializer):
    """A webhook; its secret goes in and does not come out."""

    events = serializers.ListField(child=LenientChoiceField(choices=_EVENTS), allow_empty=False)
    secret = serializers.CharField(
        write_only=True,
        required=False,
        max_length=200,
        help_text="`whsec_` and 24 to 64 bytes in base64. Left out: drawn for a new webhook, else kept.",
    )

    class Meta:
        model = Webhook
        fields = ("id", *service.WEBHOOK_FIELDS, "secret", "created_at")
        read_only_fields = ("created_at",)
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}}


class NewWebhookSerializer(WebhookSerializer):
    """The answer that makes it: with the secret, if one was drawn."""

    secret = serializers.CharField(read_only=True, help_text="Only when it was drawn, and only here.")


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """One event for the webhook, and what came of sending it."""

    class Meta:
        model = WebhookDelivery
        fields = (
            *("id", "message_id", "event", "payload", "state", "attempts", "status_code", "answer"),
            *("created_at", "next_action_at", "completed_at"),
        )
        read_only_fields = fields


class DeliveryFilter(filters.FilterSet):
    """Narrows the deliveries down."""

    state = filters.ChoiceFilter(choices=DeliveryStateChoices.choices)
    event = filters.ChoiceFilter(choices=WebhookEventChoices.choices)


_PERMISSIONS = {**model_permissions("webhook"), "GET": Permission.VIEW_WEBHOOK}


class WebhookViewSet(ServiceViewSet):
    """Webhooks: other systems that are told what happens. Administrators' business, looking included."""

    queryset = Webhook.objects.all()
    serializer_class = WebhookSerializer
    permissions = _PERMISSIONS
    orderings = ("name",)
    answers_with_secret = True
    update_service = staticmethod(service.update)
    delete_service = staticmethod(service.delete)

    @extend_schema(responses={201: NewWebhookSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a webhook. Without `secret` one is drawn, and shown in this answer alone."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        webhook, drawn = service.create(actor_of(request), **serializer.validated_data)
        shown = self.get_serializer(webhook).data | ({"secret": drawn} if drawn else {})
        return Response(shown, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"], permissions={"POST": Permission.CHANGE_WEBHOOK})
    def test(self, request: Request, pk: str) -> Response:
        """Send an event of type `webhook.test`; its delivery is among the webhook's deliveries."""
        sent = service.send_test(actor_of(request), self.get_object())
        return Response(DeliverySerializer(sent).data, status=status.HTTP_202_ACCEPTED)


class DeliveryViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[WebhookDelivery]
):
    """What was sent to a webhook, is to be sent, or was given up; kept for 30 days."""

    queryset = WebhookDelivery.objects.none()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter
    permissions = _PERMISSIONS
    orderings = ("-id",)

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        """Those of the webhook in the URL; 404 when there is no such webhook."""
        webhook = get_object_or_404(Webhook, pk=self.kwargs["webhook_id"])
        return WebhookDelivery.objects.filter(webhook=webhook)
