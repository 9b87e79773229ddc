"""The resources under /api/v1/. Reading is theirs; every change goes through a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from devices import inventory, restarts
from devices.access import Permission
from devices.api.conditional import ConditionalUpdates, lock_row
from devices.api.renderers import PemRenderer
from devices.api.serializers import (
    AuditEventSerializer,
    DeviceGroupSerializer,
    DeviceSerializer,
    IssuanceRequestSerializer,
    KeySerializer,
    RestartSerializer,
    ScepServerSerializer,
    ScepSettingsSerializer,
)
from devices.audit import Actor
from devices.delivery import restart
from devices.enrollment import default_key, requests
from devices.filters import DEVICE_ORDERINGS, AuditEventFilter, DeviceFilter, device_queryset
from devices.models import (
    AuditEvent,
    Device,
    DeviceGroup,
    IssuanceRequest,
    KeyAndCertificate,
    Restart,
    ScepServer,
    ScepSettings,
)


def actor_of(request: Request) -> Actor:
    """Who calls, for the audit trail."""
    return Actor.of(request.user, AuditEvent.Source.API, request.META.get("REMOTE_ADDR"))


def model_permissions(model_name: str) -> dict[str, Permission]:
    """What adding, changing and deleting rows of a model takes, by method."""
    verbs = {"POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}
    return {method: Permission(f"devices.{verb}_{model_name}") for method, verb in verbs.items()}


class ServiceViewSet(ConditionalUpdates, viewsets.ModelViewSet[Any]):
    """Create, update and delete through the three services that a subclass names."""

    create_service: Callable[..., Any]
    update_service: Callable[..., Any]
    delete_service: Callable[..., Any]

    def perform_create(self, serializer: BaseSerializer[Any]) -> None:
        """The service validates, stores and audits."""
        serializer.instance = type(self).create_service(actor_of(self.request), **serializer.validated_data)

    def perform_update(self, serializer: BaseSerializer[Any]) -> None:
        """The service validates, stores and audits."""
        serializer.instance = type(self).update_service(
            actor_of(self.request), serializer.instance, **serializer.validated_data
        )

    def perform_destroy(self, instance: Any) -> None:
        """The service refuses what is in use."""
        type(self).delete_service(actor_of(self.request), instance)


class DeviceGroupViewSet(ServiceViewSet):
    """Device groups: a time zone and a maintenance window."""

    queryset = DeviceGroup.objects.all()
    serializer_class = DeviceGroupSerializer
    permissions = model_permissions("devicegroup")
    orderings = ("name",)

    @staticmethod
    def create_service(actor: Actor, *, entrust_devices: bool = False, **fields: Any) -> DeviceGroup:
        """A new group has no devices to entrust anything to."""
        return inventory.create_group(actor, **fields)

    update_service = staticmethod(inventory.update_group)
    delete_service = staticmethod(inventory.delete_group)


class ScepServerViewSet(ServiceViewSet):
    """SCEP servers: [Communication Settings] (R2, R3) and their allowance."""

    queryset = ScepServer.objects.all()
    serializer_class = ScepServerSerializer
    permissions = model_permissions("scepserver")
    orderings = ("name",)

    @staticmethod
    def create_service(actor: Actor, *, suspend_timers: bool = False, **fields: Any) -> ScepServer:
        """A new server has no timers to suspend."""
        return inventory.create_server(actor, **fields)

    update_service = staticmethod(inventory.update_server)
    delete_service = staticmethod(inventory.delete_server)


_ONE_OR_MANY = PolymorphicProxySerializer(
    component_name="DeviceOrDevices",
    serializers=[DeviceSerializer, DeviceSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)


class DeviceViewSet(ServiceViewSet):
    """Devices. POST also takes a list: all of it or nothing."""

    serializer_class = DeviceSerializer
    permissions = model_permissions("device")
    filterset_class = DeviceFilter
    orderings = DEVICE_ORDERINGS
    create_service = staticmethod(inventory.create_device)
    update_service = staticmethod(inventory.update_device)
    delete_service = staticmethod(inventory.delete_device)

    def get_queryset(self) -> QuerySet[Device]:
        """What lists show, in one query."""
        return device_queryset()

    def lock(self) -> None:
        """In the order in which everybody locks."""
        inventory.lock_device(self.get_object())

    @extend_schema(
        request=_ONE_OR_MANY,
        responses={201: _ONE_OR_MANY},
        description="One device, or a list of devices: all of the list is stored or nothing.",
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One device, or a list of them."""
        if not isinstance(request.data, list):
            return super().create(request, *args, **kwargs)
        serializer = self.get_serializer(data=request.data, many=True, allow_empty=False)
        serializer.is_valid(raise_exception=True)
        serializer.instance = inventory.create_devices(actor_of(request), serializer.validated_data)
        return Response(serializer.data, status=status.HTTP_201_CREATED)


