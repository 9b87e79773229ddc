"""What the API shows and takes. Names are those of the models; secrets go in and never come out."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from devices.api.fields import StrictFieldsSerializer, StrictSerializer
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.filters import select_devices
from devices.inventory import DEVICE_FIELDS, GROUP_FIELDS, SERVER_FIELDS
from devices.models import (
    PARAMETER_FIELDS,
    AuditEvent,
    Deployment,
    Device,
    DeviceGroup,
    IssuanceRequest,
    KeyAndCertificate,
    Restart,
    ScepServer,
    ScepSettings,
)
from devices.models.choices import DriftChoices, StatusChoices

DERIVED_FIELDS = (
    *("status", "details", "status_at", "next_request_at", "expires_at", "expires_unrenewed"),
    *("drift", "drift_explanation", "probed_at"),
)
"""Columns of a device that its requests and keys make up."""

SECRETS_SHOWN = ("connector_secrets_set", "connector_secrets_from_group", "connector_secrets_held")
"""What is shown of a connector's secrets."""


def challenge_password() -> serializers.CharField:
    """[Challenge Password]: write-only. Left out: as it is; empty: removed."""
    return serializers.CharField(
        write_only=True, required=False, allow_blank=True, trim_whitespace=False, max_length=255
    )


def suspend_timers() -> serializers.BooleanField:
    """R3's way on: timers stand still while the communication settings change, and resume as they were."""
    return serializers.BooleanField(write_only=True, required=False, default=False)


class SelectionSerializer(StrictFieldsSerializer):
    """Devices for one action over many: by ids, or by the filter of their list."""

    devices = serializers.ListField(
        child=serializers.IntegerField(min_value=1), required=False, help_text="Ids; or give `filter`."
    )
    filter = serializers.DictField(
        required=False, help_text="Names and values as in the query of `devices/`; `{}` is every device."
    )

    def selected(self) -> QuerySet[Device]:
        """What was selected, by name. Raises ValidationError with a dict of fields."""
        values = self.validated_data
        return select_devices(ids=values.get("devices"), query=values.get("filter"))


class DeviceGroupSerializer(StrictSerializer):
    connector_settings = serializers.DictField(
        child=serializers.DictField(),
        required=False,
        help_text="Credentials by connector, for devices that have none of their own: `username`, and secret ones. "
        "Replaced as a whole. Secret ones are write-only: of a connector that is named, those that are left out stay "
        "as they are, empty ones are removed.",
    )
    connector_secrets_set = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        read_only=True,
        help_text="The names of the secret ones that are stored, by connector.",
    )

    entrust_devices = serializers.BooleanField(
        write_only=True,
        required=False,
        default=False,
        help_text="Have the credentials sent to every device of the group, also to those whose "
        "`connector_secrets_held` is true; for administrators.",
    )

    class Meta:
        model = DeviceGroup
        fields = ("id", *GROUP_FIELDS, "connector_secrets_set", "entrust_devices")
        read_only_fields = ("connector_secrets_set",)
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}}


class ScepServerSerializer(StrictSerializer):
    suspend_timers = suspend_timers()

    class Meta:
        model = ScepServer
        fields = ("id", *SERVER_FIELDS, "suspend_timers")
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}}


class DeviceSerializer(StrictSerializer):
    connector_settings = serializers.DictField(
        required=False,
        help_text="By the connector's schema, replaced as a whole. Secret ones are write-only: left out they "
        "stay as they are, empty they are removed.",
    )
    connector_secrets_set = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="The names of the secret settings that are stored.",
    )
    connector_secrets_from_group = serializers.ListField(
        child=serializers.CharField(),
        source="secrets_from_group",
        read_only=True,
        help_text="The names of the secret settings that it has from its device group, having none of its own.",
    )
    connector_secrets_held = serializers.BooleanField(
        source="secrets_held",
        read_only=True,
        help_text="True when they were given for another address, and are not sent to this one: give them anew, or "
        "have an administrator save the device.",
    )
    tls_ports = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=65535),
        required=False,
        help_text="Where the certificate that the device serves is looked at.",
    )
    status = serializers.ChoiceField(choices=StatusChoices.choices, read_only=True, allow_blank=True)
    drift = serializers.ChoiceField(choices=DriftChoices.choices, read_only=True, allow_blank=True)

    class Meta:
        model = Device
        fields = ("id", *DEVICE_FIELDS, *SECRETS_SHOWN, *DERIVED_FIELDS)
        read_only_fields = (*SECRETS_SHOWN, *DERIVED_FIELDS)
        validators: list[Any] = []
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}, "serial_number": {"validators": []}}


