"""The start page over REST: every status log of the fleet, aggregated (F1)."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import IssuanceRequest, KeyAndCertificate
from devices.models.choices import StatusChoices
from devices.statistics import Overview, fleet_overview


class FailureSerializer(serializers.Serializer[Any]):
    """How many devices' last request ended with these [Details]."""

    details = serializers.CharField()
    devices = serializers.IntegerField()


class HourSerializer(serializers.Serializer[Any]):
    """The requests that ended within one hour."""

    start = serializers.DateTimeField(help_text="On the full hour.")
    successful = serializers.IntegerField()
    error = serializers.IntegerField()


class LineSerializer(serializers.ModelSerializer[IssuanceRequest]):
    """A request, with the name of its device."""

    device_name = serializers.CharField(source="device.name")
    status = serializers.ChoiceField(choices=StatusChoices.choices)

    class Meta:
        model = IssuanceRequest
        fields = ("id", "device", "device_name", "status", "details", "request_at", "completed_at")
        read_only_fields = fields


class ExpirySerializer(serializers.ModelSerializer[KeyAndCertificate]):
    """A certificate, with the name of its device."""

    device_name = serializers.CharField(source="device.name")

    class Meta:
        model = KeyAndCertificate
        fields = ("id", "device", "device_name", "name", "key_use", "subject", "not_after")
        read_only_fields = fields


class OverviewSerializer(serializers.Serializer[Overview]):
    """The fleet at one moment."""

    total = serializers.IntegerField(help_text="Devices.")
    by_status = serializers.DictField(
        child=serializers.IntegerField(), help_text="Devices per status; `none` never had a request."
    )
    timers_on = serializers.IntegerField()
    expires_unrenewed = serializers.IntegerField(
        help_text="Devices whose certificate will expire before anything is requested."
    )
    deliveries = serializers.DictField(
        child=serializers.IntegerField(), help_text="Keys per state of their delivery."
    )
    drifted = serializers.IntegerField(
        help_text="Devices that do not serve their certificate as it should be."
    )
    failures = FailureSerializer(many=True, help_text="Most frequent first.")
    due = LineSerializer(many=True, help_text="The requests that are next, soonest first.")
    expiring = ExpirySerializer(many=True, help_text="The certificates that expire first.")
    latest = LineSerializer(many=True, help_text="The requests that ended last, newest first.")
    hours = HourSerializer(many=True, help_text="The last 24 hours, oldest first; the last one is under way.")


class OverviewView(APIView):
    """What the start page shows."""

    @extend_schema(responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        """The fleet now, in a constant number of queries."""
        fleet = fleet_overview(timezone.now())
        counted = {status or "none": count for status, count in fleet.by_status.items()}
        shown = {
            "total": fleet.total,
            "by_status": counted,
            "timers_on": fleet.timers_on,
            "expires_unrenewed": fleet.expires_unrenewed,
            "deliveries": fleet.deliveries,
            "drifted": fleet.drifted,
            "failures": [{"details": details, "devices": count} for details, count in fleet.failures],
            "due": fleet.due,
            "expiring": fleet.expiring,
            "latest": fleet.latest,
            "hours": fleet.hours,
        }
        return Response(OverviewSerializer(shown).data)  # type: ignore[arg-type]
