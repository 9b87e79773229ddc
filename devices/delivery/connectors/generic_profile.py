"""A profile that an administrator describes in the connector's settings, for devices that no built-in one fits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors.profiles import Part, Profile, Step, Value
from devices.delivery.connectors.settings import Kind, Setting
from devices.delivery.errors import NotConnected
from devices.texts import Sentence

_LACKS = Sentence(
    gettext_noop(
        "The connector's settings describe the device and lack “%(setting)s”. Enter it in the device's data."
    ),
    words=["setting"],
)


def validate_path(value: str) -> None:
    """Raise ValidationError unless `value` is a path on the device."""
    if not re.fullmatch(r"/[!-~]*", value) or value.startswith("//"):
        raise ValidationError(_("A path on the device was expected, like /security/import."))


def validate_pattern(value: str) -> None:
    """Raise ValidationError unless `value` is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValidationError(
            _("This is no regular expression: %(problem)s."), params={"problem": error}
        ) from None


def validate_extra_fields(value: str) -> None:
    """Raise ValidationError unless each line is name=value."""
    if any("=" not in line or line.startswith("=") for line in value.splitlines() if line.strip()):
        raise ValidationError(_("A name, = and a value were expected in each line."))


LONGEST_SETTLING = 600
"""Seconds."""

_OF_GENERIC = gettext_lazy("For a device that is described here.")

SCHEMA = (
    Setting(
        name="login",
        label=gettext_lazy("How to sign in"),
        help_text=_OF_GENERIC,
        choices=(
            ("none", gettext_lazy("Not at all")),
            ("http", gettext_lazy("HTTP Basic or Digest, as the device asks")),
            ("form", gettext_lazy("By a form")),
        ),
        default="http",
    ),
    Setting(
        name="login_path",
        label=gettext_lazy("Path of the sign-in page"),
        help_text=gettext_lazy("By a form: its fields for user name and password are discovered there."),
        check=validate_path,
    ),
    Setting(
        name="form_path",
        label=gettext_lazy("Path of the page with the form"),
        help_text=gettext_lazy("Its hidden fields are sent along, CSRF and session tokens for example."),
        check=validate_path,
    ),
    Setting(
        name="upload_path",
        label=gettext_lazy("Path that the form is sent to"),
        help_text=gettext_lazy("Empty: the page with the form itself."),
        check=validate_path,
    ),
    Setting(
        name="format",
        label=gettext_lazy("Format"),
        choices=(
            ("pem", "PEM"),
            ("pkcs12", "PKCS #12"),
            ("pkcs12_legacy", gettext_lazy("PKCS #12 with 3DES and SHA-1, for old firmware")),
        ),
        default="pem",
    ),
    Setting(
        name="certificate_field",
        label=gettext_lazy("Name of the field for the certificate"),
        help_text=gettext_lazy("Or for the PKCS #12. Empty: the first file field of the page."),
        max_length=100,
    ),
    Setting(
        name="key_field",
        label=gettext_lazy("Name of the field for the key"),
        help_text=gettext_lazy("With PEM."),
        max_length=100,
    ),
    Setting(
        name="password_field",
        label=gettext_lazy("Name of the field for the PKCS #12's password"),
        help_text=gettext_lazy("Empty: the first password field of the page."),
        max_length=100,
    ),
    Setting(
        name="extra_fields",
        label=gettext_lazy("Other fields"),
        help_text=gettext_lazy("One in each line: name=value."),
        is_multiline=True,
        max_length=2000,
        check=validate_extra_fields,
    ),
    Setting(
        name="success_pattern",
        label=gettext_lazy("Words of success"),
        help_text=gettext_lazy("A regular expression that the answer holds when it is done."),
        check=validate_pattern,
    ),
    Setting(
        name="error_pattern",
        label=gettext_lazy("Words of an error"),
        help_text=gettext_lazy(
            "A regular expression; its first group, or the whole, is shown as the device's words."
        ),
        check=validate_pattern,
    ),
    Setting(
        name="settle_seconds",
        label=gettext_lazy("Seconds until it serves the certificate"),
        help_text=gettext_lazy(
            "How long it takes after the upload, where its web server restarts for example. It is looked at after "
            "that."
        ),
        kind=Kind.NUMBER,
        minimum=0,
        maximum=LONGEST_SETTLING,
    ),
)
"""The settings that describe a device."""


def of(setting: Callable[[str], Any]) -> Profile:
    """The profile that the settings describe. Raises NotConnected for what is missing."""
    form, upload = setting("form_path"), setting("upload_path") or setting("form_path")
    if not upload:
        raise _missing(gettext_noop("Path of the page with the form"))
    is_pem = setting("format") == "pem"
    if is_pem and not setting("key_field"):
        raise _missing(gettext_noop("Name of the field for the key"))
    steps = [*_signing_in(setting)]
    if form:
        steps.append(Step(name="page with the form", path=form))
    pattern = setting("error_pattern") or ""
    if pattern and not re.compile(pattern).groups:
        pattern = f"({pattern})"
    upload_step = Step(
        name="upload",
        path=upload,
        method="POST",
        hidden=True,
        changes=True,
        parts=_parts(setting, is_pem=is_pem),
        success=setting("success_pattern") or "",
        error=pattern,
    )
    return Profile(
        label=gettext_noop("The device"),
        steps=(*steps, upload_step),
        login=setting("login"),
        login_page=form or upload,
        tried_on_hardware=True,
    )


def _signing_in(setting: Callable[[str], Any]) -> list[Step]:
    if setting("login") != "form":
        return []
    path = setting("login_path")
    if not path:
        raise _missing(gettext_noop("Path of the sign-in page"))
    return [
        Step(name="sign-in page", path=path, needs_type=("password",)),
        Step(
            name="sign in",
            path=path,
            method="POST",
            encoding="form",
            hidden=True,
            signs_in=True,
            parts=(
                Part(Value.USERNAME, name_of="text"),
                Part(Value.PASSWORD, name_of="password"),
            ),
        ),
    ]


def _parts(setting: Callable[[str], Any], *, is_pem: bool) -> tuple[Part, ...]:
    extra = (line.partition("=") for line in (setting("extra_fields") or "").splitlines() if line.strip())
    parts = [Part(Value.TEXT, name=name.strip(), text=value.strip()) for name, _equals, value in extra]
    name = setting("certificate_field") or ""
    where = {"name": name} if name else {"name_of": "file"}
    if is_pem:
        parts.append(Part(Value.CERTIFICATE_AND_CHAIN, file_name="certificate.pem", **where))
        parts.append(Part(Value.KEY, name=setting("key_field"), file_name="key.pem"))
        return tuple(parts)
    parts.append(Part(Value(setting("format")), file_name="certificate.pfx", **where))
    password = setting("password_field") or ""
    parts.append(Part(Value.PKCS12_PASSWORD, **({"name": password} if password else {"name_of": "password"})))
    return tuple(parts)


def _missing(label: str) -> NotConnected:
    return NotConnected(_LACKS(setting=label))
