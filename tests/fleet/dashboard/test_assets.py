"""Third-party styles and scripts: locked, from no fixed host, and every file that a page asks for is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders

from fleet import assets
from fleet.assets import __main__ as builder

HERE = Path(assets.__file__).parent
TEMPLATES = settings.BASE_DIR / "fleet" / "dashboard" / "templates"


def test_versions_are_exact_and_the_lock_names_hashes_but_no_host() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert wanted
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    packages.pop("")
    assert {f"node_modules/{name}" for name in wanted} <= packages.keys()
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_every_file_that_a_page_asks_for_is_built_or_ours() -> None:
    asked = {
        name
        for template in TEMPLATES.rglob("*.html")
        for name in re.findall(r"{% static '([^']+)' %}", template.read_text())
    }
    assert asked
    assert [name for name in asked if finders.find(name) is None] == []
    assert set(builder.FILES.values()) >= {name for name in asked if not name.startswith("dashboard/")}


def test_a_second_call_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def npm(command: list[str], *, cwd: str, **_: object) -> object:
        calls.append(command[-2:])
        for source in builder.FILES:
            file = Path(cwd) / "node_modules" / source
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("body {}\n/*# sourceMappingURL=x.map */\n")
        return type("Ended", (), {"returncode": 0})

    monkeypatch.setattr("fleet.assets.__main__.subprocess.run", npm)
    assert builder.build(tmp_path)
    assert calls == [["ci", "--ignore-scripts"]]
    assert (tmp_path / "tabler" / "tabler.min.css").read_text() == "body {}\n"
    assert not builder.build(tmp_path)
    (tmp_path / ".stamp").write_text("of an older lock")
    assert builder.build(tmp_path)
    assert len(calls) == 2


def test_a_failure_says_what_npm_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = type("Ended", (), {"returncode": 1, "stdout": "", "stderr": "ENOTFOUND registry"})
    monkeypatch.setattr("fleet.assets.__main__.subprocess.run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="ENOTFOUND registry"):
        builder.build(tmp_path)
    assert not (tmp_path / ".stamp").exists()
