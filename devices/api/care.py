"""What is done to one device beside its settings: how it is restarted, what it is, whether its connector works."""

from __future__ import annotations

import base64
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import restarts
from devices.access import Permission
from devices.api.conditional import ConditionalUpdates
from devices.api.fields import StrictSerializer
from devices.api.views import actor_of
from devices.delivery import connector_test, download, identify, restart
from devices.delivery.connectors import registry
from devices.delivery.connectors.settings import Kind
from devices.models import Device, KeyAndCertificate, RestartSettings


class RestartSettingsSerializer(StrictSerializer):
    """How a device is restarted."""

    snmp = serializers.DictField(
        required=False,
        help_text="`version`, `port`, `username`, `community` and others, replaced as a whole; `{}` ends SNMP. "
        "Secret ones are write-only: left out they stay as they are, empty they are removed.",
    )
    snmp_secrets_set = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="The names of the secret settings that are stored.",
    )
    snmp_secrets_held = serializers.BooleanField(
        read_only=True,
        help_text="True when they were given for another address, and are not sent to this one.",
    )

    class Meta:
        model = RestartSettings
        fields = (*restart.SETTINGS_FIELDS, "snmp", "snmp_secrets_set", "snmp_secrets_held")


class RestartSettingsView(ConditionalUpdates):
    """How a device is restarted: over SNMP where its connector cannot, and how long one waits until it is idle."""

    permissions = dict.fromkeys(("PUT", "PATCH"), Permission.CHANGE_DEVICE)

    @extend_schema(responses=RestartSettingsSerializer)
    def get(self, request: Request, device_id: int) -> Response:
        """The settings, or the defaults; of secrets only their names."""
        return self._response(self._device(device_id))

    @extend_schema(request=RestartSettingsSerializer, responses=RestartSettingsSerializer)
    def put(self, request: Request, device_id: int) -> Response:
        """Change settings; what is left out stays as it is, as with PATCH."""
        return self._save(request, device_id)

    @extend_schema(request=RestartSettingsSerializer, responses=RestartSettingsSerializer)
    def patch(self, request: Request, device_id: int) -> Response:
        """Change some settings."""
        return self._save(request, device_id)

    def lock(self) -> None:
        """Of the device, as the service does it."""
        restarts.lock(self.kwargs["device_id"])

    def _save(self, request: Request, device_id: int) -> Response:
        device = self._device(device_id)
        given = RestartSettingsSerializer(restarts.settings_of(device), data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        restart.save_settings(actor_of(request), device, **given.validated_data)
        return self._response(device)

    def _device(self, device_id: int) -> Device:
        return get_object_or_404(Device, pk=device_id)

    def _response(self, device: Device) -> Response:
        return Response(RestartSettingsSerializer(restarts.settings_of(device)).data)


class DifferenceSerializer(serializers.Serializer[Any]):
    """One field of a device."""

    field = serializers.ChoiceField(choices=[(name, name) for name in identify.FIELDS])
    stored = serializers.CharField(allow_blank=True)
    found = serializers.CharField()


class IdentitySerializer(serializers.Serializer[Any]):
    """What a device says it is."""

    vendor = serializers.CharField(allow_blank=True)
    model = serializers.CharField(allow_blank=True)
    serial_number = serializers.CharField(allow_blank=True)
    firmware = serializers.CharField(allow_blank=True)
    answered_by = serializers.ListField(child=serializers.CharField())
    differences = DifferenceSerializer(many=True)


class IdentityView(APIView):
    """What a device says it is."""

    permissions = {"POST": Permission.CHANGE_DEVICE}
    asks_the_network = True

    @extend_schema(request=None, responses=IdentitySerializer)
    def post(self, request: Request, device_id: int) -> Response:
        """Ask the device over its connector, IPP and SNMP, and compare; nothing is changed.

        What you want to take over goes into a PATCH of the device.
        """
        shown = identify.identify(actor_of(request), get_object_or_404(Device, pk=device_id))
        differences = [
            {"field": name, "stored": stored, "found": found}
            for name, (stored, found) in shown.differences.items()
        ]
        return Response({**shown.found, "answered_by": list(shown.answered_by), "differences": differences})


class FindingSerializer(serializers.Serializer[Any]):
    """One thing that was looked at."""

    step = serializers.CharField()
    is_good = serializers.BooleanField()
    message = serializers.CharField()


class ConnectorTestSerializer(serializers.Serializer[Any]):
    """What a try of the connector's settings found, in order."""

    findings = FindingSerializer(many=True)


class ConnectorTestView(APIView):
    """Trying the settings of a device's connector."""

    permissions = {"POST": Permission.CHANGE_DEVICE}
    asks_the_network = True

    @extend_schema(request=None, responses=ConnectorTestSerializer)
    def post(self, request: Request, device_id: int) -> Response:
        """Look and sign in at the device with the settings of its connector; nothing is changed there."""
        found = connector_test.run(actor_of(request), get_object_or_404(Device, pk=device_id))
        findings = [
            {"step": str(each.step), "is_good": each.is_good, "message": each.message} for each in found
        ]
        return Response({"findings": findings})


class Pkcs12Serializer(serializers.Serializer[Any]):
    """A key with its certificate and chain."""

    file_name = serializers.CharField()
    pkcs12 = serializers.CharField(help_text="PKCS #12 (RFC 7292) in base64.")
    password = serializers.CharField(help_text="Opens it; it is shown this once.")


class Pkcs12View(APIView):
    """Fetching a key by hand."""

    permissions = {"POST": Permission.DOWNLOAD_KEY}
    answers_with_secret = True

    @extend_schema(request=None, responses=Pkcs12Serializer)
    def post(self, request: Request, device_id: int, pk: int) -> Response:
        """Fetch the key with its certificate, once, for a device whose connector is `download`."""
        key = get_object_or_404(KeyAndCertificate.objects.select_related("device"), pk=pk, device=device_id)
        fetched = download.fetch(actor_of(request), key)
        return Response(
            {
                "file_name": fetched.file_name,
                "pkcs12": base64.b64encode(fetched.pkcs12).decode(),
                "password": fetched.password,
            },
            headers={"Cache-Control": "no-store"},
        )


class ChoiceSerializer(serializers.Serializer[Any]):
    """A value that a setting may have."""

    value = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]


