"""Forms. Labels, help and ranges come from the models; saving is the services' business.

A form's model instance is a copy that is never saved: services get the cleaned values.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from devices.enrollment.requests import SETTINGS_FIELDS
from devices.errors import Conflict
from devices.inventory import COMMUNICATION_FIELDS, DEVICE_FIELDS, SERVER_FIELDS
from devices.models import PARAMETER_FIELDS, Device, IssuanceRequest, ScepServer, ScepSettings
from devices.models.device import default_tls_ports
from devices.models.validators import validate_tls_ports
from fleet.dashboard import connector_fields

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
else:  # generic in the type stubs only
    _ModelForm = forms.ModelForm

Section = tuple[Any, tuple[str, ...]]


class LocalDateTimeInput(forms.DateTimeInput):
    """The browser's own date and time field, in the time zone that is active."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M:%S", attrs={"step": "1"})


def css_class(widget: forms.Widget) -> str:
    """Bootstrap's class for a form control."""
    match widget:
        case forms.CheckboxInput() | forms.CheckboxSelectMultiple():
            return "form-check-input"
        case forms.Select():
            return "form-select"
    return "form-control"


class ServiceForm(_ModelForm):
    """A form over one model whose values go to a service."""

    sections: tuple[Section, ...] = ()

    def __init__(self, data: Any = None, *, instance: Any = None) -> None:
        super().__init__(data, instance=copy.copy(instance) if instance else None)
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", css_class(field.widget))

    def in_sections(self) -> Iterator[tuple[Any, list[forms.BoundField]]]:
        """Title and fields of each section, for the template."""
        for title, names in self.sections or ((None, tuple(self.fields)),):
            yield title, [self[name] for name in names if name in self.fields]

    def values(self) -> dict[str, Any]:
        """What the service gets. A disabled field is somebody else's to change."""
        return {name: value for name, value in self.cleaned_data.items() if not self.fields[name].disabled}

    def submit(self, service: Callable[..., Any]) -> Any:
        """Call `service(**values)`; None when it refused, with the reasons at their fields."""
        if not self.is_valid():
            return None
        try:
            return service(**self.values())
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                self.add_error(name if name in self.fields else None, messages)
        except Conflict as conflict:
            self.add_error(None, str(conflict))
        return None

    def validate_unique(self) -> None:
        """The services check what is unique, once."""

    @property
    def problems(self) -> Any:
        """What is wrong with the whole."""
        return self.errors.get(NON_FIELD_ERRORS, [])


