"""Templates over REST: kept, and previewed for a selection of devices. `jobs/` applies them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices import templates
from devices.access import Permission
from devices.api.fields import LocalDateTimeField, StrictSerializer
from devices.api.serializers import SelectionSerializer, challenge_password
from devices.api.views import ServiceViewSet, model_permissions
from devices.audit import Actor
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.models import ScepSettings, SettingsTemplate
from devices.templates import Outcome


class TemplateSettingsSerializer(StrictSerializer):
    """What a template sets: some of a device's settings."""

    request_start_at = LocalDateTimeField(
        required=False,
        allow_null=True,
        help_text="Without a time zone: each device takes it in the time zone of its group.",
    )

    class Meta:
        model = ScepSettings
        fields = SETTINGS_FIELDS

    def to_representation(self, values: dict[str, Any]) -> dict[str, Any]:
        """As stored: what is not in it, a device keeps."""
        return dict(values)


class SettingsTemplateSerializer(StrictSerializer):
    settings = TemplateSettingsSerializer(source="values", required=False)
    challenge_password = challenge_password()

    class Meta:
        model = SettingsTemplate
        fields = ("id", "name", "description", "settings", "challenge_password", "has_challenge_password")
        read_only_fields = ("has_challenge_password",)
        extra_kwargs: dict[str, Any] = {"name": {"validators": []}}


class PreviewRequestSerializer(SelectionSerializer):
    """For which devices, and which part of the answer."""

    suspend_timers = serializers.BooleanField(
        required=False, default=False, help_text="As the job that applies the template will be told (R3)."
    )
    outcome = serializers.ChoiceField(choices=Outcome.choices, required=False, help_text="By default all.")
    page = serializers.IntegerField(required=False, default=1, min_value=1)
    page_size = serializers.IntegerField(required=False, default=100, min_value=1, max_value=500)


class PreviewRowSerializer(serializers.Serializer[Any]):
    """What applying the template comes to for one device."""

    device = serializers.IntegerField(source="device.pk")
    device_name = serializers.CharField(source="device.name")
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    changes = serializers.DictField(
        source="plan.changes",
        default=dict,
        help_text="`{field: [old, new]}`, as the audit trail will say it.",
    )
    refusal = serializers.CharField(help_text="Why it would be refused, as the job would say it; else empty.")


class PreviewTotalsSerializer(serializers.Serializer[Any]):
    """How many devices of the whole selection come to what."""

    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    refused = serializers.IntegerField()


class PreviewSerializer(serializers.Serializer[Any]):
    """What applying the template comes to: for the selection, and a page of its devices."""

    totals = PreviewTotalsSerializer()
    page = serializers.IntegerField()
    pages = serializers.IntegerField()
    results = PreviewRowSerializer(many=True)


@contextmanager
def _settings_named() -> Iterator[None]:
    """Problems of settings stand below `settings`, where they were written."""
    try:
        yield
    except ValidationError as error:
        problems: dict[str, Any] = dict(error.message_dict)
        settings = {name: problems.pop(name) for name in SETTINGS_FIELDS if name in problems}
        raise serializers.ValidationError(problems | ({"settings": settings} if settings else {})) from error


class SettingsTemplateViewSet(ServiceViewSet):
    """Templates: named sets of settings. `settings` that are sent take the place of all that there were."""

    queryset = SettingsTemplate.objects.select_related("server")
    serializer_class = SettingsTemplateSerializer
    permissions = model_permissions("settingstemplate")
    orderings = ("name",)
    delete_service = staticmethod(templates.delete)

    @staticmethod
    def create_service(actor: Actor, *, values: Any = None, **fields: Any) -> SettingsTemplate:
        """A new template."""
        with _settings_named():
            return templates.create(actor, settings=values or {}, **fields)

    @staticmethod
    def update_service(actor: Actor, template: SettingsTemplate, **fields: Any) -> SettingsTemplate:
        """What is left out stays as it is."""
        settings = {"settings": fields.pop("values")} if "values" in fields else {}
        with _settings_named():
            return templates.update(actor, template, **fields, **settings)

    @extend_schema(request=PreviewRequestSerializer, responses=PreviewSerializer)
    @action(
        detail=True,
        methods=["post"],
        permissions={"POST": Permission.CHANGE_SCEP_SETTINGS},
        filter_backends=[],
        pagination_class=None,
    )
    def preview(self, request: Request, pk: str) -> Response:
        """What applying it to a selection of devices would change, and what would be refused; nothing is written."""
        given = PreviewRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        found = templates.preview(
            self.get_object(), given.selected(), suspend_timers=values["suspend_timers"]
        )
        outcome = Outcome(values["outcome"]) if "outcome" in values else None
        page = Paginator(found.ids(outcome), values["page_size"]).get_page(values["page"])
        answer = {
            "totals": found.totals,
            "page": page.number,
            "pages": page.paginator.num_pages,
            "results": found.rows([*page.object_list]),
        }
        return Response(PreviewSerializer(answer).data)
