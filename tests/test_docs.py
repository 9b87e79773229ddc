"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import lifecycle_diagram

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_lifecycle_diagram_is_that_of_the_table() -> None:
    text = lifecycle_diagram.DOCUMENT.read_text()
    assert lifecycle_diagram.with_diagram(text) == text, "run python scripts/lifecycle_diagram.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_what_the_readme_tells_to_run_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test", "run"} <= named <= targets
