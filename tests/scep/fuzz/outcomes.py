"""What conversations come to, looked at closely."""

from __future__ import annotations

from scep.conversation import Failed

_LONGEST = 1500


def came_to(outcome: object) -> str:
    """Its name; an error's texts must be fit to be shown, whatever the server put into them."""
    if not isinstance(outcome, Failed):
        return type(outcome).__name__
    error = outcome.error
    for text in (str(error), error.details, error.server_words, error.hresult):
        assert text.isprintable(), text
        assert len(text) <= _LONGEST, len(text)
    return error.kind
