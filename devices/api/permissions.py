"""R1: nobody sees anything without signing in; whoever signed in looks; changes ask devices/access.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from devices.access import Permission, denial, may

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView


class MayChange(BasePermission):
    """GET, HEAD and OPTIONS for everybody who signed in; the rest as the view's `permissions` say.

    `permissions` maps methods to what they take. A method that is not in it is nobody's: 405 where the view
    does not know it, 403 where somebody forgot to say.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True when `request.user` may do this."""
        if not request.user or not request.user.is_authenticated:
            return False
        if request.method in SAFE_METHODS:
            return True
        needed: dict[str, Permission] = getattr(view, "permissions", {})
        permission = needed.get(request.method or "")
        if permission is None:
            return not hasattr(view, (request.method or "").lower())
        self.message = denial(permission)
        return may(request.user, permission)
