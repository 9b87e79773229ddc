"""What every page needs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from devices.access import is_administrator


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """`is_administrator`: whether to show the ways to change things; the server checks again."""
    user = getattr(request, "user", None)
    return {"is_administrator": user is not None and is_administrator(user)}
