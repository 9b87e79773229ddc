"""What a device's web page holds: its forms with their fields, as they stand in the HTML. No script is run."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

MOST_FIELDS = 2000
"""Of one page; what comes beyond is not looked at."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    type: str
    """The input's type in lower case; `select`, `textarea`."""
    value: str = field(default="", repr=False)
    """Tokens and session numbers stand here. Of a select: the value of the option that is selected."""
    options: tuple[str, ...] = ()
    """The values of a select."""


class Page:
    """One page; built from its HTML."""

    def __init__(self, text: str) -> None:
        self.text = text
        parser = _Parser()
        parser.feed(text)
        parser.close()
        self.forms: list[list[Field]] = parser.forms

    def fields(self) -> Iterator[Field]:
        """Of every form, and those that stand in none."""
        for form in self.forms:
            yield from form

    def named(self, name: str) -> Field | None:
        """The first field of that name."""
        return next((each for each in self.fields() if each.name == name), None)

    def of_type(self, kind: str) -> Field | None:
        """The first field of that type."""
        return next((each for each in self.fields() if each.type == kind), None)

    def hidden(self) -> list[Field]:
        """The hidden fields of the first form that has any."""
        forms = ([each for each in form if each.type == "hidden"] for form in self.forms)
        return next((found for found in forms if found), [])


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[list[Field]] = [[]]
        self._options: list[str] | None = None
        self._selected = ""
        self._left = MOST_FIELDS

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Forms open, fields are added to the one that is open."""
        values = {name: value or "" for name, value in attrs}
        match tag:
            case "form":
                self.forms.append([])
            case "input" | "textarea":
                kind = values.get("type", "text").lower() if tag == "input" else tag
                self._add(Field(values.get("name", ""), kind, values.get("value", "")))
            case "select":
                self._options, self._selected = [], ""
                self._add(Field(values.get("name", ""), "select"))
            case "option" if self._options is not None and "value" in values:
                self._options.append(values["value"])
                if "selected" in values:
                    self._selected = values["value"]

    def handle_endtag(self, tag: str) -> None:
        """A select's options are complete."""
        if tag == "select" and self._options is not None:
            form = self.forms[-1]
            at = next((i for i in reversed(range(len(form))) if form[i].type == "select"), None)
            if at is not None:
                form[at] = Field(form[at].name, "select", self._selected, tuple(self._options))
            self._options = None

    def _add(self, found: Field) -> None:
        if found.name and self._left > 0:
            self._left -= 1
            self.forms[-1].append(found)


def said(text: str, *, most: int = 200) -> str:
    """A stranger's HTML as one line to quote."""
    without_tags = re.sub(r"<[^>]*>", " ", text[: 20 * most])
    line = " ".join("".join(c if c.isprintable() else " " for c in html.unescape(without_tags)).split())
    return line[:most]
