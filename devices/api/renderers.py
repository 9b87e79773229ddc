"""How answers go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """JSON in one form: a resource has one representation, and so one ETag."""

    def get_indent(self, accepted_media_type: str, renderer_context: Mapping[str, Any]) -> None:
        """None, whatever `Accept` says about it."""


class PemRenderer(renderers.BaseRenderer):
    """A certificate with its chain as PEM (RFC 7468), from what would be JSON; problems stay JSON."""

    media_type = "application/x-pem-file"
    format = "pem"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The bytes of the file."""
        if (renderer_context or {})["response"].exception:
            return bytes(JSONRenderer().render(data))
        return f"{data['certificate']}{data['chain']}".encode()
