"""Who may do what (R1): permissions, the three groups that hold them, and the scopes of tokens that narrow them.

The one place that decides. The services ask `require` for whoever acts, so that pages, REST, commands and
tasks cannot differ; pages and REST ask `may` before, to show and refuse early. Looking needs no permission:
everyone who signs in may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from devices.audit import Actor
from devices.models.choices import ScopeChoices


class Permission(StrEnum):
    """Django's permissions, `<app>.<codename>`, of everything that changes something."""

    ADD_DEVICE = "devices.add_device"
    CHANGE_DEVICE = "devices.change_device"
    DELETE_DEVICE = "devices.delete_device"
    RESTART_DEVICE = "devices.restart_device"
    DEPLOY_DEVICE = "devices.deploy_device"
    ENTRUST_SECRETS = "devices.entrust_secrets"
    ADD_DEVICE_GROUP = "devices.add_devicegroup"
    CHANGE_DEVICE_GROUP = "devices.change_devicegroup"
    DELETE_DEVICE_GROUP = "devices.delete_devicegroup"
    ADD_SCEP_SERVER = "devices.add_scepserver"
    CHANGE_SCEP_SERVER = "devices.change_scepserver"
    DELETE_SCEP_SERVER = "devices.delete_scepserver"
    CHANGE_SCEP_SETTINGS = "devices.change_scepsettings"
    ADD_ISSUANCE_REQUEST = "devices.add_issuancerequest"
    CHANGE_KEY = "devices.change_keyandcertificate"
    DOWNLOAD_KEY = "devices.download_key"
    SEARCH_DEVICES = "devices.search_devices"
    VIEW_WEBHOOK = "devices.view_webhook"
    ADD_WEBHOOK = "devices.add_webhook"
    CHANGE_WEBHOOK = "devices.change_webhook"
    DELETE_WEBHOOK = "devices.delete_webhook"
    ADD_SETTINGS_TEMPLATE = "devices.add_settingstemplate"
    CHANGE_SETTINGS_TEMPLATE = "devices.change_settingstemplate"
    DELETE_SETTINGS_TEMPLATE = "devices.delete_settingstemplate"


ADMINISTRATOR, OPERATOR, VIEWER = "Administrator", "Operator", "Viewer"

ROLES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        ADMINISTRATOR: frozenset(Permission),
        # R1 keeps SCEP settings and requests for administrators; the devices themselves need daily care
        OPERATOR: frozenset(
            {
                Permission.ADD_DEVICE,
                Permission.CHANGE_DEVICE,
                Permission.RESTART_DEVICE,
                Permission.DEPLOY_DEVICE,
                Permission.ADD_DEVICE_GROUP,
                Permission.CHANGE_DEVICE_GROUP,
            }
        ),
        VIEWER: frozenset(),
    }
)
"""The groups that every installation has, and what their members may do. Whoever is in none is a viewer."""

SCOPES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        ScopeChoices.FULL.value: frozenset(Permission),
        ScopeChoices.READ.value: frozenset(),
        ScopeChoices.DEVICES.value: frozenset(
            {
                Permission.ADD_DEVICE,
                Permission.CHANGE_DEVICE,
                Permission.DELETE_DEVICE,
                Permission.RESTART_DEVICE,
                Permission.DEPLOY_DEVICE,
                Permission.SEARCH_DEVICES,
                Permission.ADD_DEVICE_GROUP,
                Permission.CHANGE_DEVICE_GROUP,
                Permission.DELETE_DEVICE_GROUP,
            }
        ),
        ScopeChoices.SETTINGS.value: frozenset(
            {
                Permission.ADD_SCEP_SERVER,
                Permission.CHANGE_SCEP_SERVER,
                Permission.DELETE_SCEP_SERVER,
                Permission.CHANGE_SCEP_SETTINGS,
                Permission.CHANGE_KEY,
                Permission.ADD_SETTINGS_TEMPLATE,
                Permission.CHANGE_SETTINGS_TEMPLATE,
                Permission.DELETE_SETTINGS_TEMPLATE,
            }
        ),
        ScopeChoices.REQUESTS.value: frozenset({Permission.ADD_ISSUANCE_REQUEST}),
        ScopeChoices.ADMINISTRATION.value: frozenset(
            {
                Permission.DOWNLOAD_KEY,
                Permission.ENTRUST_SECRETS,
                Permission.VIEW_WEBHOOK,
                Permission.ADD_WEBHOOK,
                Permission.CHANGE_WEBHOOK,
                Permission.DELETE_WEBHOOK,
            }
        ),
    }
)
"""What a token of each scope may change, if its user may. Looking takes `read` or `full`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the token that a user came in with leaves of the user's rights."""

    token_id: int
    scopes: frozenset[str]
    expires_at: datetime | None

    @property
    def is_full(self) -> bool:
        """True for a token that narrows nothing."""
        return ScopeChoices.FULL in self.scopes


