"""Imports and exports over REST: files in, checked and applied by jobs; files out, as the list filters them (R19)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import imports
from devices.access import Permission
from devices.api.fields import StrictFieldsSerializer
from devices.api.views import actor_of
from devices.filters import DeviceFilter, select_devices
from devices.models import Device, Import, ImportRow
from devices.models.choices import FileFormatChoices, JobItemStateChoices, RowOutcomeChoices
from devices.transfer import exporter, report
from devices.transfer.source import LARGEST_FILE, FileUnusable, too_large

_PIECE = 1 << 16


class ImportSerializer(serializers.ModelSerializer[Import]):
    """A file that was handed in, and what its check came to. `check_job` and `apply_job` are under `jobs/`."""

    class Meta:
        model = Import
        fields = (
            *("id", "file_name", "format", "state", "problem", "columns", "total"),
            *("added", "changed", "unchanged", "locked", "refused"),
            *("check_job", "apply_job", "actor_name", "source", "created_at"),
        )
        read_only_fields = fields


class ImportRowSerializer(serializers.ModelSerializer[ImportRow]):
    """One device of a file."""

    changes = serializers.DictField(
        source="shown_changes",
        help_text="`{column: [old, new]}`; of a new device old is null.",
        read_only=True,
    )
    problems = serializers.SerializerMethodField()

    class Meta:
        model = ImportRow
        fields = (
            *("id", "line", "name", "serial_number", "device", "outcome"),
            *("changes", "problems", "state", "message"),
        )
        read_only_fields = fields

    def get_problems(self, row: ImportRow) -> list[dict[str, str]]:
        """`{"column", "value", "reason"}` each."""
        return [dict(zip(("column", "value", "reason"), problem, strict=True)) for problem in row.problems]


class ApplySerializer(StrictFieldsSerializer):
    """How a checked file is applied."""

    good_rows_only = serializers.BooleanField(
        required=False, default=False, help_text="Else all of it or nothing."
    )
    suspend_timers = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Apply locked rows too: their timers keep their schedule (R3).",
    )


class UploadSerializer(serializers.Serializer[Any]):
    """A file as a form sends it. Without a form, the body is the file and `format` stands in the query."""

    file = serializers.FileField(help_text="CSV, XML, or a ZIP encrypted with AES that holds one of them.")
    format = serializers.ChoiceField(
        choices=FileFormatChoices.choices, required=False, help_text="Seen from the content by default."
    )
    password = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, write_only=True, help_text="Opens the ZIP."
    )


class RawFileParser(BaseParser):
    """Takes the body as the file, whatever its type; large ones wait on disk."""

    media_type = "*/*"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, IO[bytes]]:
        """`{"file": ...}`. Raises ValidationError for one that is too large."""
        file = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115 - the view closes it
        size = 0
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > LARGEST_FILE:
                file.close()
                raise serializers.ValidationError({"file": [str(too_large())]})
            file.write(piece)
        file.seek(0)
        return {"file": file}


class AnyType(DefaultContentNegotiation):
    """The address says what is sent, whatever `Accept` and `format` would like; errors are problem details."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first."""
        return renderers[0], renderers[0].media_type


class ImportRowFilter(filters.FilterSet):
    """Narrows the rows of an import down."""

    outcome = filters.ChoiceFilter(choices=RowOutcomeChoices.choices)
    state = filters.ChoiceFilter(choices=JobItemStateChoices.choices)


@contextmanager
def _unusable_files() -> Iterator[None]:
    """What is wrong with a whole file stands at `file`."""
    try:
        yield
    except FileUnusable as unusable:
        raise serializers.ValidationError({"file": [str(unusable)]}) from unusable


class ImportViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Import]):
    """Imports: hand a file in, read what it comes to, have it applied."""

    queryset = Import.objects.select_related("check_job", "apply_job")
    serializer_class = ImportSerializer
    parser_classes = (JSONParser, MultiPartParser, RawFileParser)
    content_negotiation_class = AnyType  # `format` is that of the file
    permissions = {"POST": Permission.ADD_DEVICE}
    takes_files = True
    orderings = ("-id",)

    @extend_schema(
        request={
            "multipart/form-data": UploadSerializer,
            "text/csv": OpenApiTypes.BINARY,
            "application/xml": OpenApiTypes.BINARY,
        },
        parameters=[
            OpenApiParameter(
                "format", enum=FileFormatChoices.values, description="Of a body that is the file."
            ),
            OpenApiParameter("file_name", description="Of a body that is the file; for people."),
        ],
        responses={202: ImportSerializer},
    )
    def create(self, request: Request) -> Response:
        """Hand a file in; a job checks it, and nothing of the fleet changes."""
        data = request.data if hasattr(request.data, "get") else {}
        file: Any = data.get("file")
        if not hasattr(file, "read"):
            raise serializers.ValidationError(
                {"file": [_("Send the file: as the body, or as “file” of a form.")]}
            )
        with file, _unusable_files():
            given = {
                name: data.get(name) or request.query_params.get(name, "") for name in ("format", "file_name")
            }
            if given["format"] and given["format"] not in FileFormatChoices.values:
                known = ", ".join(FileFormatChoices.values)
                raise serializers.ValidationError({"format": [_("Choose one of %s.") % known]})
            # only a form's file has a name; that of a body on disk is a number
            own_name = file.name if isinstance(file, UploadedFile) else None
            found = imports.receive(
                actor_of(request),
                file,
                file_name=given["file_name"] or own_name or "",
                file_format=FileFormatChoices(given["format"]) if given["format"] else None,
                password=data.get("password") or "",
            )
        return Response(ImportSerializer(found).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ApplySerializer, responses={202: ImportSerializer})
    @action(detail=True, methods=["post"], parser_classes=[JSONParser])
    def apply(self, request: Request, pk: str) -> Response:
        """Have a checked file applied by the job `apply_job`: all of it or nothing, or the good rows only."""
        given = ApplySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        imports.apply(actor_of(request), self.get_object(), **given.validated_data)
        return Response(ImportSerializer(self.get_object()).data, status=status.HTTP_202_ACCEPTED)


class ImportRowViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[ImportRow]):
    """The rows of an import: what each comes to, and what became of it."""

    queryset = ImportRow.objects.none()
    serializer_class = ImportRowSerializer
    filterset_class = ImportRowFilter
    orderings = ("number",)

    def get_queryset(self) -> QuerySet[ImportRow]:
        """Those of the import in the URL; 404 when there is no such import."""
        return ImportRow.objects.filter(of=get_object_or_404(Import, pk=self.kwargs["import_id"]))


# --- exports -------------------------------------------------------------------------------------------------

_TYPES = {"csv": "text/csv; charset=utf-8", "xml": "application/xml", "zip": "application/zip"}


def download(pieces: Iterator[bytes], name: str) -> StreamingHttpResponse:
    """A file that is made while it is sent."""
    response = StreamingHttpResponse(pieces, content_type=_TYPES[name.rpartition(".")[2]])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


_FILTERS = [
    OpenApiParameter(name, description="As in the list of devices.") for name in DeviceFilter.base_filters
]


class ExportView(APIView):
    """A file of what the list's filters find; every device without any."""

    content_negotiation_class = AnyType

    def selected(self, request: Request) -> tuple[QuerySet[Device], dict[str, Any]]:
        """The devices, and the filters as they were given. Raises ValidationError for unknown ones."""
        query = {name: value for name, value in request.query_params.items() if value}
        return select_devices(query=query), query


class DevicesCsvView(ExportView):
    """Devices with all their settings, without secrets."""

    file_format = FileFormatChoices.CSV

    @extend_schema(parameters=_FILTERS, responses={(200, "text/csv"): OpenApiTypes.BINARY})
    def get(self, request: Request) -> HttpResponse | StreamingHttpResponse:
        """Devices with all their settings, without secrets, as imports take them."""
        selected, query = self.selected(request)
        pieces = exporter.devices(actor_of(request), selected, self.file_format, query)
        return download(pieces, f"devices.{self.file_format}")


class DevicesXmlView(DevicesCsvView):
    """The same as XML."""

    file_format = FileFormatChoices.XML

    @extend_schema(parameters=_FILTERS, responses={(200, "application/xml"): OpenApiTypes.BINARY})
    def get(self, request: Request) -> HttpResponse | StreamingHttpResponse:
        """Devices with all their settings, without secrets, as imports take them."""
        return super().get(request)


class SecretsSerializer(StrictFieldsSerializer):
    """What a file with secrets takes."""

    password = serializers.CharField(
        trim_whitespace=False, write_only=True, help_text="At least 12 characters."
    )
    format = serializers.ChoiceField(
        choices=FileFormatChoices.choices, required=False, default=FileFormatChoices.CSV
    )


class DevicesWithSecretsView(ExportView):
    """Devices with their secrets, for administrators."""

    permissions = {"POST": Permission.CHANGE_SCEP_SETTINGS}

    @extend_schema(
        parameters=_FILTERS,
        request=SecretsSerializer,
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    def post(self, request: Request) -> FileResponse:
        """Devices with all their settings and secrets, in a ZIP encrypted with AES-256 and the password."""
        given = SecretsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        selected, query = self.selected(request)
        file_format = FileFormatChoices(given.validated_data["format"])
        file = exporter.devices_with_secrets(
            actor_of(request), selected, file_format, query, given.validated_data["password"]
        )
        return FileResponse(file, as_attachment=True, filename="devices.zip", content_type="application/zip")


class StatusLogView(ExportView):
    """Status logs."""

    @extend_schema(parameters=_FILTERS, responses={(200, "text/csv"): OpenApiTypes.BINARY})
    def get(self, request: Request) -> StreamingHttpResponse:
        """The lines of the devices' status logs (R16 to R18)."""
        return download(exporter.status_log(actor_of(request), *self.selected(request)), "status-log.csv")


class CertificatesView(ExportView):
    """Certificates."""

    @extend_schema(parameters=_FILTERS, responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def get(self, request: Request) -> StreamingHttpResponse:
        """The devices' certificates with their chains as PEM, and a table of them."""
        return download(exporter.certificates(actor_of(request), *self.selected(request)), "certificates.zip")


class ImportReportView(ExportView):
    """The report of an import."""

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.BINARY})
    def get(self, request: Request, import_id: int) -> StreamingHttpResponse:
        """Each change and each problem of an import's rows, as CSV."""
        return download(report.as_csv(get_object_or_404(Import, pk=import_id)), "report.csv")
