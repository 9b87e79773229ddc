"""One filter set over devices, and one over the audit trail: for the dashboard, the API and exports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters.fields import IsoDateTimeField

from devices.models import AuditEvent, Deployment, Device, DeviceGroup, ScepServer
from devices.models.choices import DeploymentStateChoices, DriftChoices, StatusChoices

NO_STATUS = "none"
"""The filter's value for devices that never had a request; stored as the empty [Status]."""

ANY_DRIFT = "any"
"""The filter's value for every kind of drift."""

DEVICE_ORDERINGS = (
    "name",
    "host",
    "serial_number",
    "model",
    "location",
    "status",
    "status_at",
    "next_request_at",
    "expires_at",
)
"""What lists of devices sort by; a leading minus turns the order round."""


def device_queryset() -> QuerySet[Device]:
    """Devices with what every list shows of them, in one query."""
    return Device.objects.select_related("group", "scep_settings__server")


class MomentField(IsoDateTimeField):
    """A moment in UTC: PostgreSQL knows no offset of more than 15:59 hours, as ISO 8601 does."""

    def clean(self, value: Any) -> datetime | None:
        """The moment. Raises ValidationError, also for one that UTC cannot say."""
        moment: datetime | None = super().clean(value)
        try:
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    """Date and time, with or without an offset."""

    field_class = MomentField


class DeviceFilter(django_filters.FilterSet):
    """Narrows devices down. Values that make no sense are refused with the field named."""

    search = django_filters.CharFilter(method="filter_search", label=_("Search"))
    status = django_filters.ChoiceFilter(
        method="filter_status",
        choices=[*StatusChoices.choices, (NO_STATUS, _("No request yet"))],
        label=_("Status"),
    )
    details = django_filters.CharFilter(field_name="details", label=_("Details"))
    group = django_filters.ModelChoiceFilter(queryset=DeviceGroup.objects.all(), label=_("Device group"))
    server = django_filters.ModelChoiceFilter(
        field_name="scep_settings__server", queryset=ScepServer.objects.all(), label=_("SCEP server")
    )
    timer_enabled = django_filters.BooleanFilter(
        field_name="scep_settings__timer_enabled", label=_("Timer is on")
    )
    expires_before = MomentFilter(
        field_name="expires_at", lookup_expr="lt", label=_("Certificate expires before")
    )

    expires_unrenewed = django_filters.BooleanFilter(
        method="filter_expires_unrenewed", label=_("Expires before the next request")
    )

    deployment = django_filters.ChoiceFilter(
        method="filter_deployment", choices=DeploymentStateChoices.choices, label=_("Delivery")
    )
    drift = django_filters.ChoiceFilter(
        method="filter_drift", choices=[(ANY_DRIFT, _("Any")), *DriftChoices.choices], label=_("Drift")
    )

    class Meta:
        model = Device
        fields: list[str] = []

    def filter_search(self, queryset: QuerySet[Device], _name: str, value: str) -> QuerySet[Device]:
        """Every word must occur in the name, address, serial number, model or location."""
        for word in value.split():
            queryset = queryset.filter(
                Q(name__icontains=word)
                | Q(host__icontains=word)
                | Q(serial_number__icontains=word)
                | Q(model__icontains=word)
                | Q(location__icontains=word)
            )
        return queryset

    def filter_status(self, queryset: QuerySet[Device], _name: str, value: str) -> QuerySet[Device]:
        """[Status]; NO_STATUS finds the devices without one."""
        return queryset.filter(status="" if value == NO_STATUS else value)

    def filter_deployment(self, queryset: QuerySet[Device], _name: str, value: str) -> QuerySet[Device]:
        """Devices with a key whose delivery stands there."""
        return queryset.filter(Exists(Deployment.objects.filter(state=value, device=OuterRef("pk"))))

    def filter_drift(self, queryset: QuerySet[Device], _name: str, value: str) -> QuerySet[Device]:
        """Devices that do not serve their certificate as it should be; ANY_DRIFT finds all of them."""
        return queryset.exclude(drift="") if value == ANY_DRIFT else queryset.filter(drift=value)

    def filter_expires_unrenewed(
        self, queryset: QuerySet[Device], _name: str, value: bool
    ) -> QuerySet[Device]:
        """Devices whose certificate will expire although a timer is set, or because none is."""
        return (
            queryset.filter(Device.EXPIRES_UNRENEWED) if value else queryset.exclude(Device.EXPIRES_UNRENEWED)
        )


class AuditEventFilter(django_filters.FilterSet):
    """Narrows the audit trail down."""

    device = django_filters.NumberFilter(method="filter_device", label=_("Device"))
    actor = django_filters.CharFilter(field_name="actor_name", label=_("Who"))
    action = django_filters.CharFilter(field_name="action", lookup_expr="startswith", label=_("Action"))
    what = django_filters.CharFilter(field_name="target_name", lookup_expr="icontains", label=_("What"))
    source = django_filters.ChoiceFilter(choices=AuditEvent.Source.choices, label=_("From"))
    since = MomentFilter(field_name="at", lookup_expr="gte", label=_("Since"))
    until = MomentFilter(field_name="at", lookup_expr="lt", label=_("Until"))

    class Meta:
        model = AuditEvent
        fields: list[str] = []

    def filter_device(self, queryset: QuerySet[AuditEvent], _name: str, value: Any) -> QuerySet[AuditEvent]:
        """Everything about one device, by its id; also after it was deleted."""
        return queryset.filter(target_type=Device._meta.model_name, target_id=value)


def select_devices(
    *, ids: Collection[int] | None = None, query: Mapping[str, Any] | None = None
) -> QuerySet[Device]:
    """Devices for an action over many: by `ids`, or everything that the filter `query` finds, by name.

    Raises ValidationError with a dict of fields: for both or none of the two, for ids that do not exist, and for
    a query that the list would refuse, unknown names included.
    """
    if (ids is None) == (query is None):
        raise ValidationError({"devices": _("Select devices either by their ids or by a filter.")})
    devices = device_queryset().order_by("name", "pk")
    if ids is not None:
        found = devices.filter(pk__in=set(ids))
        if missing := set(ids) - set(found.values_list("pk", flat=True)):
            shown = ", ".join(map(str, sorted(missing)[:10])) + (", …" if len(missing) > 10 else "")
            raise ValidationError({"devices": _("There is no device with the id %(ids)s.") % {"ids": shown}})
        return found
    known = DeviceFilter.base_filters
    if unknown := sorted(set(query or {}) - set(known)):
        raise ValidationError(
            {
                "filter": _("There is no filter %(unknown)s. Known are: %(known)s.")
                % {"unknown": ", ".join(unknown), "known": ", ".join(known)}
            }
        )
    matching = DeviceFilter(dict(query or {}), devices)
    if not matching.is_valid():
        raise ValidationError(
            {"filter": [f"{name}: {' '.join(texts)}" for name, texts in matching.errors.items()]}
        )
    return matching.qs
