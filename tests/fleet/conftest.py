"""Starting the whole program from a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.start import Start
from tests.peers.process import stop


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "assets").mkdir(parents=True)
    return folder


@pytest.fixture
def start(data_dir: Path) -> Iterator[Callable[..., Start]]:
    """Starts a module on a port, with arguments; ends what a failed test leaves."""
    started: list[Start] = []

    def begin(module: str, port: int, *arguments: str) -> Start:
        started.append(Start(data_dir, port, module, *arguments))
        started[-1].wait_until_up()
        return started[-1]

    yield begin
    for one in started:
        stop(one.process)
