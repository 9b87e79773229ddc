"""From a real SCEP server into five real printers, every part a process of its own (F5)."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end import delivery


def test_five_printers_serve_what_scepserver_issued(tmp_path: Path) -> None:
    found = delivery.from_scepserver(tmp_path)
    assert [(each.state, each.explanation) for each in found] == [("verified", "")] * 5
    for each in found:
        assert each.served == each.issued != each.factory, each.name
        assert "OU=CA" in each.issuer
    assert len({each.served for each in found}) == 5