class DeviceForm(ServiceForm):
    """A device's own data."""

    ipsec_destinations = forms.CharField(
        label=_("IPSec destinations"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("One name per line."),
    )
    tls_ports = forms.CharField(
        label=_("TLS ports"),
        help_text=_("Where the certificate that the device serves is looked at, for example 443, 631."),
        max_length=100,
    )

    sections: tuple[Section, ...] = (
        (_("Device"), ("name", "host", "serial_number", "vendor", "model", "firmware", "location", "group")),
        (_("Key store"), ("key_limit",)),
        (
            _("Functions of the device"),
            ("tls_enabled", "ieee_802_1x_enabled", "ipsec_enabled", "ipsec_destinations"),
        ),
        (_("Connection to the device"), ("tls_ports", "connector")),
    )

    class Meta:
        model = Device
        fields = tuple(name for name in DEVICE_FIELDS if name != "connector_settings")

    def __init__(self, data: Any = None, *, instance: Device | None = None) -> None:
        super().__init__(data, instance=instance)
        self.device = instance
        ports = instance.tls_ports if instance else default_tls_ports()
        self.initial["tls_ports"] = ", ".join(map(str, ports))
        if instance is not None:
            self.initial["ipsec_destinations"] = "\n".join(instance.ipsec_destinations)
        self.fields["connector"].widget.attrs["data-chooses-connector"] = ""
        self.connector_fields = dict(connector_fields.fields(instance))
        for name, field in self.connector_fields.items():
            field.widget.attrs.setdefault("class", css_class(field.widget))
            self.fields[name] = field
        *others, (title, names) = self.sections
        self.sections = (*others, (title, (*names, *self.connector_fields)))

    def clean(self) -> dict[str, Any] | None:
        """The settings of the connector that is chosen, as the service takes them."""
        cleaned = super().clean()
        chosen = self.cleaned_data.get("connector", "")
        self.settings, problems = connector_fields.settings_of(
            chosen, self.cleaned_data, self.device, self.cleaned_data.get("group")
        )
        for name, problem in problems.items():
            if name not in self.errors:
                self.add_error(name, problem)
        return cleaned

    def values(self) -> dict[str, Any]:
        """What was entered for other connectors stays behind."""
        values = {k: value for k, value in super().values().items() if k not in self.connector_fields}
        return values | {"connector_settings": self.settings}

    def clean_tls_ports(self) -> list[int]:
        """The numbers as a list. Raises ValidationError."""
        words = re.split(r"[\s,;]+", self.cleaned_data["tls_ports"].strip())
        ports = [int(word) if re.fullmatch(r"[0-9]{1,5}", word) else 0 for word in words]
        validate_tls_ports(ports)
        return ports

    def clean_ipsec_destinations(self) -> list[str]:
        """The lines as a list."""
        lines = self.cleaned_data["ipsec_destinations"].splitlines()
        return [line.strip() for line in lines if line.strip()]


class ScepServerForm(ServiceForm):
    """A SCEP server."""

    sections = (
        (_("Communication Settings"), ("name", "url", "port", "timeout", "tls_ca_certificates", "proxy")),
        (_("Certification authority"), ("ca_identifier", "ca_fingerprint", "renewal_form")),
        (_("Allowance"), ("max_requests_per_minute", "max_requests_at_once")),
        (_("Older servers"), ("allow_sha1", "allow_3des", "allow_des_replies")),
    )

    class Meta:
        model = ScepServer
        fields = SERVER_FIELDS

    def __init__(
        self, data: Any = None, *, instance: ScepServer | None = None, locked_by_timers: int = 0
    ) -> None:
        super().__init__(data, instance=instance)
        if timers_on := locked_by_timers:
            for name in COMMUNICATION_FIELDS:
                self.fields[name].disabled = True
                self.fields[name].help_text = ngettext(
                    "Locked: the timer of %(count)d device that uses this server is on.",
                    "Locked: the timers of %(count)d devices that use this server are on.",
                    timers_on,
                ) % {"count": timers_on}


class ParametersForm(ServiceForm):
    """[Settings for Key and Certificate To Be Issued] (R4): the same fields for settings and requests."""

    challenge_password = forms.CharField(
        label=_("Challenge Password"),
        required=False,
        strip=False,
        max_length=255,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    ipsec_destination = forms.ChoiceField(label=_("IPSec destination"), required=False)

    parameter_section: Section = (
        _("Settings for Key and Certificate To Be Issued"),
        (
            "key_name",
            "signature_algorithm",
            "key_length",
            "organization",
            "common_name",
            "challenge_password",
            "remove_challenge_password",
            "key_use",
            "ipsec_destination",
        ),
    )

    def __init__(self, data: Any = None, *, device: Device | None, instance: Any = None) -> None:
        super().__init__(data, instance=instance)
        if device is None:
            self._for_many()
        else:
            self._for_one(device)

    def _for_one(self, device: Device) -> None:
        destination = self.fields["ipsec_destination"]
        if isinstance(destination, forms.ChoiceField):
            destination.choices = [("", "---------"), *((name, name) for name in device.ipsec_destinations)]
        destination.help_text = (
            gettext("For a key whose use is IPSec.")
            if device.ipsec_destinations
            else gettext("This device has no IPSec destinations yet; enter them in the device's data.")
        )
        self.fields["common_name"].widget.attrs["placeholder"] = device.host
        self.fields["key_use"].help_text = self._functions_off(device)

    def _for_many(self) -> None:
        """Each of the devices takes its own address, and has its own destinations and functions."""
        del self.fields["common_name"]
        self.fields["ipsec_destination"] = forms.CharField(
            label=_("IPSec destination"),
            required=False,
            max_length=100,
            help_text=gettext("For a key whose use is IPSec. Refused where a device does not have it."),
            widget=forms.TextInput(attrs={"class": "form-control"}),
        )
        self.fields["key_use"].help_text = gettext(
            "Anything but None assigns the new key to that function, also where it is off; it is not switched on."
        )

    @staticmethod
    def _functions_off(device: Device) -> str:
        """R6: which functions a key can be assigned to although they are off."""
        functions = [
            ("TLS", device.tls_enabled),
            ("IEEE 802.1X", device.ieee_802_1x_enabled),
            ("IPSec", device.ipsec_enabled),
        ]
        off = [name for name, is_on in functions if not is_on]
        if not off:
            return gettext("Anything but None assigns the new key to that function.")
        return gettext(
            "Anything but None assigns the new key to that function. Off on this device: %(functions)s. "
            "The key is assigned all the same, and the function is not switched on."
        ) % {"functions": ", ".join(off)}


class ManualRequestForm(ParametersForm):
    """[Certificate Issuance Request] (R4). Nothing of it is kept (R8)."""

    sections = (ParametersForm.parameter_section,)

    class Meta:
        model = IssuanceRequest
        fields = PARAMETER_FIELDS

    def values(self) -> dict[str, Any]:
        """The empty password is none."""
        values = super().values()
        return values if values["challenge_password"] else values | {"challenge_password": ""}


class ScepSettingsForm(ParametersForm):
    """[Settings for Certificate Issuance Auto Request] (R9 to R15)."""

    remove_challenge_password = forms.BooleanField(
        label=_("Remove the stored challenge password"), required=False
    )

    sections = (
        (_("Communication Settings"), ("server",)),
        (_("Timer"), ("timer_enabled", "request_start_at", "auto_adjust")),
        (
            _("Perform Polling When Communication Error Occurs or When Issuance Request Is Deferred"),
            ("polling_count", "polling_interval_seconds"),
        ),
        (
            _("Send Periodic Issuance Requests"),
            ("request_interval_days", "renew_at_percent", "renew_days_before"),
        ),
        (_("After acquiring the certificate"), ("auto_restart", "delete_old_key")),
        ParametersForm.parameter_section,
    )

    class Meta:
        model = ScepSettings
        fields = SETTINGS_FIELDS
        widgets = {"request_start_at": LocalDateTimeInput()}

    def __init__(
        self, data: Any = None, *, device: Device, instance: ScepSettings, suspends: bool = False
    ) -> None:
        super().__init__(data, device=device, instance=instance)
        self.fields["server"].required = False
        zone = device.group.time_zone if device.group else gettext("the site's time zone")
        self.fields["request_start_at"].help_text = gettext("In the time zone of the device: %(zone)s.") % {
            "zone": zone
        }
        if instance.timer_enabled and not suspends:
            self.fields["server"].disabled = True
            self.fields["server"].help_text = gettext("Locked while the timer is on.")
        if instance.has_challenge_password:
            self.fields["challenge_password"].widget.attrs["placeholder"] = "••••••••"
            self.fields["challenge_password"].help_text = gettext(
                "A challenge password is stored. Leave this empty to keep it."
            )
        else:
            del self.fields["remove_challenge_password"]

    def clean(self) -> dict[str, Any] | None:
        """One or the other."""
        cleaned = super().clean()
        if self.cleaned_data.get("remove_challenge_password") and self.cleaned_data.get("challenge_password"):
            self.add_error(
                "remove_challenge_password",
                _("Either enter a new challenge password or remove the stored one."),
            )
        return cleaned

    def values(self) -> dict[str, Any]:
        """Without a new password and without the wish to remove the old one, it stays as it is."""
        values = super().values()
        remove = values.pop("remove_challenge_password", False)
        if not values["challenge_password"] and not remove:
            del values["challenge_password"]
        return values
