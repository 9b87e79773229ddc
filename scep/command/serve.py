"""`serve`: the responder on 127.0.0.1 as a CA for demos and for trying clients. Not for production."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path
from types import FrameType

from scep.authority import Authority
from scep.behavior import Behavior
from scep.command import options
from scep.command.files import explained
from scep.command.outcome import FileProblem, Report, UsageProblem
from scep.command.run import Run
from scep.responder import Responder
from scep.server import Server
from scep.store import DirectoryStore


def serve(given: argparse.Namespace, run: Run) -> None:
    """Serve until SIGTERM or Ctrl-C, which are the ordinary end. Raises FileProblem and UsageProblem."""
    server = _server(given, run)

    def end(_signal: int, _frame: FrameType | None) -> None:
        # shutdown waits for the loop that this very thread runs
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    ca = str(given.directory / "ca.pem")
    told = f"SCEP at {server.url}, its CA certificate is {ca}"
    run.console.report("serve", Report([("", told)], {"url": server.url, "ca": ca}))
    with server:
        server.serve_forever(poll_interval=0.1)


def _server(given: argparse.Namespace, run: Run) -> Server:
    challenge = options.challenge(given) or None
    directory: Path = given.directory
    try:
        with explained(f"keep a CA in {directory}"):
            directory.mkdir(parents=True, exist_ok=True)
            authority = Authority.kept_in(directory, given.name, now=run.now(), validity_days=given.days)
            store = DirectoryStore(directory)
    except ValueError as error:
        raise FileProblem(f"Cannot go on with the CA in {directory}: {error}.") from error
    behavior = Behavior(pending=given.pending, fail_info=given.fail_info, delay=given.delay)
    responder = Responder(authority, store=store, challenge=challenge, behavior=behavior)
    try:
        return Server(responder, given.port)
    except (OSError, OverflowError) as error:
        raise UsageProblem(
            f"Cannot listen on port {given.port} of 127.0.0.1: {error}. Give another --port."
        ) from error
