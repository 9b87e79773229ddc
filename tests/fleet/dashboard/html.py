"""Reading the pages in tests: what stands in them, and what one can follow or fill in."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from django.http import HttpResponseBase

_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "path"}
_UNSEEN = {"script", "style", "template", "title"}


@dataclass
class Element:
    """One element with its attributes; `text` is what can be read inside it."""

    tag: str
    attributes: dict[str, str]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text with single spaces."""
        return " ".join("".join(self.parts).split())

    def get(self, name: str) -> str:
        """An attribute, or the empty string."""
        return self.attributes.get(name, "")


class Document(HTMLParser):
    """A response, parsed."""

    def __init__(self, response: HttpResponseBase) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.source: str = response.content.decode()  # type: ignore[attr-defined]
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        for position in range(len(self._open) - 1, -1, -1):
            if self._open[position].tag == tag:
                del self._open[position:]
                return

    def handle_data(self, data: str) -> None:
        if not any(element.tag in _UNSEEN for element in self._open):
            for element in self._open:
                element.parts.append(data)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements with this tag and these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if element.tag == tag and wanted.items() <= element.attributes.items()
        ]

    @property
    def text(self) -> str:
        """Everything that can be read."""
        return self.all("body")[0].text if self.all("body") else " ".join(e.text for e in self.elements)

    @property
    def links(self) -> set[str]:
        """Every address that one can follow."""
        return {element.get("href") for element in self.all("a") if element.get("href")}

    @property
    def posts(self) -> set[str]:
        """Every address that a form of the page posts to; "" is the page itself."""
        return {form.get("action") for form in self.all("form") if form.get("method").lower() == "post"}

    def control(self, name: str) -> Element:
        """The one field `name`."""
        (found,) = [
            element
            for element in self.elements
            if element.tag in {"input", "select", "textarea"} and element.get("name") == name
        ]
        return found

    def options(self, name: str) -> list[str]:
        """What the drop-down `name` offers, in its order."""
        offered = []
        for element in self.elements[self.elements.index(self.control(name)) + 1 :]:
            if element.tag != "option":
                break
            offered.append(element.text)
        return offered

    def described(self, name: str) -> str:
        """What a screen reader says of the field `name` beside its label: help and errors."""
        ids = self.control(name).get("aria-describedby").split()
        return " ".join(element.text for element in self.elements if element.get("id") in ids)

    def label_of(self, name: str) -> str:
        """The label of the field `name`."""
        identifier = self.control(name).get("id")
        return " ".join(label.text for label in self.all("label", for_=identifier))
