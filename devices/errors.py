"""Refusals that are nobody's typing error: what was asked for conflicts with how things stand."""

from __future__ import annotations

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError


class Conflict(Exception):
    """HTTP 409 in the API, a message in forms.

    `code` is stable and for programs; `str(error)` is translated and says how to go on.
    """

    def __init__(self, code: str, message: object) -> None:
        super().__init__(str(message))
        self.code = code


def sentences(error: Exception) -> str:
    """What a service's refusal says, in one paragraph, each message with the field that it is about."""
    if not isinstance(error, ValidationError):
        return str(error)
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        message if name == NON_FIELD_ERRORS else f"{name}: {message}"
        for name, messages in error.message_dict.items()
        for message in messages
    )
