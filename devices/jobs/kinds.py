"""What each kind of job does to one device, and what its parameters must be.

To add a kind: a value in `JobKindChoices`, and an entry in KINDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import requests
from devices.models import Device
from devices.models.choices import JobKindChoices

Perform = Callable[[Actor, Device, Mapping[str, Any]], str]
"""Does it, by a service that checks and audits; returns a note for the result, mostly empty.

Raises what services raise: ValidationError, Conflict, PermissionDenied. Called inside a transaction.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job."""

    permission: Permission
    perform: Perform
    check: Callable[[Mapping[str, Any]], None]
    """Raises ValidationError, by field, for parameters that no device could take; before the job exists."""
    secret: frozenset[str] = frozenset()
    """Names of parameters that are stored encrypted."""


def _send_request(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
    requests.request_certificate(actor, device, ring=False, **parameters)
    return ""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        JobKindChoices.MANUAL_REQUEST.value: Kind(
            permission=Permission.ADD_ISSUANCE_REQUEST,
            perform=_send_request,
            check=requests.check_parameters,
            secret=frozenset({"challenge_password"}),
        ),
    }
)
