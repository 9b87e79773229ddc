"""The filter set of devices as the form above their list."""

from __future__ import annotations

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _

from devices.filters import DeviceFilter
from fleet.dashboard.forms import css_class


class DeviceListFilter(DeviceFilter):
    """Every choice begins with “All”."""

    timer_enabled = django_filters.BooleanFilter(
        field_name="scep_settings__timer_enabled",
        label=_("Timer"),
        widget=forms.Select(choices=[("", _("All")), ("true", _("On")), ("false", _("Off"))]),
    )

    def get_form_class(self) -> type[forms.Form]:
        """The form's class, with the page's styles."""
        form_class: type[forms.Form] = super().get_form_class()
        for field in form_class.base_fields.values():
            field.widget.attrs["class"] = css_class(field.widget)
            if hasattr(field, "empty_label"):
                field.empty_label = _("All")
        return form_class