class ScepSettingsSerializer(StrictSerializer):
    challenge_password = challenge_password()
    suspend_timers = suspend_timers()
    next_request_at = serializers.DateTimeField(
        source="device.next_request_at", read_only=True, allow_null=True
    )

    class Meta:
        model = ScepSettings
        fields = (
            *SETTINGS_FIELDS,
            "challenge_password",
            "suspend_timers",
            "has_challenge_password",
            "offset_seconds",
            "next_request_at",
        )
        read_only_fields = ("has_challenge_password", "offset_seconds")


class IssuanceRequestSerializer(StrictSerializer):
    """A line of the status log (R16, R17); writable are the parameters of a manual request (R4)."""

    status = serializers.ChoiceField(choices=StatusChoices.choices, read_only=True)
    certificate = serializers.CharField(
        source="certificate.certificate",
        default=None,
        read_only=True,
        allow_null=True,
        help_text="PEM, as in the device's keys; null unless successful.",
    )
    key = serializers.IntegerField(
        source="certificate_id", read_only=True, allow_null=True, help_text="Its id among the device's keys."
    )
    challenge_password = challenge_password()

    class Meta:
        model = IssuanceRequest
        read_only_fields = (
            "id",
            "status",
            "details",
            "explanation",
            "trigger",
            "request_at",
            "offset_seconds",
            "started_at",
            "completed_at",
            "transaction_id",
            "polls_left",
            "server",
            "certificate",
            "key",
        )
        fields = (*read_only_fields, *PARAMETER_FIELDS, "challenge_password")


class RestartSerializer(StrictSerializer):
    """One restart of a device (R7, R13)."""

    class Meta:
        model = Restart
        fields = (
            *("id", "state", "trigger", "explanation", "asked_by"),
            *("created_at", "requested_at", "completed_at"),
        )
        read_only_fields = fields


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    """How far a key is on its way to its device."""

    next_try_at = serializers.DateTimeField(
        source="next_action_at",
        read_only=True,
        allow_null=True,
        help_text="Null: nothing is to happen any more.",
    )
    delivered_at = serializers.DateTimeField(source="key.delivered_at", read_only=True, allow_null=True)
    verified_at = serializers.DateTimeField(source="key.verified_at", read_only=True, allow_null=True)

    class Meta:
        model = Deployment
        fields: tuple[str, ...] = (
            *("id", "state", "explanation", "tries", "next_try_at", "key_use", "ipsec_destination"),
            *("created_at", "sent_at", "delivered_at", "verified_at", "completed_at"),
        )
        read_only_fields = fields


class ListedDeploymentSerializer(DeploymentSerializer):
    """The same with what is delivered where."""

    device_name = serializers.CharField(source="device.name", read_only=True)
    key_name = serializers.CharField(source="key.name", read_only=True)
    fingerprint_sha256 = serializers.CharField(source="key.fingerprint_sha256", read_only=True)

    class Meta(DeploymentSerializer.Meta):
        fields = (
            *DeploymentSerializer.Meta.fields,
            *("device", "device_name", "key", "key_name", "fingerprint_sha256"),
        )
        read_only_fields = fields


class KeySerializer(StrictSerializer):
    """A key of the device's key store with its certificate; the private key has no way out."""

    deployment = DeploymentSerializer(read_only=True, allow_null=True, default=None)

    class Meta:
        model = KeyAndCertificate
        fields = (
            "id",
            "name",
            "key_use",
            "ipsec_destination",
            "is_default",
            "key_length",
            "subject",
            "issuer",
            "serial_number",
            "fingerprint_sha256",
            "not_before",
            "not_after",
            "issued_at",
            "delivered_at",
            "verified_at",
            "deployment",
            "certificate",
            "chain",
        )
        read_only_fields = tuple(name for name in fields if name != "is_default")
        extra_kwargs: dict[str, Any] = {
            "is_default": {"help_text": "R14 never overwrites the default key. A device has one at most."}
        }


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    """Who did what to what, when, from where; `changes` holds `{field: [old, new]}` and other facts."""

    class Meta:
        model = AuditEvent
        fields = (
            *("id", "at", "actor_name", "source", "address", "action"),
            *("target_type", "target_id", "target_name", "changes"),
        )
