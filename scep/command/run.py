"""What a command is given beside its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from scep.command.console import Console


@dataclass(slots=True)
class Run:
    """One run of a command: where it speaks, its clock (aware), and how it waits (seconds).

    `unfinished` is the folder in which an enrollment waits to be gone on with, "" while there is none.
    """

    console: Console
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    unfinished: str = ""
