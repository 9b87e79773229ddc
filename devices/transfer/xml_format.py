"""XML by a published schema (docs/fleetseal-devices.xsd, made from the columns), written and read as a stream.

Read with expat itself, event by event: no tree is built, so memory does not grow with the file. A document type
is refused before anything of it is read, so there are no entities, neither large nor external; depth, the length
of a tag and of a text are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from django.utils.translation import gettext as _

from devices.transfer.columns import LONGEST_CELL, Column, Kind, columns
from devices.transfer.source import FileUnusable, Problem, SourceRow, bounded, unknown_column

ROOT, DEVICE, ITEM = "fleetseal_devices", "device", "item"

_LONGEST_TAG = 1 << 20
"""Bytes that may come without anything in them being recognized."""

_NOT_LITERAL = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|^\\s|\\s$")
"""What XML 1.0 cannot hold (section 2.2) or readers change (2.11), and the spaces that reading strips."""


class _Reader:
    """The events of one document as rows."""

    def __init__(self, *, only_count: bool = False) -> None:
        self.rows: list[SourceRow] = []
        self.count = 0
        self._depth = 0
        self._cells: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._line = 0
        self._column = ""
        self._as_json = False
        self._items: list[str] | None = None
        self._text: list[str] = []
        self._length = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_document_type
        parser.StartElementHandler = self._begin_counting if only_count else self._begin
        parser.EndElementHandler = self._end_counting if only_count else self._end
        if not only_count:
            parser.CharacterDataHandler = self._characters
        self._parser = parser

    def feed(self, piece: bytes, *, final: bool = False) -> None:
        """Raises FileUnusable."""
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            raise FileUnusable(
                _("This is not well-formed XML: %(error)s.") % {"error": expat.ErrorString(error.code)},
                error.lineno,
            ) from None
        except (LookupError, UnicodeError, ValueError):
            raise FileUnusable(_("The file's encoding is not known. Save it in UTF-8.")) from None

    @property
    def position(self) -> int:
        """Bytes that were understood."""
        return self._parser.CurrentByteIndex

    def _refuse_document_type(self, *_parts: object) -> None:
        raise self._unusable(_("A document type (<!DOCTYPE) is not accepted; leave it out."))

    def _unusable(self, reason: str) -> FileUnusable:
        return FileUnusable(reason, self._parser.CurrentLineNumber)

    def _begin_counting(self, tag: str, _attributes: dict[str, str]) -> None:
        self._check_place(tag)
        self.count += self._depth == 1
        self._depth += 1

    def _end_counting(self, _tag: str) -> None:
        self._depth -= 1

    def _check_place(self, tag: str) -> None:
        """The outer two levels are fixed; within a device, rows say what is wrong."""
        if self._depth < 2 and tag != (expected := (ROOT, DEVICE)[self._depth]):
            raise self._unusable(
                _("Expected <%(expected)s>, found <%(found)s>; the template file shows how.")
                % {"expected": expected, "found": tag[:100]}
            )
        if self._depth > 3:
            raise self._unusable(_("<%(found)s> is nested too deep.") % {"found": tag[:100]})

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._check_place(tag)
        match self._depth:
            case 1:
                self._cells, self._problems = {}, []
                self._line = self._parser.CurrentLineNumber
            case 2:
                self._column, self._items = tag, None
                self._as_json = attributes.get("json") in ("true", "1")
            case 3:
                self._begin_item(tag)
        self._depth += 1
        self._text, self._length = [], 0

    def _begin_item(self, tag: str) -> None:
        column = columns().get(self._column)
        if tag != ITEM or column is None or column.kind is not Kind.LIST:
            self._problems.append(
                Problem(self._column[:100], "", _("There is no <%(found)s> here.") % {"found": tag[:100]})
            )
        if self._items is None:
            self._items = []

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > LONGEST_CELL:
            raise self._unusable(_("A text is longer than %d characters.") % LONGEST_CELL)
        self._text.append(text)

    def _end(self, _tag: str) -> None:
        self._depth -= 1
        text = "".join(self._text)
        self._text, self._length = [], 0
        match self._depth:
            case 1:
                self.rows.append(SourceRow(self._line, self._cells, self._problems))
            case 2:
                self._end_column(text)
            case 3 if self._items is not None:
                self._items.append(text.strip())

    def _end_column(self, text: str) -> None:
        name, column = self._column, columns().get(self._column)
        if column is None:
            self._problems.append(Problem(name[:100], "", unknown_column(name)))
        elif name in self._cells:
            self._problems.append(
                Problem(name, "", _("The column “%(name)s” is there twice.") % {"name": name})
            )
        elif self._items is not None:
            self._cells[name] = column.write(self._items) if column.kind is Kind.LIST else ""
        elif self._as_json:
            self._cells[name] = self._decoded(name, text)
        else:
            self._cells[name] = text.strip()

    def _decoded(self, name: str, text: str) -> str:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, str):
            return found
        self._problems.append(Problem(name, "", _('With json="true" the text is a JSON string, in quotes.')))
        return ""


def _fed(pieces: Iterable[bytes], reader: _Reader) -> Iterator[None]:
    """After each piece that was read. Raises FileUnusable."""
    fed = 0
    for piece in bounded(pieces):
        for start in range(0, len(piece), 1 << 16):
            part = piece[start : start + (1 << 16)]
            reader.feed(part)
            fed += len(part)
            if fed - max(reader.position, 0) > _LONGEST_TAG:
                raise FileUnusable(_("A tag is too long."))
            yield
    reader.feed(b"", final=True)
    yield


def read(pieces: Iterable[bytes]) -> Iterator[SourceRow]:
    """The devices of a file. Raises FileUnusable."""
    reader = _Reader()
    for _piece in _fed(pieces, reader):
        yield from reader.rows
        reader.rows.clear()


def count(pieces: Iterable[bytes], most: int) -> int:
    """How many devices there are; stops counting beyond `most`. Raises FileUnusable."""
    reader = _Reader(only_count=True)
    for _piece in _fed(pieces, reader):
        if reader.count > most:
            break
    return reader.count


class Writer:
    """Writes a file device by device."""

    def __init__(self, chosen: Sequence[Column]) -> None:
        self._columns = chosen

    def begin(self) -> bytes:
        """The declaration and the root."""
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<{ROOT} version="1">\n'.encode()

    def row(self, values: Sequence[Any]) -> bytes:
        """One device, its values in the order of the columns."""
        cells = (_element(column, value) for column, value in zip(self._columns, values, strict=True))
        return f"  <{DEVICE}>\n{''.join(cells)}  </{DEVICE}>\n".encode()

    def end(self) -> bytes:
        """The root's end."""
        return f"</{ROOT}>\n".encode()


