"""Which connectors there are: the built-in ones, and those that other packages bring."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Capability
from devices.models import Device


class TestRegistry:
    @pytest.fixture
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Installs a package that brings connectors."""

        def install(entries: str) -> None:
            info = tmp_path / "fleet_extras-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fleet-extras\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[fleetseal.connectors]\n{entries}\n")
            (tmp_path / "fleet_extras.py").write_text(
                "from devices.delivery.connectors.base import Capability, Connector\n"
                "class Bell(Connector):\n"
                "    label = 'Bell'\n"
                "    capabilities = frozenset({Capability.RESTART})\n"
            )
            # what was written within one tick of the file system's clock may have been looked for already
            importlib.invalidate_caches()
            registry.known.cache_clear()

        monkeypatch.syspath_prepend(str(tmp_path))
        yield install
        sys.modules.pop("fleet_extras", None)
        registry.known.cache_clear()

    def test_the_built_in_ones_are_always_there(self) -> None:
        assert [name for name, _label in registry.choices()][:2] == ["none", "virtual"]
        assert registry.can("virtual", Capability.RESTART)
        assert not registry.can("none", Capability.RESTART)

    def test_other_packages_bring_theirs(self, installed: Any) -> None:
        installed("bell = fleet_extras:Bell")
        assert dict(registry.choices())["bell"] == "Bell"
        assert registry.can("bell", Capability.RESTART)
        assert not registry.can("bell", Capability.IDENTIFY)
        assert "bell" in dict(Device._meta.get_field("connector").flatchoices)

    @pytest.mark.parametrize(
        "entry",
        [
            "virtual = fleet_extras:Bell",
            "none = fleet_extras:Bell",
            "Bell = fleet_extras:Bell",
            "bell = fleet_extras:Missing",
            "bell = fleet_extras:Capability",
        ],
    )
    def test_what_does_not_fit_is_logged_and_left_out(
        self, installed: Any, entry: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        installed(entry)
        assert registry.known() == registry.BUILT_IN
        assert "left out" in caplog.text
