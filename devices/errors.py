"""Refusals that are nobody's typing error: what was asked for conflicts with how things stand."""

from __future__ import annotations


class Conflict(Exception):
    """HTTP 409 in the API, a message in forms.

    `code` is stable and for programs; `str(error)` is translated and says how to go on.
    """

    def __init__(self, code: str, message: object) -> None:
        super().__init__(str(message))
        self.code = code
