"""What the services over one model share: fields set, checked, stored and audited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models, transaction

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor

M = TypeVar("M", bound=models.Model)


def set_fields(instance: models.Model, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set `fields` and return their old values. Raises TypeError for a name that the model does not have."""
    known = {field.name for field in instance._meta.get_fields() if getattr(field, "editable", False)}
    if unknown := set(fields) - known:
        raise TypeError(f"{type(instance).__name__} has no editable {', '.join(sorted(unknown))}")
    before = {name: getattr(instance, name) for name in fields}
    for name, value in fields.items():
        setattr(instance, name, value)
    return before


def require(actor: Actor, verb: str, model: models.Model | type[models.Model]) -> None:
    """Raise PermissionDenied unless `actor` may `verb` (add, change, delete) such things."""
    access.require(actor, Permission(f"devices.{verb}_{model._meta.model_name}"))


@transaction.atomic
def create(actor: Actor, instance: M, fields: Mapping[str, Any]) -> M:
    """Check, store and audit a new one. Raises PermissionDenied, and ValidationError with a dict of fields."""
    require(actor, "add", instance)
    set_fields(instance, fields)
    instance.full_clean()
    instance.save()
    audit.record(actor, f"{instance._meta.model_name}.create", instance, fields)
    return instance


@transaction.atomic
def update(actor: Actor, instance: M, fields: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> M:
    """Check, store and audit; `facts` go into the event beside the changes. Raises as `create` does."""
    require(actor, "change", instance)
    before = set_fields(instance, fields)
    instance.full_clean()
    changes = audit.difference(before, fields)
    if changes:
        instance.save(update_fields=[*changes])
        audit.record(actor, f"{instance._meta.model_name}.update", instance, changes | dict(facts or {}))
    return instance


@transaction.atomic
def delete(actor: Actor, instance: models.Model, facts: Mapping[str, Any] | None = None) -> None:
    """Remove and audit. Raises PermissionDenied, and ProtectedError for one that others refer to."""
    require(actor, "delete", instance)
    audit.record(actor, f"{instance._meta.model_name}.delete", instance, facts)
    instance.delete()
