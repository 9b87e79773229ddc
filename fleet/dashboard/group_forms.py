"""The form of a device group, with the credentials that its devices share."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from functools import cache
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.delivery.connectors import credentials, registry
from devices.delivery.connectors.credentials import CredentialsInvalid
from devices.inventory import GROUP_FIELDS
from devices.models import DeviceGroup
from fleet.dashboard import connector_fields
from fleet.dashboard.forms import ServiceForm, css_class

REMOVE = "remove"
"""The field of a connector that removes its credentials; no setting has this name."""


@cache
def time_zones() -> list[tuple[str, str]]:
    """Every time zone of the IANA database that is a place, and UTC."""
    names = zoneinfo.available_timezones()
    return [(name, name) for name in sorted(names) if name == "UTC" or ("/" in name and name[:4] != "Etc/")]


class DeviceGroupForm(ServiceForm):
    """A device group."""

    class Meta:
        model = DeviceGroup
        fields = tuple(name for name in GROUP_FIELDS if name != "connector_settings")
        widgets = {
            "time_zone": forms.Select,
            "maintenance_start": forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
            "maintenance_end": forms.TimeInput(attrs={"type": "time"}, format="%H:%M"),
        }

    entrust_devices = forms.BooleanField(
        label=_("Send these credentials to every device of the group"),
        required=False,
        help_text=_(
            "Also to those that operators added, or whose address they changed: look at the list of the group's "
            "devices first."
        ),
    )

    def __init__(
        self, data: Any = None, *, instance: DeviceGroup | None = None, may_entrust: bool = False
    ) -> None:
        super().__init__(data, instance=instance)
        field, choices = self.fields["time_zone"], time_zones()
        stored = instance.time_zone if instance else "UTC"
        # an alias that is stored stays what it is
        known = (stored, stored) in choices
        field.widget.choices = choices if known else [(stored, stored), *choices]
        field.help_text = gettext("Times of the group's devices are entered and shown in it.")
        self.fields["urgent_days"].required = False
        self.sections = ((None, tuple(name for name in self.fields if name != "entrust_devices")),)
        self.secrets: Mapping[str, list[str]] = instance.connector_secrets_set if instance else {}
        plain = instance.connector_settings if instance else {}
        self.credential_fields: list[str] = []
        for name in credentials.connectors():
            self._add_credentials(name, plain.get(name, {}))
        if instance is not None and may_entrust:
            self.sections = (*self.sections, (_("Who gets the credentials"), ("entrust_devices",)))
        else:
            del self.fields["entrust_devices"]

    def _add_credentials(self, connector: str, plain: Mapping[str, Any]) -> None:
        """The user name and the secrets of a connector, in a section of their own."""
        stored = self.secrets.get(connector, [])
        found = dict(connector_fields.of_schema(connector, credentials.schema_of(connector), plain, stored))
        if stored:
            remove = connector_fields.field_name(connector, REMOVE)
            found[remove] = forms.BooleanField(label=_("Remove these credentials"), required=False)
        for name, field in found.items():
            field.widget.attrs.setdefault("class", css_class(field.widget))
            self.fields[name] = field
        self.credential_fields += found
        title = gettext("Credentials: %(connector)s") % {"connector": registry.known()[connector].label}
        self.sections = (*self.sections, (title, tuple(found)))

    def clean(self) -> dict[str, Any] | None:
        """The credentials by connector, as the service takes them."""
        cleaned = super().clean()
        self.settings: dict[str, dict[str, Any]] = {}
        for connector in credentials.connectors():
            schema = credentials.schema_of(connector)
            entered = {
                setting.name: value for setting in schema if (value := self._entered(connector, setting.name))
            }
            if self._entered(connector, REMOVE):
                if any(setting.name in entered for setting in schema if setting.is_secret):
                    self.add_error(
                        connector_fields.field_name(connector, REMOVE),
                        _("Either enter a new password or remove these credentials."),
                    )
            elif entered or connector in self.secrets:
                self.settings[connector] = entered
        try:
            credentials.check_all(self.settings, stored=self.secrets)
        except CredentialsInvalid as error:
            for (connector, name), problem in error.problems.items():
                self.add_error(connector_fields.field_name(connector, name), problem)
        return cleaned

    def _entered(self, connector: str, setting: str) -> Any:
        return self.cleaned_data.get(connector_fields.field_name(connector, setting))

    def values(self) -> dict[str, Any]:
        """Days that are not entered stay as they are, in a new group the usual ones."""
        own = {k: value for k, value in super().values().items() if k not in self.credential_fields}
        if own["urgent_days"] is None:
            del own["urgent_days"]
        return own | {"connector_settings": self.settings}
