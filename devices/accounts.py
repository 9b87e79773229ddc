"""Accounts of people and their roles (R1), made on the server by whoever may use its commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from devices import access, audit
from devices.audit import Actor


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it was saved."""

    user: User
    is_new: bool
    role: str
    """One of access.ROLES; a superuser is an administrator whatever the group."""


def exists(name: str) -> bool:
    """True when somebody has the account `name`."""
    return User.objects.filter(username=name).exists()


@transaction.atomic
def save(
    actor: Actor,
    name: str,
    *,
    role: str | None = None,
    password: str | None = None,
    is_active: bool | None = None,
) -> Account:
    """Make the account `name`, or change what is given of it; audited.

    A new one needs a role and a password. Raises ValidationError with a dict of fields.
    """
    user = User.objects.select_for_update().filter(username=name).first()
    is_new = user is None
    if user is None:
        user = User(username=name)
        missing = {"role": role, "password": password}
        if problems := {
            field: [_("A new account needs it.")] for field, value in missing.items() if not value
        }:
            raise ValidationError(problems)
    if role is not None and role not in access.ROLES:
        raise ValidationError({"role": [_("Choose one of %(known)s.") % {"known": ", ".join(access.ROLES)}]})
    changes: dict[str, Any] = {}
    if password is not None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise ValidationError({"password": error.messages}) from None
        user.set_password(password)
        changes |= {"password": "changed"}
    if is_active is not None and is_active != user.is_active:
        changes["is_active"] = [user.is_active, is_active]
        user.is_active = is_active
    user.full_clean()
    before = None if is_new else _role(user)
    user.save()
    if role is not None and role != before:
        user.groups.remove(*Group.objects.filter(name__in=access.ROLES))
        user.groups.add(Group.objects.get(name=role))
        changes["role"] = [before, role]
    if changes:
        audit.record(actor, "user.create" if is_new else "user.update", user, changes)
    return Account(user, is_new, _role(user))


def _role(user: User) -> str:
    names = set(user.groups.values_list("name", flat=True))
    return next((name for name in access.ROLES if name in names), access.VIEWER)
