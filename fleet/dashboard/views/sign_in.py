"""Signing in, with a limit on guessing."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from rest_framework.throttling import SimpleRateThrottle


class _Tries(SimpleRateThrottle):
    """Counts the tries of an address together with those at the API's auth/token/."""

    scope = "sign-in"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class SignInForm(AuthenticationForm):
    """User name and password, not more often than the limit permits."""

    def clean(self) -> dict[str, Any]:
        """Refuse before the password is looked at. Raises ValidationError."""
        if not _Tries().allow_request(self.request, self):  # type: ignore[arg-type]
            raise ValidationError(_("Too many tries. Wait a minute, then try again."), code="throttled")
        return super().clean()


class SignInView(LoginView):
    """The sign-in page."""

    template_name = "dashboard/sign_in.html"
    authentication_form = SignInForm
