"""From a real SCEP server into real devices of every kind, every part a process of its own (F5, R13)."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end import delivery


def test_real_devices_serve_what_scepserver_issued(tmp_path: Path) -> None:
    found = delivery.from_scepserver(tmp_path)
    assert [(each.name, each.connector, each.state, each.explanation) for each in found.devices] == [
        *((f"pappl-{number}", "pappl", "verified", "") for number in range(1, 6)),
        ("print-server", "sftp", "verified", ""),
        ("ipp-printer", "sftp", "verified", ""),
    ]
    for each in found.devices:
        assert each.served == each.issued != each.factory, each.name
        assert "OU=CA" in each.issuer
    assert len({each.served for each in found.devices}) == 7
    # powerCycleReset (RFC 3805), once, and seen to have come back
    assert found.resets == ["4"]
    assert [each.restarts for each in found.devices] == [[]] * 6 + [["done"]]
