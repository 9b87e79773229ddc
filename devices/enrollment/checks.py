"""What is checked of settings and of manual requests alike, on rows that are at hand: nothing is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from devices.errors import Conflict
from devices.models import Device, ScepSettings
from devices.models.parameters import COMMON_NAME_LENGTH, KeyAndCertificateParameters
from devices.rules import schedule
from devices.rules.keys import KeyUse

LONGEST_LATE_START = timedelta(hours=1)
"""A start that passed less long ago was meant for now: somebody took a while over the form."""

REFERENCES = ("device", "server")
"""What settings and requests refer to: objects that are at hand, and so exist."""


def request_open() -> Conflict:
    """The refusal of what has to wait until a request has ended."""
    return Conflict(
        "request_open",
        _("A certificate issuance request of this device is under way. Wait until it has ended."),
    )


def assign(target: KeyAndCertificateParameters, fields: Mapping[str, Any], known: tuple[str, ...]) -> bool:
    """Set `fields` of the `known` ones; True when their challenge password is to be set or removed, too.

    Setting it is the caller's: who only looks at what would change encrypts nothing. Raises TypeError.
    """
    if unknown := set(fields) - {*known, "challenge_password"}:
        raise TypeError(f"{type(target).__name__} has no {', '.join(sorted(unknown))}")
    for name in known:
        if name in fields:
            setattr(target, name, fields[name])
    if target.key_use != KeyUse.IPSEC and "ipsec_destination" not in fields:
        # the destination belongs to the use that was left
        target.ipsec_destination = ""
    password = fields.get("challenge_password")
    return password is not None and bool(password or target.has_challenge_password)


def check(target: KeyAndCertificateParameters, device: Device, problems: dict[str, str]) -> None:
    """Raise ValidationError with every problem of every field at once, `problems` among them."""
    errors: dict[str, Any] = {}
    try:
        target.full_clean(exclude=REFERENCES, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        errors |= error.error_dict
    errors |= problems
    errors |= destination_problems(target, device)
    if errors:
        raise ValidationError(errors)


def destination_problems(target: KeyAndCertificateParameters, device: Device | None = None) -> dict[str, str]:
    """What is wrong with [Key Use Location] and the IPSec destination (R6); without a device, for any device."""
    if target.key_use != KeyUse.IPSEC:
        if not target.ipsec_destination:
            return {}
        return {"ipsec_destination": _("Only a key whose use is [IPSec] has an IPSec destination.")}
    if not target.ipsec_destination:
        return {"ipsec_destination": _("Choose the IPSec destination that will use the key.")}
    if device is None or target.ipsec_destination in device.ipsec_destinations:
        return {}
    return {
        "ipsec_destination": _("“%(name)s” is not one of the device's IPSec destinations (%(known)s).")
        % {"name": target.ipsec_destination, "known": ", ".join(device.ipsec_destinations) or _("none")}
    }


def name_problems(target: KeyAndCertificateParameters, device: Device) -> dict[str, str]:
    """Without a common name the device's address takes its place, and must fit."""
    if target.common_name or len(device.host) <= COMMON_NAME_LENGTH:
        return {}
    return {
        "common_name": _(
            "The device's own address is longer than the %(longest)d characters of a common name; enter one."
        )
        % {"longest": COMMON_NAME_LENGTH}
    }


def timer_problems(
    settings: ScepSettings, device: Device, changed: Set[str], now: datetime
) -> dict[str, str]:
    """What a timer that is on misses, and what a new start would come too late for."""
    if not settings.timer_enabled:
        return {}
    problems = name_problems(settings, device)
    if settings.server_id is None:
        problems["server"] = _("Choose the SCEP server before you switch the timer on.")
    if settings.request_start_at is None:
        problems["request_start_at"] = _(
            "Enter the [Request Start Date/Time] before you switch the timer on."
        )
    elif (
        not changed.isdisjoint({"timer_enabled", "request_start_at"})
        and not schedule.repeats(settings.period)
        and settings.request_start_at <= now - LONGEST_LATE_START
    ):
        problems["request_start_at"] = _(
            "This start is in the past, and nothing follows it: enter a later one, or switch periodic requests on."
        )
    return problems
