"""Searches for devices over REST: start one, watch it, and add of what it found."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.access import Permission
from devices.api.conditional import ConditionalUpdates
from devices.api.fields import CachedRelatedField, StrictFieldsSerializer, StrictSerializer
from devices.api.serializers import DeviceSerializer
from devices.api.views import actor_of
from devices.delivery import discovery
from devices.filters import device_queryset
from devices.models import DeviceGroup, DeviceSearch, FoundDevice
from devices.models.discovery import MOST_ADDRESSES


class DeviceSearchSerializer(StrictSerializer):
    """A search of an address range."""

    snmp = serializers.DictField(
        required=False,
        write_only=True,
        help_text="How to ask over SNMP as well: `version` (`3`, `2c`), `port`, `username`, `auth_protocol`, "
        "`auth_password`, `privacy_protocol`, `privacy_password`, `community`. Gone when the search has ended.",
    )

    class Meta:
        model = DeviceSearch
        read_only_fields = (
            *("id", "state", "actor_name", "total", "position", "answered"),
            *("created_at", "started_at", "completed_at"),
        )
        fields = (*read_only_fields, "network", "ipp_port", "snmp")


class FoundDeviceSerializer(serializers.ModelSerializer[FoundDevice]):
    """One address that answered as a printer does."""

    is_known = serializers.BooleanField(help_text="A device has this address or serial number already.")

    class Meta:
        model = FoundDevice
        fields = (
            *("id", "host", "vendor", "model", "serial_number", "firmware", "answered_by", "found_at"),
            *("search", "device", "is_known"),
        )
        read_only_fields = fields


class AddFoundSerializer(StrictFieldsSerializer):
    """Which of the found devices are added, and to which group."""

    found = serializers.ListField(
        child=serializers.IntegerField(min_value=1),
        allow_empty=False,
        max_length=MOST_ADDRESSES,
        help_text="Ids of found devices.",
    )
    group = CachedRelatedField(queryset=DeviceGroup.objects.all(), required=False, allow_null=True)


class FoundDeviceFilter(filters.FilterSet):
    """Narrows what was found down."""

    is_known = filters.BooleanFilter(field_name="is_known")

    class Meta:
        model = FoundDevice
        fields = ("search",)


class DeviceSearchViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[DeviceSearch]
):
    """Searches for devices in an address range that an administrator names. Nothing is added by itself."""

    queryset = DeviceSearch.objects.all()
    serializer_class = DeviceSearchSerializer
    permissions = {"POST": Permission.SEARCH_DEVICES}
    orderings = ("-created_at",)

    @extend_schema(responses={202: DeviceSearchSerializer})
    def create(self, request: Request) -> Response:
        """Start a search; it answers at once, and workers do the rest."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        search = discovery.start(actor_of(request), snmp_settings=values.pop("snmp", None), **values)
        return Response(self.get_serializer(search).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=DeviceSearchSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ask nobody any more; what was found stays."""
        return Response(self.get_serializer(discovery.cancel(actor_of(request), self.get_object())).data)


class FoundDeviceViewSet(
    ConditionalUpdates,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[FoundDevice],
):
    """What searches found, proposed for adding. DELETE takes one off the list."""

    serializer_class = FoundDeviceSerializer
    filterset_class = FoundDeviceFilter
    permissions = {"POST": Permission.ADD_DEVICE, "DELETE": Permission.SEARCH_DEVICES}
    orderings = ("host",)
    queryset = FoundDevice.objects.none()

    def get_queryset(self) -> QuerySet[Any]:
        """Each with whether it is known, in one query."""
        return discovery.found_devices()

    def perform_destroy(self, instance: FoundDevice) -> None:
        """The service audits."""
        discovery.forget(actor_of(self.request), instance)

    @extend_schema(request=AddFoundSerializer, responses={201: DeviceSerializer(many=True)})
    @action(detail=False, methods=["post"], pagination_class=None, filterset_class=None)
    def add(self, request: Request) -> Response:
        """Add devices from what was found: all of them or none. They are named after their addresses."""
        given = AddFoundSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        rows = FoundDevice.objects.filter(pk__in=values["found"])
        devices = discovery.add(actor_of(request), rows, group=values.get("group"))
        shown = device_queryset().filter(pk__in=[device.pk for device in devices]).order_by("name")
        return Response(DeviceSerializer(shown, many=True).data, status=status.HTTP_201_CREATED)
