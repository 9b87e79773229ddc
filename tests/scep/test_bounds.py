"""Messages of a megabyte that are made to exhaust memory or time, read in a process with limits (quirk 29)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.scep.bounded import READERS

ROOT = Path(__file__).resolve().parents[2]


def test_quirk_29_no_message_exhausts_memory_or_time() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.scep.bounded"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr
    outcomes: dict[str, str] = json.loads(ended.stdout)
    assert len(outcomes) == 15 * len(READERS)
    errors = {"not_scep", "message_check_failed", "unsupported_algorithm"}
    # contents may be empty, and lines are capabilities
    assert set(outcomes.values()) <= errors | {"tuple", "Capabilities", "Response"}
