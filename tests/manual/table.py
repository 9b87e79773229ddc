"""R-number, test, against what, result: the table that `python -m tests.manual` prints."""

from __future__ import annotations

import re

import pytest

COUNTERPARTS = {"scepserver": "scepserver", "responder": "responder", "mfp": "virtual MFP"}
"""The fixtures that bring somebody to talk to; which of them a test takes says against what it was made."""

Row = tuple[str, str, str]
"""R-number, test, against."""


class Table:
    """A pytest plugin that collects what became of each test; the runs of one test over many values are one row."""

    def __init__(self) -> None:
        self._rows: dict[Row, list[str]] = {}
        self._row_of: dict[str, Row] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Know each test's row before it runs."""
        for item in items:
            if isinstance(item, pytest.Function):
                self._row_of[item.nodeid] = row_of(item)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's outcome; that of its fixtures only when they failed."""
        if (report.when == "call" or report.failed) and report.nodeid in self._row_of:
            self._rows.setdefault(self._row_of[report.nodeid], []).append(report.outcome)

    def __str__(self) -> str:
        rows = [
            ("R-number", "test", "against", "result"),
            *((*row, result(outcomes)) for row, outcomes in self._rows.items()),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines.insert(1, "-|-".join("-" * width for width in widths))
        return "\n".join(line.rstrip() for line in lines)


def row_of(item: pytest.Function) -> Row:
    """The R-number from the file's name, the test's name as words, the counterparts that it takes."""
    number = re.search(r"test_r(\d\d)_", item.path.name)
    against = [name for fixture, name in COUNTERPARTS.items() if fixture in item.fixturenames]
    words = item.originalname.removeprefix("test_").replace("_", " ")
    if item.cls is not None:
        subject = re.sub(r"(?<!^)(?=[A-Z])", " ", item.cls.__name__.removeprefix("Test")).lower()
        words = f"{subject}: {words}"
    return (
        f"R{int(number[1])}" if number else "under way",
        words,
        ", ".join(against) or "nobody is asked",
    )


def result(outcomes: list[str]) -> str:
    """“passed”, “passed (4)” for four values, or “1 of 4 failed”."""
    failed = sum(outcome != "passed" for outcome in outcomes)
    if failed:
        return f"{failed} of {len(outcomes)} failed"
    return "passed" if len(outcomes) == 1 else f"passed ({len(outcomes)})"
