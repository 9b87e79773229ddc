"""Jobs over REST: start one over many devices, watch it, read its results, cancel it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.access import denial, may
from devices.api.fields import LenientChoiceField, StrictFieldsSerializer, StrictSerializer
from devices.api.serializers import SelectionSerializer, challenge_password
from devices.api.views import actor_of
from devices.jobs import service
from devices.jobs.kinds import KINDS
from devices.models import PARAMETER_FIELDS, IssuanceRequest, Job, JobItem
from devices.models.choices import JobItemStateChoices, JobKindChoices


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job with its progress; its secrets have no way out."""

    class Meta:
        model = Job
        fields = (
            *("id", "kind", "state", "parameters", "actor_name", "source"),
            *("total", "done", "refused", "message", "created_at", "started_at", "completed_at"),
        )
        read_only_fields = fields


class JobItemSerializer(serializers.ModelSerializer[JobItem]):
    """What came of a job for one device."""

    class Meta:
        model = JobItem
        fields = ("id", "device", "device_name", "state", "message")
        read_only_fields = fields


class NewJobSerializer(SelectionSerializer):
    """What to do, to which devices."""

    kind = LenientChoiceField(
        choices=[
            (kind.value, kind.label)
            for kind in JobKindChoices
            if KINDS[kind].perform is not None and kind != JobKindChoices.SPREAD
        ],
        help_text="A spread is started by `device-groups/{id}/spread/`; files are handed in at `imports/`.",
    )
    parameters = serializers.DictField(
        required=False,
        default=dict,
        help_text="Of the kind: a manual request takes the fields of R4, applying a template "
        "`template` (its id) and `suspend_timers`.",
    )


class ManualRequestParameters(StrictSerializer):
    """The parameters of a manual request for many devices (R4)."""

    challenge_password = challenge_password()

    class Meta:
        model = IssuanceRequest
        fields = (*PARAMETER_FIELDS, "challenge_password")


class ApplyTemplateParameters(StrictFieldsSerializer):
    """Which template, and whether timers stand still where it changes the SCEP server (R3)."""

    template = serializers.IntegerField(min_value=1)
    suspend_timers = serializers.BooleanField(required=False, default=False)


class NoParameters(serializers.Serializer[Any]):
    """For kinds of jobs that take none; names that are given are refused by the kind itself."""

    def to_internal_value(self, data: Any) -> Any:
        """As it came."""
        return data


PARAMETER_SERIALIZERS: dict[str, type[serializers.Serializer[Any]]] = {
    JobKindChoices.MANUAL_REQUEST.value: ManualRequestParameters,
    JobKindChoices.APPLY_TEMPLATE.value: ApplyTemplateParameters,
    JobKindChoices.RESTART.value: NoParameters,
    JobKindChoices.DELIVER.value: NoParameters,
}
"""Reads the parameters of each kind, with the messages that single devices get."""


class JobItemFilter(filters.FilterSet):
    """Narrows the results of a job down."""

    state = filters.ChoiceFilter(choices=JobItemStateChoices.choices)


class JobViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Job]):
    """Jobs: one action over many devices, done by workers."""

    queryset = Job.objects.all()
    serializer_class = JobSerializer
    orderings = ("-created_at",)

    def check_permissions(self, request: Request) -> None:
        """Who may start or cancel depends on the kind: the service asks. Strangers see nothing all the same."""
        if request.method == "POST" and request.user.is_authenticated:
            return
        super().check_permissions(request)

    @extend_schema(request=NewJobSerializer, responses={202: JobSerializer})
    def create(self, request: Request) -> Response:
        """Start a job; it answers at once, and workers do the rest."""
        given = NewJobSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        kind = JobKindChoices(values["kind"])
        if not may(request.user, KINDS[kind].permission):
            raise PermissionDenied(denial(KINDS[kind].permission, request.user))
        parameters = PARAMETER_SERIALIZERS[kind](data=values["parameters"])
        if not parameters.is_valid():
            raise serializers.ValidationError({"parameters": parameters.errors})
        job = service.start(actor_of(request), kind, given.selected(), parameters.validated_data)
        return Response(JobSerializer(job).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=JobSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Leave alone the devices that still wait."""
        return Response(JobSerializer(service.cancel(actor_of(request), self.get_object())).data)


class JobItemViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[JobItem]):
    """The devices of a job, each with what came of it."""

    queryset = JobItem.objects.none()
    serializer_class = JobItemSerializer
    filterset_class = JobItemFilter
    orderings = ("position",)

    def get_queryset(self) -> QuerySet[JobItem]:
        """Those of the job in the URL; 404 when there is no such job."""
        return JobItem.objects.filter(job=get_object_or_404(Job, pk=self.kwargs["job_id"]))
