"""Applying a proposal of devices/spread.py: each device gets the very time that was shown."""

from __future__ import annotations

from devices.audit import Actor
from devices.jobs import service
from devices.models import Job
from devices.models.choices import JobKindChoices
from devices.spread import Spread


def start(actor: Actor, spread: Spread) -> Job:
    """A job that moves the devices of `spread`, the earliest new time first.

    Raises PermissionDenied, and ValidationError when nobody has to move.
    """
    window = spread.window
    parameters = {
        "group": str(spread.group),
        "window_start": window.start.isoformat(),
        "window_hours": window.hours,
        "only_within_maintenance": window.day_hours is not None,
    }
    return service.start(actor, JobKindChoices.SPREAD, spread.items(), parameters)
