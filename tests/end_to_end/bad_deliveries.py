"""Deliveries that go wrong: `python -m tests.end_to_end.bad_deliveries`.

Wrong passwords, wrong fingerprints, a full key store, a connection lost between upload and answer, devices that say
“installed” and go on serving the old certificate, and ones that never come back. Each is made to happen to a real
PAPPL printer, to nginx on a real OpenSSH host, or to a virtual MFP where no real device can be made to show it.
What is printed was read on the device's page by somebody who had signed in.
Everything that runs is a process of its own. Waits of minutes and days pass as `passing_time` says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.end_to_end.counterparts import add_scep_server
from tests.end_to_end.deployment import ADMIN, PASSWORD, deployed
from tests.end_to_end.faults import CASES, Case, Stand
from tests.end_to_end.pages import Reader
from tests.end_to_end.passing_time import PassingTime
from tests.end_to_end.table import lines_of
from tests.end_to_end.watched import Row
from tests.peers.mfps import virtual_mfps
from tests.peers.scep_server import scep_server

CHALLENGE = "bad-deliveries-challenge"
FIRST_NUMBER = 20
"""Of the virtual MFPs: those before have their quirks."""


def run(directory: Path, cases: Sequence[Case] = CASES) -> list[Row]:
    """What became of each of `cases`; they run at the same time, each with devices of its own."""
    with (
        scep_server(directory, CHALLENGE) as ca,
        virtual_mfps(directory) as mfps,
        deployed(directory / "fleetseal", FLEETSEAL_TICK_SECONDS="0.2") as (deployment, api),
        ThreadPoolExecutor(len(cases)) as pool,
    ):
        server = add_scep_server(api, ca.url)
        reader = Reader(deployment.web, ADMIN, PASSWORD)
        passing = PassingTime(deployment.database_url)
        stands = []
        for number, case in enumerate(cases, FIRST_NUMBER):
            folder = directory / case.__name__
            folder.mkdir()
            stands.append(Stand(api.twin(), reader, passing, mfps, number, server, CHALLENGE, folder))
        return list(pool.map(lambda case, stand: case(stand), cases, stands))


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """A table for people, and under each row what stood on the device's page."""
    head = (
        "what happened",
        "device",
        "tries",
        "state",
        "by itself",
        "key",
        "serves",
        "then",
        "state",
        "serves",
    )
    cells = [
        (
            *(row.fault, row.peer, str(row.tries), row.state, "tried again" if row.goes_on else "nothing"),
            *("held" if row.key_is_held else "LOST", row.serves, row.then, row.end, row.serves_at_the_end),
        )
        for row in rows
    ]
    first, *others = lines_of(head, cells)
    yield first
    for line, row in zip(others, rows, strict=True):
        yield line
        for message in row.messages:
            yield textwrap.fill(message, 110, initial_indent="    - ", subsequent_indent="      ")


def main() -> int:
    """Exit code 1 when a key was lost or did not arrive in the end."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetseal-bad-deliveries-") as directory:
        began = time.monotonic()
        rows = run(Path(directory))
        print("\n".join(lines(rows)))
        print(f"{time.monotonic() - began:.1f} s, starting everything included")
        return 0 if all(row.key_is_held and row.serves_at_the_end == "new" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
