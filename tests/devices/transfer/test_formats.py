"""CSV and XML: what is read, what is refused, and that nothing is lost on the way (R19, bad input)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.transfer import csv_format, source, xml_format
from devices.transfer.columns import columns
from devices.transfer.csv_format import defuse, restore
from devices.transfer.source import FileUnusable, SourceRow

HEADER = "name,host,location\r\n"


def read(content: bytes, module: ModuleType = csv_format, piece: int = 7) -> list[SourceRow]:
    pieces = [content[start : start + piece] for start in range(0, len(content), piece)]
    return list(module.read(pieces))


def cells(content: bytes, module: ModuleType = csv_format) -> list[Mapping[str, str]]:
    return [row.cells for row in read(content, module)]


ONE = [{"name": "mfp-1", "host": "10.1.2.3", "location": "Zürich, 2º"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r"])
def test_csv_as_spreadsheets_write_it(encoding: str, delimiter: str, ending: str) -> None:
    lines = [
        delimiter.join(("name", "host", "location")),
        delimiter.join(("mfp-1", "10.1.2.3", '"Zürich, 2º"')),
    ]
    assert cells((ending.join(lines) + ending).encode(encoding)) == ONE


def test_csv_with_excels_own_first_line_and_quoted_newlines() -> None:
    content = 'sep=;\r\nname;host;location\r\nmfp-1;10.1.2.3;"2nd floor\nroom 7"\r\nmfp-2;h2\r\n'
    rows = read(content.encode())
    assert rows[0].cells["location"] == "2nd floor\nroom 7"
    assert [row.line for row in rows] == [3, 5]
    assert "location" not in rows[1].cells, "what a spreadsheet leaves out at the end stays as it is"


def test_csv_header_in_any_case_and_empty_lines() -> None:
    assert cells(b"Name; HOST ;location;;\r\n;;;;\r\nmfp-1;10.1.2.3;;;\r\n") == [
        {"name": "mfp-1", "host": "10.1.2.3", "location": ""}
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty"),
        (b"mfp-1,10.1.2.3\r\n", "The first line must hold the names of the columns"),
        (b"Settings/Registration Basic Information,,\r\nname,host\r\n", "Remove titles and merged cells"),
        (b"name,,location\r\n", "Column 2 has no name. Merged cells"),
        (b"name,hots\r\n", "no column “hots”. Did you mean “host”?"),
        (b"name,host,name\r\n", "“name” is there twice"),
        ("name,location\r\nmfp-1,São Paulo\r\n".encode("latin-1"), "not encoded in UTF-8"),
        (b"PK\x03\x04" + bytes(60), "no CSV file"),
        (b"name,host\0\r\n", "no CSV file"),
        (b'name,host\r\nmfp-1,"10.1.2.3\r\n' + b"x" * 200_000, "Line 2: A quoted cell does not end"),
        (b'name,host\r\nmfp-1,"10.1"2.3\r\n', "Line 2: A quoted cell does not end"),
        (b"name,host\r\n" + b"x" * 1_200_000, "Line 2: The line is too long"),
    ],
)
def test_csv_that_cannot_be_used_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(FileUnusable) as refused:
        read(content, piece=5000)
    assert reason in str(refused.value)


def test_one_field_too_many_is_a_problem_of_its_row_alone() -> None:
    rows = read((HEADER + "mfp-1,10.1.2.3,Zürich, 2º\r\nmfp-2,h2,ok\r\n").encode())
    assert [problem.reason[:30] for problem in rows[0].problems] == ["The row has 1 cell more than t"]
    assert rows[1].problems == []


@pytest.mark.parametrize(
    "cell", ["=1+1", "+49 30", "-1", "@SUM(A1)", "\tx", "\rx", "00123", "1.10", "12:30", "5E3"]
)
def test_cells_that_a_spreadsheet_would_run_or_change_are_defused(cell: str) -> None:
    assert defuse(cell) == f"'{cell}"
    assert restore(defuse(cell)) == cell


@pytest.mark.parametrize("cell", ["mfp-1", "10.1.2.3", "MFP 300i", "'quoted'", "2nd floor", ""])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert defuse(cell) == cell == restore(cell)


@given(st.text())
def test_defusing_is_taken_back(cell: str) -> None:
    assert restore(defuse(cell)) == cell
    assert defuse(cell)[:1] not in {"=", "+", "-", "@", "\t", "\r"}


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("module", [csv_format, xml_format])
@given(given_cells=st.lists(st.tuples(TEXTS, st.lists(TEXTS.filter(bool), max_size=3)), max_size=4))
def test_what_is_written_is_read(module: ModuleType, given_cells: list[tuple[str, list[str]]]) -> None:
    chosen = [columns()["location"], columns()["ipsec_destinations"]]
    writer = module.Writer(chosen)
    written = [(text.strip(), names) for text, names in given_cells]
    content = writer.begin() + b"".join(map(writer.row, written)) + writer.end()
    found = cells(content, module)
    wanted = [
        {column.name: column.write(value) for column, value in zip(chosen, row, strict=True)}
        for row in written
    ]
    # a line of nothing but empty cells is no row of a CSV file
    assert found == [row for row in wanted if module is xml_format or any(row.values())]


# --- XML -----------------------------------------------------------------------------------------------------


def xml(inside: str, *, head: str = "") -> bytes:
    return f'<?xml version="1.0"?>{head}<fleetseal_devices version="1">{inside}</fleetseal_devices>'.encode()


def test_xml_rows_with_their_lines_and_lists() -> None:
    content = xml(
        "\n<device><name> mfp-1 </name><ipsec_destinations><item>a</item><item>b</item></ipsec_destinations></device>"
        '\n<device><name>mfp-2</name><location json="true">"\\u0001"</location><serial_number/></device>'
    )
    rows = read(content, xml_format)
    assert [(row.line, row.cells) for row in rows] == [
        (2, {"name": "mfp-1", "ipsec_destinations": "a\nb"}),
        (3, {"name": "mfp-2", "location": "\x01", "serial_number": ""}),
    ]


BOMB = "<!DOCTYPE b [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;'>]>"
EXTERNAL = "<!DOCTYPE b [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (xml("<device><name>&c;</name></device>", head=BOMB), "A document type (<!DOCTYPE) is not accepted"),
        (
            xml("<device><name>&x;</name></device>", head=EXTERNAL),
            "A document type (<!DOCTYPE) is not accepted",
        ),
        (xml("<device><name>&x;</name></device>"), "not well-formed XML: undefined entity"),
        (xml("<device><name>mfp-1</device>"), "not well-formed XML: mismatched tag"),
        (b"<fleet/>", "Expected <fleetseal_devices>, found <fleet>"),
        (xml("<printer/>"), "Expected <device>, found <printer>"),
        (xml("<device><name><a><b/></a></name></device>"), "<b> is nested too deep"),
        (xml("<device><name>" + "x" * 30_000 + "</name></device>"), "longer than 20000 characters"),
        (xml("<device " + "a" * 2_000_000 + "='1'/>"), "A tag is too long"),
        (b'<?xml version="1.0" encoding="martian"?><fleetseal_devices/>', "encoding is not known"),
        ("<fleetseal_devices><device><name>ü".encode("latin-1"), "not well-formed XML"),
    ],
)
def test_xml_that_cannot_be_used_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(FileUnusable) as refused:
        read(content, xml_format, 40_000)
    assert reason in str(refused.value)


def test_what_is_wrong_in_one_device_is_its_own() -> None:
    rows = read(
        xml(
            "<device><nane>mfp-1</nane><host>h</host><host>i</host><location><item/></location></device>"
            '<device><location json="true">no JSON</location></device><device><name>mfp-3</name></device>'
        ),
        xml_format,
    )
    found = [[(problem.column, problem.reason[:24]) for problem in row.problems] for row in rows]
    assert found == [
        [
            ("nane", "There is no column “nane"),
            ("host", "The column “host” is the"),
            ("location", "There is no <item> here."),
        ],
        [("location", 'With json="true" the tex')],
        [],
    ]


def endless(line: bytes, start: bytes) -> Iterator[bytes]:
    yield start
    for _number in range(20_000):
        yield line * 100


@pytest.mark.parametrize(
    ("module", "start", "line"),
    [
        (csv_format, HEADER.encode(), b"mfp-1,10.1.2.3,Berlin\r\n"),
        (xml_format, b"<fleetseal_devices>", b"<device><name>mfp-1</name></device>\n"),
    ],
)
def test_a_file_of_two_million_lines_is_counted_no_further_than_needed_and_in_little_memory(
    module: ModuleType, start: bytes, line: bytes
) -> None:
    pieces = endless(line, start)
    tracemalloc.start()
    try:
        assert module.count(pieces, 20_000) > 20_000
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert next(pieces, None) is not None, "the rest was not read"


def test_a_file_that_unpacks_to_more_than_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST_FILE", 1000)
    with pytest.raises(FileUnusable, match="larger than"):
        read(HEADER.encode() + b"mfp-1,10.1.2.3,Berlin\r\n" * 100)
