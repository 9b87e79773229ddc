"""Who may change things (R1): administrators. Everyone else who signs in can look."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

ADMINISTRATOR_GROUP = "Administrator"


def is_administrator(user: AbstractBaseUser | AnonymousUser) -> bool:
    """True for an active superuser or member of the group Administrator.

    The answer is kept on the user object: one query per web request, not one per button.
    """
    if not isinstance(user, User) or not user.is_active:
        return False
    if user.is_superuser:
        return True
    known: bool | None = getattr(user, "_fleetseal_is_administrator", None)
    if known is None:
        known = user.groups.filter(name=ADMINISTRATOR_GROUP).exists()
        user._fleetseal_is_administrator = known  # type: ignore[attr-defined]
    return known


def require_administrator(user: AbstractBaseUser | AnonymousUser) -> None:
    """Raise PermissionDenied unless `user` is an administrator."""
    if not is_administrator(user):
        raise PermissionDenied(_("Only an administrator may change this."))
