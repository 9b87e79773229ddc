"""The command line as a whole: which commands there are, and how each ends."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import cast

from scep.command.commands import COMMANDS, parser_of
from scep.command.console import Console
from scep.command.outcome import Exit, Report, Stopped
from scep.command.run import Run

Command = Callable[[argparse.Namespace, Run], Report | None]


def main(words: Sequence[str]) -> int:
    """Run the command that `words` name; returns the exit code. No exception escapes but faults of this program."""
    for stream in (sys.stdout, sys.stderr):
        # a name that the terminal cannot show is no reason to fail
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    words = list(words)
    as_json = "--json" in words
    command = words[0] if words and words[0] in COMMANDS else ""
    console = Console(sys.stdout, sys.stderr, as_json=as_json, verbose=bool({"-v", "--verbose"} & {*words}))
    run = Run(console, now=lambda: datetime.now(UTC), sleep=time.sleep)
    try:
        return _run(words, command, run)
    except Stopped as stopped:
        console.stopped(command, stopped, unfinished=run.unfinished)
        return stopped.code
    except KeyboardInterrupt:
        console.interrupted(command, unfinished=run.unfinished)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.BROKEN_PIPE


def _run(words: list[str], command: str, run: Run) -> int:
    given = parser_of().parse(words)
    report = _function(COMMANDS[command].function)(given, run)
    if report is None:
        return Exit.DONE
    run.console.report(command, report)
    run.console.unfinished(run.unfinished)
    return report.code


def _function(name: str) -> Command:
    """The command's function; its module is loaded only now: nobody waits for what another command needs."""
    module, _, function = name.partition(":")
    return cast("Command", getattr(importlib.import_module(f"scep.command.{module}"), function))


__all__ = ["main"]
