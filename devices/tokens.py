"""API tokens: issued, exchanged for a password, found by what a caller sends, and revoked.

Everybody manages tokens of their own, since a token never permits more than its user may do.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit
from devices.access import Limits
from devices.audit import Actor
from devices.models import ApiToken
from devices.models.choices import ScopeChoices

PREFIX = "fst_"
"""How every token begins, so that tools that look for leaked secrets know one when they see it."""

EXCHANGED = "auth/token/"
"""The name of tokens that were exchanged for a user name and a password."""

MOST_EXCHANGED = 20
"""Tokens of that name that a user can have: with the next one the oldest goes."""

_USE_IS_NOTED_EVERY = timedelta(minutes=1)


@transaction.atomic
def issue(
    actor: Actor, *, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A token of `actor`, and the token itself, which is shown this once.

    Raises ValidationError with a dict of fields; PermissionDenied when `actor` came in with a token that does not
    reach as far.
    """
    now = timezone.now()
    user = _person(actor)
    _check_reach(user, scopes, expires_at)
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        user=user,
        name=name,
        digest=ApiToken.digest_of(token),
        scopes=list(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    row.full_clean()
    if row.has_expired(now):
        raise ValidationError({"expires_at": _("This time has passed; enter a later one.")})
    row.save(force_insert=True)
    facts = {"scopes": row.scopes, "expires_at": row.expires_at}
    audit.record(actor, "apitoken.create", row, facts, at=now)
    return row, token


@transaction.atomic
def exchange(actor: Actor) -> str:
    """A token with full scope, for `actor` who just gave the password."""
    _row, token = issue(actor, name=EXCHANGED, scopes=[ScopeChoices.FULL.value])
    kept = ApiToken.objects.filter(user=actor.user, name=EXCHANGED).order_by("-pk")
    ApiToken.objects.filter(pk__in=list(kept.values_list("pk", flat=True)[MOST_EXCHANGED:])).delete()
    return token


@transaction.atomic
def revoke(actor: Actor, row: ApiToken) -> None:
    """The token opens nothing any more. Raises PermissionDenied for a token of somebody else."""
    user = _person(actor)
    limits = access.limits_of(user)
    if row.user_id != user.pk or (limits and not limits.is_full and limits.token_id != row.pk):
        raise PermissionDenied(_("Only your own tokens, and with a full token or after signing in."))
    audit.record(actor, "apitoken.revoke", row)
    row.delete()


def user_of(token: str, now: datetime) -> User | None:
    """The user whom `token` stands for, narrowed to its scopes; None for an unknown or expired one, or who left."""
    row = ApiToken.objects.select_related("user").filter(digest=ApiToken.digest_of(token)).first()
    if row is None or row.has_expired(now) or not row.user.is_active:
        return None
    if row.last_used_at is None or row.last_used_at <= now - _USE_IS_NOTED_EVERY:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lte=now - _USE_IS_NOTED_EVERY)
        ApiToken.objects.filter(unnoted, pk=row.pk).update(last_used_at=now)
    access.narrow(row.user, Limits(row.pk, frozenset(row.scopes), row.expires_at))
    return row.user


def _person(actor: Actor) -> User:
    if actor.user is None:
        raise TypeError("tokens belong to people, not to the program itself")
    return actor.user


def _check_reach(user: User, scopes: Sequence[str], expires_at: datetime | None) -> None:
    """A token makes no token that reaches further than itself, or lives longer."""
    limits = access.limits_of(user)
    if limits is None:
        return
    if not limits.is_full and not set(scopes) <= limits.scopes:
        raise PermissionDenied(_("A token issues tokens within its own scopes only."))
    if limits.expires_at and (expires_at is None or expires_at > limits.expires_at):
        raise PermissionDenied(_("A token issues no token that expires later than itself."))
