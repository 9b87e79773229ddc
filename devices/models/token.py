"""API tokens: what other systems sign in with, in a person's name."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.choices import ScopeChoices


def validate_scopes(value: Any) -> None:
    """Raise ValidationError unless `value` is a list of different scopes, at least one."""
    known = set(ScopeChoices.values)
    if not isinstance(value, list) or not value or len(set(value)) != len(value) or not set(value) <= known:
        raise ValidationError(
            _("Choose at least one of the scopes %(known)s, each once."),
            params={"known": ", ".join(ScopeChoices.values)},
        )


class ApiToken(models.Model):
    """A token of one user. What it may do is what its user may do, narrowed to its scopes.

    The token itself is nowhere: it was shown once, and only its SHA-256 is stored. A token has 256 random bits, so
    that no slow hash is needed to keep it from being guessed.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(
        _("Name"), max_length=100, help_text=_("For you to know it by: the system that uses it.")
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    """SHA-256 of the token, in hexadecimal."""
    scopes = models.JSONField(_("Scopes"), validators=[validate_scopes])
    created_at = models.DateTimeField(_("Created"))
    expires_at = models.DateTimeField(
        _("Expires"), null=True, blank=True, help_text=_("Leave empty for a token that does not expire.")
    )
    last_used_at = models.DateTimeField(_("Last used"), null=True, blank=True, editable=False)
    """Within a minute: a write for each call would cost more than the call."""

    class Meta:
        ordering = ["-id"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def digest_of(token: str) -> str:
        """What is stored of `token`."""
        return hashlib.sha256(token.encode()).hexdigest()

    def has_expired(self, now: datetime) -> bool:
        """True from `expires_at` on."""
        return self.expires_at is not None and self.expires_at <= now
