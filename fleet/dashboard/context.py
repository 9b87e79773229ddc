"""What every page needs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext

from devices.access import ADMINISTRATOR, OPERATOR, VIEWER, role
from fleet.dashboard.menu import menu_at


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """`role`: what the person is here, in words; `menu`: the main menu as it stands for this page.

    What to show goes by Django's `perms`; the server checks again.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    words = {
        ADMINISTRATOR: gettext("Administrator"),
        OPERATOR: gettext("Operator: cares for devices"),
        VIEWER: gettext("Viewer: looks, does not change"),
    }
    return {"role": SimpleLazyObject(lambda: words[role(user)]), "menu": menu_at(request.path, user)}