_LIMITS = "_fleetseal_limits"


def narrow(user: User, limits: Limits) -> None:
    """From now on this object stands for the user within `limits`: `may` and `may_look` heed them."""
    setattr(user, _LIMITS, limits)


def limits_of(user: AbstractBaseUser | AnonymousUser) -> Limits | None:
    """The limits that the user came in with; None for somebody who signed in."""
    found: Limits | None = getattr(user, _LIMITS, None)
    return found


def _is_within(user: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    limits = limits_of(user)
    return limits is None or any(permission in SCOPES.get(scope, ()) for scope in limits.scopes)


def may_look(user: AbstractBaseUser | AnonymousUser) -> bool:
    """True for everybody who signed in, and for tokens that may be used for it."""
    limits = limits_of(user)
    return user.is_authenticated and (limits is None or limits.is_full or ScopeChoices.READ in limits.scopes)


def may(user: AbstractBaseUser | AnonymousUser, permission: str) -> bool:
    """True for an active user who has `permission` by a group, directly, or as a superuser.

    A user who came in with a token may within its scopes only. Django keeps the answers on the user object: two
    queries per web request, not one per button.
    """
    return isinstance(user, User) and _is_within(user, permission) and user.has_perm(permission)


def permits(actor: Actor, permission: Permission) -> bool:
    """True when `actor` may; the program itself always may."""
    return actor.user is None or may(actor.user, permission)


def require(actor: Actor, permission: Permission) -> None:
    """Raise PermissionDenied unless `actor` may; the program itself always may."""
    if not permits(actor, permission):
        raise PermissionDenied(denial(permission, actor.user))


def denial(permission: str, user: AbstractBaseUser | AnonymousUser | None = None) -> str:
    """Why somebody may not, and who may."""
    if user is not None and not _is_within(user, permission):
        needed = next(scope for scope, held in SCOPES.items() if permission in held and scope != "full")
        return _("This takes a token with the scope “%(scope)s”.") % {"scope": needed}
    if permission in ROLES[OPERATOR]:
        return _("Only an administrator or an operator may change this.")
    return _("Only an administrator may change this.")


def role(user: AbstractBaseUser | AnonymousUser) -> str:
    """The group whose rights come closest to what `user` may do."""
    for name in (ADMINISTRATOR, OPERATOR):
        if all(may(user, permission) for permission in ROLES[name]):
            return name
    return VIEWER


def bring_groups_up_to_date(**_kwargs: object) -> None:
    """Make the three groups and give them their permissions; called after every migration."""
    from django.contrib.auth.models import Group
    from django.contrib.auth.models import Permission as StoredPermission

    stored = {
        f"{row.content_type.app_label}.{row.codename}": row
        for row in StoredPermission.objects.filter(content_type__app_label="devices").select_related(
            "content_type"
        )
    }
    for name, permissions in ROLES.items():
        group, _made = Group.objects.get_or_create(name=name)
        # added, never taken away: what an installation gave a group besides stays
        group.permissions.add(*(stored[permission] for permission in permissions if permission in stored))
