"""`python -m fleet.embedded` and `python -m fleet.demo`, started as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.peers.process import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Ours without the test session's own servers: the embedded program brings its own."""
    ours = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    return {**ours, "FLEETSEAL_DATA_DIR": str(data_dir), **more}


def processes(data_dir: Path) -> dict[int, str]:
    """Every living process that was started with this data folder, with its command line."""
    mark = f"FLEETSEAL_DATA_DIR={data_dir}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # ended meanwhile
            continue
    return found


class Start:
    """One start, with what it said."""

    def __init__(self, data_dir: Path, port: int, module: str, *arguments: str) -> None:
        self.data_dir = data_dir
        self.port = port
        self.output = data_dir / f"output-{len([*data_dir.glob('output-*')])}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--port", str(port), *arguments],
                cwd=ROOT,
                env=environment(data_dir),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self) -> None:
        wait_until(self._is_up, timeout=600, what="the program being up")

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self.said())
        return "Ctrl-C ends everything" in self.said()

    def said(self) -> str:
        return self.output.read_text()

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            return response.status, response.read().decode()

    def pid_of(self, words: str) -> int | None:
        """The process whose command line has `words`."""
        return next((pid for pid, line in processes(self.data_dir).items() if words in line), None)