class SettingSerializer(serializers.Serializer[Any]):
    """One setting of a connector."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    kind = serializers.ChoiceField(choices=[(kind.value, kind.value) for kind in Kind])
    help_text = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
    required = serializers.BooleanField()  # type: ignore[assignment]
    is_secret = serializers.BooleanField()
    default = serializers.JSONField(allow_null=True)
    choices = ChoiceSerializer(many=True, help_text="Of a text that has some values only.")


class ConnectorSerializer(serializers.Serializer[Any]):
    """One connector: what it can do, and what it is to be told."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    capabilities = serializers.ListField(child=serializers.CharField())
    can_test = serializers.BooleanField(help_text="Whether `devices/{id}/connector-test/` works.")
    settings = SettingSerializer(many=True)


class ConnectorListSerializer(serializers.Serializer[Any]):
    """Every connector of this server."""

    connectors = ConnectorSerializer(many=True)


class ConnectorsView(APIView):
    """The connectors that a device can have."""

    @extend_schema(responses=ConnectorListSerializer)
    def get(self, request: Request) -> Response:
        """Every connector with its settings, for other systems that fill them in."""
        return Response(
            {"connectors": [_connector(name) for name in registry.known()]},
        )


def _connector(name: str) -> dict[str, Any]:
    found = registry.known()[name]
    return {
        "name": name,
        "label": str(found.label),
        "capabilities": sorted(found.capabilities),
        "can_test": connector_test.can_test(name),
        "settings": [
            {
                "name": setting.name,
                "label": str(setting.label),
                "kind": setting.kind.value,
                "help_text": str(setting.help_text),
                "required": setting.required,
                "is_secret": setting.is_secret,
                "default": setting.default,
                "choices": [{"value": value, "label": str(label)} for value, label in setting.choices],
            }
            for setting in found.schema
        ],
    }
