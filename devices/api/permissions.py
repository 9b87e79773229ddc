"""R1: administrators change, everybody else who signed in looks, nobody else sees anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView

from devices.access import is_administrator


class AdministratorsWrite(BasePermission):
    """GET, HEAD and OPTIONS for everybody who signed in; the rest for administrators."""

    message = _("Only an administrator may change this.")

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True when `request.user` may do this."""
        if not request.user or not request.user.is_authenticated:
            return False
        return request.method in SAFE_METHODS or is_administrator(request.user)
