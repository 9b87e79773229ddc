"""The filter sets as the forms above their lists."""

from __future__ import annotations

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _

from devices.filters import AuditEventFilter, DeviceFilter, MomentFilter
from fleet.dashboard.forms import LocalDateTimeInput, css_class


class StyledFilter(django_filters.FilterSet):
    """With the page's styles; every choice begins with “All”."""

    def get_form_class(self) -> type[forms.Form]:
        """The form's class."""
        form_class: type[forms.Form] = super().get_form_class()
        for field in form_class.base_fields.values():
            field.widget.attrs["class"] = css_class(field.widget)
            if hasattr(field, "empty_label"):
                field.empty_label = _("All")
        return form_class


class DeviceListFilter(StyledFilter, DeviceFilter):
    """Above the list of devices."""

    timer_enabled = django_filters.BooleanFilter(
        field_name="scep_settings__timer_enabled",
        label=_("Timer"),
        widget=forms.Select(choices=[("", _("All")), ("true", _("On")), ("false", _("Off"))]),
    )


class AuditTrailFilter(StyledFilter, AuditEventFilter):
    """Above the audit trail; times are the browser's own fields, which write them in ISO 8601."""

    since = MomentFilter(field_name="at", lookup_expr="gte", label=_("Since"), widget=LocalDateTimeInput())
    until = MomentFilter(field_name="at", lookup_expr="lt", label=_("Until"), widget=LocalDateTimeInput())
