"""Deliveries over REST (F5): each key's own, all of the fleet by state, and the fingerprint to confirm."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.access import Permission
from devices.api.fields import StrictFieldsSerializer
from devices.api.serializers import DeploymentSerializer, ListedDeploymentSerializer
from devices.api.views import actor_of
from devices.delivery import deploy, fingerprints
from devices.delivery.connectors.base import Presented
from devices.models import Deployment, Device, KeyAndCertificate
from devices.models.choices import DeploymentStateChoices


class KeyDeploymentView(APIView):
    """How far a key is on its way to its device; POST delivers it again."""

    permissions = {"POST": Permission.DEPLOY_DEVICE}

    @extend_schema(responses=DeploymentSerializer)
    def get(self, request: Request, device_id: int, key_id: int) -> Response:
        """Where its delivery stands; 404 when there is none."""
        row = get_object_or_404(Deployment, key=key_id, device=device_id)
        return Response(DeploymentSerializer(row).data)

    @extend_schema(request=None, responses={202: DeploymentSerializer})
    def post(self, request: Request, device_id: int, key_id: int) -> Response:
        """Deliver it now, for the first time or again, whatever the maintenance window."""
        key = get_object_or_404(
            KeyAndCertificate.objects.select_related("device"), pk=key_id, device=device_id
        )
        made = deploy.request_delivery(actor_of(request), key)
        return Response(DeploymentSerializer(made).data, status=status.HTTP_202_ACCEPTED)


class DeploymentFilter(django_filters.FilterSet):
    """Narrows deliveries down."""

    state = django_filters.ChoiceFilter(choices=DeploymentStateChoices.choices)
    device = django_filters.NumberFilter(field_name="device_id")

    class Meta:
        model = Deployment
        fields: list[str] = []


class DeploymentViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Deployment]
):
    """The deliveries of the fleet, newest first."""

    queryset = Deployment.objects.none()
    serializer_class = ListedDeploymentSerializer
    filterset_class = DeploymentFilter
    orderings = ("-created_at",)

    def get_queryset(self) -> QuerySet[Deployment]:
        """With the names of what is delivered where, in one query."""
        return Deployment.objects.select_related("device", "key")


class FingerprintSerializer(StrictFieldsSerializer):
    """What a device shows of itself, to be compared with what stands at the device."""

    fingerprint = serializers.CharField(
        max_length=200, help_text="SHA-256. Send the one that was seen and compared, to confirm it."
    )
    description = serializers.CharField(read_only=True)
    shown_by = serializers.CharField(
        read_only=True,
        help_text="The command that prints it on the device itself; empty: its panel shows it.",
    )
    confirmed = serializers.CharField(read_only=True, help_text="The one that is stored; empty: none yet.")
    is_confirmed = serializers.BooleanField(read_only=True)
    is_installed = serializers.BooleanField(
        read_only=True, help_text="True for a certificate that was installed from here."
    )


class FingerprintView(APIView):
    """The fingerprint by which a device is recognized: looked at, and confirmed."""

    permissions = {"GET": Permission.CHANGE_DEVICE, "POST": Permission.CHANGE_DEVICE}
    asks_the_network = True

    @extend_schema(responses=FingerprintSerializer)
    def get(self, request: Request, device_id: int) -> Response:
        """Ask the device. It gets neither a password nor a key."""
        device = get_object_or_404(Device, pk=device_id)
        seen = deploy.presented(actor_of(request), device)
        return self._answer(device, seen)

    @extend_schema(request=FingerprintSerializer, responses=FingerprintSerializer)
    def post(self, request: Request, device_id: int) -> Response:
        """Confirm the fingerprint that was seen; 409 when the device shows another one by now."""
        serializer = FingerprintSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        device = get_object_or_404(Device, pk=device_id)
        fingerprint = serializer.validated_data["fingerprint"]
        return self._answer(deploy.confirm(actor_of(request), device, fingerprint), Presented(fingerprint))

    def _answer(self, device: Device, seen: Presented) -> Response:
        confirmed = deploy.confirmed(device)
        values: dict[str, Any] = {
            "fingerprint": seen.fingerprint,
            "description": seen.description,
            "shown_by": seen.shown_by,
            "confirmed": confirmed,
            "is_confirmed": fingerprints.is_same(confirmed, seen.fingerprint),
            "is_installed": seen.fingerprint in device.installed_fingerprints,
        }
        return Response(FingerprintSerializer(values).data)
