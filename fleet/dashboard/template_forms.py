"""The form of a template: the fields of a device's settings, each with a box that says whether it is set at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.enrollment.requests import SETTINGS_FIELDS
from devices.models import ScepSettings, SettingsTemplate
from fleet.dashboard.forms import LocalDateTimeInput, ScepSettingsForm, ServiceForm, css_class

SETTABLE = (*SETTINGS_FIELDS, "challenge_password")
"""What a template may set."""


class WallClockField(forms.DateTimeField):
    """A date and time without a zone."""

    widget = LocalDateTimeInput

    def to_python(self, value: Any) -> datetime | None:
        """As entered. Raises ValidationError."""
        # in UTC no hour is missing or comes twice
        with timezone.override(UTC):
            found = super().to_python(value)
        return found.replace(tzinfo=None) if found else None


class SettingsTemplateForm(ServiceForm):
    """A template. Only what is ticked is looked at."""

    challenge_password = forms.CharField(
        label=_("Challenge Password"),
        required=False,
        strip=False,
        max_length=255,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    request_start_at = WallClockField(
        label=_("Request Start Date/Time"),
        required=False,
        help_text=_("Each device takes it in the time zone of its group."),
    )

    sections = (
        (_("Template"), ("name", "description")),
        *ScepSettingsForm.sections,
    )

    class Meta:
        model = ScepSettings
        fields = SETTINGS_FIELDS

    def __init__(
        self, data: Any = None, *, template: SettingsTemplate | None = None, like: ScepSettings | None = None
    ) -> None:
        """Of `template`, or of a new one, which may begin with the settings of a device, `like`."""
        shown = template or SettingsTemplate()
        values = _of_device(like) if like else shown.values
        super().__init__(data, instance=_filled_in(values))
        self.has_stored_password = shown.has_challenge_password
        own = forms.fields_for_model(SettingsTemplate, fields=("name", "description"))
        self.fields = {**own, **self.fields}
        self.initial.update({name: getattr(shown, name) for name in own})
        self._of_many_devices()
        for name in SETTABLE:
            self.fields[f"set_{name}"] = forms.BooleanField(required=False)
            self.initial[f"set_{name}"] = name in values
        self.initial["set_challenge_password"] = self.has_stored_password
        for name, field in self.fields.items():
            field.widget.attrs["class"] = css_class(field.widget)
            if name in SETTABLE:
                field.widget.attrs["aria-labelledby"] = f"id_{name}_label"

    def _of_many_devices(self) -> None:
        """What is different from the settings of one device."""
        for name, field in self.fields.items():
            if isinstance(field, forms.BooleanField):
                # a box beside a box would say nothing
                self.fields[name] = forms.TypedChoiceField(
                    label=field.label,
                    help_text=field.help_text,
                    required=False,
                    choices=[("True", _("On")), ("False", _("Off"))],
                    coerce=lambda text: text == "True",
                )
        common_name = self.fields["common_name"]
        common_name.widget = forms.HiddenInput()
        common_name.help_text = gettext("Each device takes its own address.")
        self.fields["ipsec_destination"].help_text = gettext(
            "For a key whose use is IPSec. Refused where a device does not have it."
        )
        self.fields["key_use"].help_text = gettext(
            "Anything but None assigns the new key to that function, also where it is off; it is not switched on."
        )
        if self.has_stored_password:
            self.fields["challenge_password"].widget.attrs["placeholder"] = "••••••••"
            self.fields["challenge_password"].help_text = gettext(
                "A challenge password is stored. Leave this empty to keep it."
            )

    def rows(self) -> Iterator[tuple[Any, list[tuple[forms.BoundField | None, forms.BoundField]]]]:
        """Title of each section, and its fields, each with the box that says whether it is set."""
        for title, fields in self.in_sections():
            yield (
                title,
                [(self[f"set_{field.name}"] if field.name in SETTABLE else None, field) for field in fields],
            )

    def full_clean(self) -> None:
        """What is not ticked is not read, and cannot be wrong."""
        left = [field for name, field in self.fields.items() if name in SETTABLE and not self._is_set(name)]
        for field in left:
            field.disabled = True
        super().full_clean()
        for field in left:
            field.disabled = False

    def _is_set(self, name: str) -> bool:
        box = f"set_{name}"
        return bool(self.fields[box].widget.value_from_datadict(self.data, self.files, self.add_prefix(box)))

    def clean(self) -> dict[str, Any] | None:
        """A password that is set is one."""
        cleaned = super().clean()
        entered = self.cleaned_data.get("challenge_password")
        if self._is_set("challenge_password") and not entered and not self.has_stored_password:
            self.add_error("challenge_password", _("Enter the challenge password that the template sets."))
        return cleaned

    def values(self) -> dict[str, Any]:
        """What the service gets: a stored challenge password stays while its box is ticked."""
        cleaned = self.cleaned_data
        values: dict[str, Any] = {
            "name": cleaned["name"],
            "description": cleaned["description"],
            "settings": {name: cleaned[name] for name in SETTINGS_FIELDS if self._is_set(name)},
        }
        if not self._is_set("challenge_password"):
            values["challenge_password"] = ""
        elif cleaned["challenge_password"]:
            values["challenge_password"] = cleaned["challenge_password"]
        return values


def _filled_in(values: dict[str, Any]) -> ScepSettings:
    """Settings with `values` of a template, and factory defaults where it leaves a setting alone."""
    fields = dict(values)
    if "server" in fields:
        fields["server_id"] = fields.pop("server")
    if start := fields.get("request_start_at"):
        fields["request_start_at"] = datetime.fromisoformat(start)
    return ScepSettings(**fields)


def _of_device(settings: ScepSettings) -> dict[str, Any]:
    """What a template sets that makes other devices like this one; the time as its clock shows it."""
    values = {name: getattr(settings, name) for name in SETTINGS_FIELDS}
    start = settings.request_start_at
    local = timezone.localtime(start, settings.device.zone).replace(tzinfo=None) if start else None
    changed = {
        "server": settings.server_id,
        "request_start_at": local.isoformat(timespec="seconds") if local else None,
        "common_name": "",
    }
    empty = {name for name in ("server", "request_start_at") if changed[name] is None}
    if not settings.ipsec_destination:
        empty.add("ipsec_destination")
    return {name: value for name, value in (values | changed).items() if name not in empty}