class ScepSettingsView(ConditionalUpdates):
    """A device's [Settings for Certificate Issuance Auto Request] (R9 to R15)."""

    permissions = dict.fromkeys(("PUT", "PATCH"), Permission.CHANGE_SCEP_SETTINGS)

    @extend_schema(responses=ScepSettingsSerializer)
    def get(self, request: Request, device_id: int) -> Response:
        """The settings; of the challenge password only whether there is one."""
        return self._response(self._settings(device_id))

    @extend_schema(request=ScepSettingsSerializer, responses=ScepSettingsSerializer)
    def put(self, request: Request, device_id: int) -> Response:
        """Change settings; what is left out stays as it is, as with PATCH."""
        return self._save(request, device_id)

    @extend_schema(request=ScepSettingsSerializer, responses=ScepSettingsSerializer)
    def patch(self, request: Request, device_id: int) -> Response:
        """Change some settings; switching the timer on draws R10's offset and schedules the request."""
        return self._save(request, device_id)

    def lock(self) -> None:
        """Of the settings alone, as the service does it."""
        lock_row(self._settings(self.kwargs["device_id"]))

    def _save(self, request: Request, device_id: int) -> Response:
        settings = self._settings(device_id)
        serializer = ScepSettingsSerializer(settings, data=request.data, partial=True)
        # a start without an offset is meant as the device's clock shows it (R9)
        with timezone.override(settings.device.zone):
            serializer.is_valid(raise_exception=True)
        requests.save_settings(actor_of(request), settings.device, **serializer.validated_data)
        return self._response(self._settings(device_id))

    def _settings(self, device_id: int) -> ScepSettings:
        return get_object_or_404(
            ScepSettings.objects.select_related("device__group", "server"), device=device_id
        )

    def _response(self, settings: ScepSettings) -> Response:
        return Response(ScepSettingsSerializer(settings).data)


class AuditEventViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[AuditEvent]
):
    """The audit trail: append-only, newest first."""

    queryset = AuditEvent.objects.all()
    serializer_class = AuditEventSerializer
    filterset_class = AuditEventFilter
    orderings = ("-id",)


class OfDeviceViewSet(viewsets.GenericViewSet[Any]):
    """What belongs to the device in the URL; 404 when there is no such device."""

    def get_device(self) -> Device:
        """The device in the URL."""
        return get_object_or_404(Device, pk=self.kwargs["device_id"])


@extend_schema_view(
    list=extend_schema(description="The status log: the last 20 requests, newest first (R16 to R18)."),
)
class IssuanceRequestViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, OfDeviceViewSet):
    """A device's status log; POST sends a manual request (R4 to R8)."""

    serializer_class = IssuanceRequestSerializer
    permissions = {"POST": Permission.ADD_ISSUANCE_REQUEST}
    orderings = ("-sequence",)
    queryset = IssuanceRequest.objects.none()

    def get_queryset(self) -> QuerySet[IssuanceRequest]:
        """The lines of this device's log."""
        return IssuanceRequest.objects.filter(device=self.get_device()).select_related("certificate")

    @extend_schema(description="Send a manual request; what is left out takes its factory default.")
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send a manual request."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        made = requests.request_certificate(actor_of(request), self.get_device(), **serializer.validated_data)
        return Response(self.get_serializer(made).data, status=status.HTTP_201_CREATED)


class RestartViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, OfDeviceViewSet):
    """The last restarts of a device, newest first; POST asks for one (R7)."""

    serializer_class = RestartSerializer
    permissions = {"POST": Permission.RESTART_DEVICE}
    orderings = ("-created_at",)
    queryset = Restart.objects.none()

    def get_queryset(self) -> QuerySet[Restart]:
        """Those of this device."""
        return Restart.objects.filter(device=self.get_device())

    @extend_schema(request=None, description="Have the device restart soon; its connector must be able to.")
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Have the device restart."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        made = restart.request_restart(actor_of(request), self.get_device())
        return Response(self.get_serializer(made).data, status=status.HTTP_201_CREATED)


@extend_schema_view(
    retrieve=extend_schema(
        responses={
            (200, "application/json"): KeySerializer,
            (200, "application/x-pem-file"): OpenApiTypes.STR,
        }
    )
)
class KeyViewSet(
    ConditionalUpdates,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    OfDeviceViewSet,
):
    """The keys and certificates of a device; one of them also as PEM, by `Accept: application/x-pem-file`.

    PUT and PATCH change `is_default` alone: whether it is the device's default key (R14).
    """

    serializer_class = KeySerializer
    permissions = dict.fromkeys(("PUT", "PATCH"), Permission.CHANGE_KEY)
    orderings = ("-issued_at",)
    queryset = KeyAndCertificate.objects.none()

    def get_queryset(self) -> QuerySet[KeyAndCertificate]:
        """This device's key store."""
        return KeyAndCertificate.objects.filter(device=self.get_device()).select_related("deployment")

    def get_renderers(self) -> list[Any]:
        """PEM is for one certificate."""
        renderers = super().get_renderers()
        return [*renderers, PemRenderer()] if self.action == "retrieve" else renderers

    def lock(self) -> None:
        """Of the device, as the service does it."""
        restarts.lock(self.get_object().device_id)

    def perform_update(self, serializer: BaseSerializer[Any]) -> None:
        """The service checks and audits."""
        key: KeyAndCertificate = self.get_object()
        is_default = serializer.validated_data.get("is_default", key.is_default)
        default_key.set_default(actor_of(self.request), key, is_default=is_default)
        serializer.instance = self.get_object()


@extend_schema_view(
    retrieve=extend_schema(
        operation_id="devices_keys_pem", responses={(200, "application/x-pem-file"): OpenApiTypes.STR}
    )
)
class PemViewSet(KeyViewSet):
    """A certificate with its chain, as a file."""

    pagination_class = None

    def get_renderers(self) -> list[Any]:
        """Nothing else, whatever `Accept` says."""
        return [PemRenderer()]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """The address says what is wanted."""
        return super().perform_content_negotiation(request, force=True)
