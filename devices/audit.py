"""Writing the audit trail. Secrets never enter it: callers name the fields, secret ones are only marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from devices.models import AuditEvent

_ENCODER = DjangoJSONEncoder()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and by which way in."""

    user: User | None
    name: str
    source: AuditEvent.Source
    address: str | None = None

    @classmethod
    def of(
        cls,
        user: AbstractBaseUser | AnonymousUser,
        source: AuditEvent.Source,
        address: str | None = None,
    ) -> Actor:
        """The signed-in `user`. Raises TypeError for one who is not."""
        if not isinstance(user, User):
            raise TypeError("somebody who is not signed in cannot act")
        return cls(user=user, name=user.get_username(), source=source, address=address)


SYSTEM = Actor(user=None, name="system", source=AuditEvent.Source.SYSTEM)
"""The program itself: timers, the demo, migrations of data."""


def _plain(value: Any) -> Any:
    """`value` as JSON holds it."""
    if isinstance(value, models.Model):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return _ENCODER.default(value)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """`{field: [old, new]}` for the fields of `after` whose value differs."""
    return {
        name: [_plain(before.get(name)), _plain(value)]
        for name, value in after.items()
        if before.get(name) != value
    }


def event(
    actor: Actor,
    action: str,
    target: models.Model | str,
    changes: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
) -> AuditEvent:
    """An event that is not stored yet; for bulk_create. A target without a row, as a file, is a text."""
    return AuditEvent(
        at=at or timezone.now(),
        actor=actor.user,
        actor_name=actor.name,
        source=actor.source,
        address=actor.address,
        action=action,
        target_type=target._meta.model_name or "" if isinstance(target, models.Model) else "file",
        target_id=target.pk if isinstance(target, models.Model) else None,
        target_name=str(target)[:200],
        changes={name: _plain(value) for name, value in (changes or {}).items()},
    )


def record(
    actor: Actor,
    action: str,
    target: models.Model | str,
    changes: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
) -> None:
    """Store one event, inside the caller's transaction: no change without its event, nor the reverse."""
    event(actor, action, target, changes, at=at).save(force_insert=True)
