"""Forms about devices themselves: how one is restarted, and where new ones are searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from devices.delivery.connectors.settings import Setting
from devices.delivery.connectors.snmp import ACCESS_SCHEMA
from devices.delivery.connectors.snmp_device import SnmpDevice
from devices.delivery.restart import SETTINGS_FIELDS
from devices.models import DeviceSearch, RestartSettings
from fleet.dashboard import connector_fields
from fleet.dashboard.forms import Section, ServiceForm, css_class

SNMP = "snmp"


class _SnmpForm(ServiceForm):
    """A form with the settings of SNMP as fields; they count when `use_snmp` is ticked."""

    schema: Sequence[Setting] = ACCESS_SCHEMA
    own_sections: tuple[Section, ...] = ()

    use_snmp = forms.BooleanField(label=_("Ask over SNMP"), required=False)

    def __init__(
        self,
        data: Any = None,
        *,
        instance: Any = None,
        stored: Mapping[str, Any] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__(data, instance=instance)
        self.fields["use_snmp"].initial = bool(stored or secrets)
        self.snmp_fields = dict(connector_fields.of_schema(SNMP, self.schema, stored or {}, secrets))
        for name, field in self.snmp_fields.items():
            field.widget.attrs.setdefault("class", css_class(field.widget))
            self.fields[name] = field
        self.sections = (*self.own_sections, (_("SNMP"), ("use_snmp", *self.snmp_fields)))

    def snmp(self) -> dict[str, Any]:
        """What was entered; nothing where SNMP is not to be used. An empty password is none."""
        if not self.cleaned_data.get("use_snmp"):
            return {}
        entered = {
            s.name: self.cleaned_data.get(connector_fields.field_name(SNMP, s.name)) for s in self.schema
        }
        return {name: value for name, value in entered.items() if value not in (None, "")}

    def values(self) -> dict[str, Any]:
        """Without the single fields of SNMP."""
        own = super().values()
        return {k: v for k, v in own.items() if k not in self.snmp_fields and k != "use_snmp"}

    def submit(self, service: Any) -> Any:
        """Call `service`; what is wrong with SNMP is said at its fields."""

        def told(**values: Any) -> Any:
            try:
                return service(**values)
            except ValidationError as error:
                problems = dict(error.message_dict)
                for problem in problems.pop(SNMP, []):
                    name, _colon, text = problem.partition(": ")
                    field = connector_fields.field_name(SNMP, name)
                    if field in self.fields:
                        problems.setdefault(field, []).append(text)
                    else:
                        problems.setdefault("use_snmp", []).append(problem)
                raise ValidationError(problems) from None

        return super().submit(told)


class RestartSettingsForm(_SnmpForm):
    """How a device is restarted."""

    schema = SnmpDevice.schema
    own_sections = ((_("Restarts"), SETTINGS_FIELDS),)

    class Meta:
        model = RestartSettings
        fields = SETTINGS_FIELDS

    def values(self) -> dict[str, Any]:
        """As the service takes them."""
        return super().values() | {"snmp": self.snmp()}


class DeviceSearchForm(_SnmpForm):
    """Where devices are searched, and how they are asked."""

    own_sections = ((None, ("network", "ipp_port")),)

    class Meta:
        model = DeviceSearch
        fields = ("network", "ipp_port")

    def values(self) -> dict[str, Any]:
        """As the service takes them."""
        return super().values() | {"snmp_settings": self.snmp()}
