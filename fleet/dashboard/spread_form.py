"""The form that asks where the requests of a device group may be moved to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.models import DeviceGroup
from devices.rules.spread import LONGEST_WINDOW_HOURS
from devices.spread import Spread, propose_spread
from fleet.dashboard.forms import LocalDateTimeInput, css_class

USUAL_HOURS = 8


class SpreadForm(forms.Form):
    """A window; times are in the time zone that is active."""

    window_start = forms.DateTimeField(label=_("Window begins"), widget=LocalDateTimeInput())
    window_hours = forms.IntegerField(
        label=_("Hours"), min_value=1, max_value=LONGEST_WINDOW_HOURS, initial=USUAL_HOURS
    )
    only_within_maintenance = forms.BooleanField(
        label=_("Only within the maintenance window"), required=False
    )

    def __init__(
        self, data: Any = None, *, group: DeviceGroup, initial: dict[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=initial)
        self.group = group
        for field in self.fields.values():
            field.widget.attrs["class"] = css_class(field.widget)
        self.fields["window_start"].help_text = gettext("In the time zone of the group: %(zone)s.") % {
            "zone": group.time_zone
        }
        self.fields["window_hours"].help_text = gettext("1 to %(longest)d.") % {
            "longest": LONGEST_WINDOW_HOURS
        }
        within = self.fields["only_within_maintenance"]
        if group.maintenance_start is None or group.maintenance_end is None:
            within.disabled = True
            within.help_text = gettext("This group has no maintenance window; enter one in its data.")
        else:
            within.help_text = gettext("%(start)s to %(end)s every day.") % {
                "start": f"{group.maintenance_start:%H:%M}",
                "end": f"{group.maintenance_end:%H:%M}",
            }

    def proposal(self, now: datetime) -> Spread | None:
        """What the window comes to; None when it makes no sense, with the reasons at their fields."""
        if not self.is_valid():
            return None
        try:
            return propose_spread(self.group, **self.cleaned_data, now=now)
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                self.add_error(name, messages)
        return None
