"""Sentences that are stored in one language, English, and shown in the reader's.

A row may be written by a worker and read by anybody, so no translation is stored. A sentence without values is found
in the catalog as it stands. One with values is declared as a `Sentence`: by its template it is recognized among what
is stored, and its values are put into the template's translation. What nobody declared, a device's own words for
example, stays as it is; so does what was stored by an older release in other words.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from django.utils.translation import get_language, gettext, override

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")

_known: list[Sentence] = []
"""Every declared one, the most specific first."""


class Sentence:
    """A sentence with values in it. Declared once, at the top of a module; called, it is the English text.

    >>> BROKE = Sentence(gettext_noop("The connection to %(host)s broke."))
    >>> raise ConnectionLost(BROKE(host=host))
    """

    def __init__(self, template: str, *, words: Collection[str] = ()) -> None:
        """`template` has placeholders like %(name)s, each name once. `words` names those whose values are texts of
        ours, marked for translation, and not names or numbers."""
        self.template = template
        self._words = frozenset(words)
        fixed_and_names = _PLACEHOLDER.split(template)
        fixed = fixed_and_names[::2]
        self._fixed_length = sum(map(len, fixed))
        self._pattern = re.compile(
            "".join(
                f"(?P<{part}>.*)" if index % 2 else re.escape(part.replace("%%", "%"))
                for index, part in enumerate(fixed_and_names)
            )
        )
        _known.append(self)
        _known.sort(key=lambda each: -each._fixed_length)

    def __call__(self, **values: object) -> str:
        """In English, on one line. Raises KeyError for a value that is missing."""
        with override("en"):
            return self.template % {name: " ".join(str(value).splitlines()) for name, value in values.items()}

    def translated(self, line: str) -> str | None:
        """`line` in the active language, None when it is not this sentence."""
        found = self._pattern.fullmatch(line)
        if found is None:
            return None
        values = {
            name: gettext(value) if name in self._words and value else value
            for name, value in found.groupdict().items()
        }
        return gettext(self.template) % values

    def forget(self) -> None:
        """Is not looked for any more; for tests."""
        _known.remove(self)


def declared() -> tuple[Sentence, ...]:
    """Every one that the modules read so far have declared."""
    return tuple(_known)


def localized(text: str) -> str:
    """Stored sentences of ours, one a line, in the reader's language; others' words stay as they are."""
    if (get_language() or "en").split("-")[0] == "en":
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    if not line:
        return line
    known = gettext(line)
    if known != line:
        return known
    return next((found for each in _known if (found := each.translated(line)) is not None), line)