def _element(column: Column, value: Any) -> str:
    name = column.name
    if column.kind is Kind.LIST and value and not any(_NOT_LITERAL.search(item) for item in value):
        items = "".join(f"<{ITEM}>{escape(item)}</{ITEM}>" for item in value)
        return f"    <{name}>{items}</{name}>\n"
    text = column.write(value)
    if _NOT_LITERAL.search(text):
        return f'    <{name} json="true">{escape(json.dumps(text))}</{name}>\n'
    return f"    <{name}>{escape(text)}</{name}>\n"


# --- the schema ----------------------------------------------------------------------------------------------

_TYPES = {
    Kind.TEXT: "text",
    Kind.INTEGER: "integer",
    Kind.BOOLEAN: "boolean",
    Kind.CHOICE: "text",
    Kind.MOMENT: "moment",
    Kind.LIST: "list",
    Kind.NUMBERS: "text",
    Kind.REFERENCE: "text",
    Kind.OBJECT: "text",
}

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!-- Devices with their SCEP settings, as Fleetseal exports and imports them. Made from the columns by
     scripts/transfer_documents.py. -->
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" elementFormDefault="qualified">
  <xs:complexType name="text">
    <xs:simpleContent>
      <xs:extension base="xs:string">
        <!-- true: the text is a JSON string, for characters that XML cannot hold -->
        <xs:attribute name="json" type="xs:boolean"/>
      </xs:extension>
    </xs:simpleContent>
  </xs:complexType>
  <xs:complexType name="list" mixed="true">
    <xs:sequence>
      <xs:element name="item" type="xs:string" minOccurs="0" maxOccurs="unbounded"/>
    </xs:sequence>
    <xs:attribute name="json" type="xs:boolean"/>
  </xs:complexType>
  <xs:simpleType name="empty">
    <xs:restriction base="xs:string"><xs:length value="0"/></xs:restriction>
  </xs:simpleType>
  <xs:simpleType name="integer"><xs:union memberTypes="empty xs:integer"/></xs:simpleType>
  <xs:simpleType name="boolean"><xs:union memberTypes="empty xs:boolean"/></xs:simpleType>
  <xs:simpleType name="moment"><xs:union memberTypes="empty xs:dateTime"/></xs:simpleType>
  <xs:complexType name="device">
    <xs:all>
"""

_TAIL = f"""    </xs:all>
  </xs:complexType>
  <xs:element name="{ROOT}">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="{DEVICE}" type="device" minOccurs="0" maxOccurs="unbounded"/>
      </xs:sequence>
      <xs:attribute name="version" type="xs:integer"/>
    </xs:complexType>
  </xs:element>
</xs:schema>
"""


def schema() -> str:
    """The XSD of these files."""
    elements = "".join(
        f'      <xs:element name="{column.name}" type="{_TYPES[column.kind]}" minOccurs="0"/>\n'
        for column in columns().values()
    )
    return _HEAD + elements + _TAIL
