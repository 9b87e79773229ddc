"""Forms of the pages that import and export files."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from devices.models.choices import FileFormatChoices
from devices.transfer.archive import SHORTEST_PASSWORD
from fleet.dashboard.forms import css_class


class _Styled(forms.Form):
    """With the page's styles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", css_class(field.widget))


class UploadForm(_Styled):
    """A file to be checked."""

    file = forms.FileField(
        label=_("File"),
        help_text=_("CSV as spreadsheets save it, XML, or the encrypted ZIP of an export with secrets."),
        widget=forms.FileInput(attrs={"accept": ".csv,.xml,.zip,.txt"}),
        allow_empty_file=True,
    )
    password = forms.CharField(
        label=_("Password of the ZIP file"),
        required=False,
        strip=False,
        help_text=_("Leave empty for other files."),
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )


class _Choice(forms.RadioSelect):
    """Radio buttons; those whose value is in `closed` are shown and cannot be chosen."""

    closed: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        if value in self.closed:
            option["attrs"]["disabled"] = True
        return option


class ApplyForm(_Styled):
    """How a checked file is applied; with `refused` rows the good ones only."""

    good_rows_only = forms.TypedChoiceField(
        label=_("What to apply"),
        choices=[("", _("All of it, or nothing")), ("1", _("The good rows only"))],
        required=False,
        coerce=bool,
        empty_value=None,
        widget=_Choice(attrs={"class": "form-check-input"}),
    )
    suspend_timers = forms.BooleanField(label=_("Suspend these timers, update, resume"), required=False)

    def __init__(self, *args: Any, refused: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if refused:
            field = self.fields["good_rows_only"]
            field.initial, field.widget.closed = "1", frozenset({""})


class SecretsForm(_Styled):
    """An export with secrets."""

    format = forms.ChoiceField(label=_("Format"), choices=FileFormatChoices.choices, initial="csv")
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        min_length=SHORTEST_PASSWORD,
        help_text=_("At least 12 characters. Whoever has the file and the password has the secrets."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
