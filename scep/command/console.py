"""What is shown where: results on stdout, progress and errors on stderr, or one JSON object on stdout."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from typing import TextIO

from scep.command.outcome import Exit, Json, Report, Stopped
from scep.conversation import HttpReply, HttpRequest

PROGRAM = "python -m scep"


def silence(stream: TextIO) -> None:
    """Send what is still to be written nowhere: Python would try to at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Console:
    """One command's output. Progress is shown on a terminal, and with `verbose` in any case, with more to it."""

    def __init__(self, out: TextIO, err: TextIO, *, as_json: bool = False, verbose: bool = False) -> None:
        self._out = out
        self._err = err
        self._json = as_json
        self._verbose = verbose
        self._progress = verbose or err.isatty()
        self._secrets: list[str] = []
        self._notes: list[str] = []
        self._asked_at = 0.0

    def conceal(self, secret: str) -> None:
        """Show *** for `secret` from now on: a server's words may repeat what it was sent."""
        if secret:
            self._secrets.append(secret)

    def note(self, text: str) -> None:
        """Say at the end, terminal or not, what somebody should know beside the result or the error."""
        self._notes.append(text)

    def step(self, text: str) -> None:
        """Say what is being done, to somebody who waits."""
        if self._progress:
            self._line(self._err, text)

    def watch(self, event: HttpRequest | HttpReply) -> None:
        """`ScepClient.run`'s: each request, and with `verbose` what came."""
        if isinstance(event, HttpRequest):
            self._asked_at = time.monotonic()
            self.step(f"{event.message_type or event.operation} ...")
            return
        if self._verbose:
            took = time.monotonic() - self._asked_at
            kind = event.content_type or "no content type"
            self.step(f"  HTTP status {event.status}, {len(event.body)} bytes, {kind}, {took:.2f} s")

    def report(self, command: str, report: Report) -> None:
        """The result, and the notes."""
        if self._json:
            self._object(command, report.code, report.data)
            return
        self._table(report.lines)
        self._show_notes()

    def stopped(self, command: str, stopped: Stopped, *, unfinished: str = "") -> None:
        """Why there is no result; `unfinished` is the folder in which an enrollment waits."""
        if self._json:
            members: dict[str, Json] = {"error": stopped.to_json(), "unfinished": unfinished or None}
            self._object(command, stopped.code, members)
            return
        self._line(self._err, f"{PROGRAM}{' ' if command else ''}{command}: {stopped}")
        self._show_notes()
        self.unfinished(unfinished)

    def interrupted(self, command: str, *, unfinished: str = "") -> None:
        """Ctrl-C: nothing is said but what remains to be done."""
        if self._json:
            error: Json = {"kind": "interrupted", "explanation": "Ctrl-C was pressed."}
            self._object(command, Exit.INTERRUPTED, {"error": error, "unfinished": unfinished or None})
            return
        self.unfinished(unfinished)

    def unfinished(self, directory: str) -> None:
        """How to go on with the enrollment in that folder, where there is one."""
        if directory and not self._json:
            where = shlex.quote(directory)
            self._line(
                self._err,
                f"The enrollment is kept. To go on with it: {PROGRAM} poll {where}. To give it up: rm "
                f"{where}/enrollment.json",
            )

    def _table(self, lines: Sequence[tuple[str, str]]) -> None:
        width = max((len(label) for label, _ in lines), default=0)
        for label, value in lines:
            self._line(self._out, f"{label + ':':<{width + 1}} {value}" if label else value)

    def _show_notes(self) -> None:
        for note in self._notes:
            self._line(self._err, f"Note: {note}")

    def _object(self, command: str, code: Exit, members: dict[str, Json]) -> None:
        head: dict[str, Json] = {"ok": code is Exit.DONE, "command": command, "exit_code": int(code)}
        # ASCII: what came from a server cannot steer a terminal
        shown = self._concealed({**head, **members, "notes": self._notes})
        try:
            self._out.write(json.dumps(shown, indent=2) + "\n")
            self._out.flush()
        except BrokenPipeError:
            silence(self._out)
            raise

    def _concealed(self, value: Json) -> Json:
        match value:
            case str():
                for secret in self._secrets:
                    value = value.replace(secret, "***")
                return value
            case dict():
                return {name: self._concealed(member) for name, member in value.items()}
            case list() | tuple():
                return [self._concealed(member) for member in value]
        return value

    def _line(self, stream: TextIO, text: str) -> None:
        """One line in which nothing steers the terminal: names come from servers and certificates."""
        shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
        try:
            stream.write(f"{self._concealed(shown)}\n")
            stream.flush()
        except BrokenPipeError:
            # an enrollment does not end because nobody looks on any more; a result that nobody gets does
            silence(stream)
            if stream is self._out:
                raise
