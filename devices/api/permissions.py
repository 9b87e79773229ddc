"""R1: nobody sees anything without signing in; whoever signed in looks; changes ask devices/access.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from devices.access import Permission, denial, may, may_look

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView


class _LooksPermitting(BasePermission):
    message: str

    def may_look(self, request: Request) -> bool:
        """True unless the token is for other things."""
        self.message = _("This takes a token with the scope “%(scope)s”.") % {"scope": "read"}
        return may_look(request.user)


class SignedIn(_LooksPermitting):
    """Whatever one does with one's own things, and what a service asks more closely."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True for somebody who signed in; for looking, unless with a token that is for other things."""
        if not request.user or not request.user.is_authenticated:
            return False
        return request.method not in SAFE_METHODS or self.may_look(request)


class MayChange(_LooksPermitting):
    """GET, HEAD and OPTIONS for everybody who signed in; the rest as the view's `permissions` say.

    `permissions` maps methods to what they take; GET in it also keeps people from looking. A method that is not in
    it is nobody's: 405 where the view does not know it, 403 where somebody forgot to say.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True when `request.user` may do this."""
        if not request.user or not request.user.is_authenticated:
            return False
        needed: dict[str, Permission] = getattr(view, "permissions", {})
        permission = needed.get("GET" if request.method in SAFE_METHODS else request.method or "")
        if request.method in SAFE_METHODS and (permission is None or not may_look(request.user)):
            return self.may_look(request)
        if permission is None:
            return not hasattr(view, (request.method or "").lower())
        self.message = denial(permission, request.user)
        return may(request.user, permission)
