"""`python -m tests.simulation.year --devices 1000 --days 365 --seed 1`: a simulated year and its figures.

On a private PostgreSQL. Exit code 1 when the walk over the log finds a breach.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.peers import postgres

MOST_BREACHES = 40
"""So many are printed in full."""


def main() -> int:
    """What the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.year", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with _database():
        from tests.simulation.figures import report
        from tests.simulation.simulation import Simulation
        from tests.simulation.walk import walk

        began = time.monotonic()
        simulation = Simulation(devices=options.devices, days=options.days, seed=options.seed)
        simulation.run()
        ran = time.monotonic()
        breaches = walk(simulation.log)
        for breach in breaches[:MOST_BREACHES]:
            print(breach)
        print(report(simulation, breaches, days=options.days))
        print(f"{'seconds':34}{ran - began:.0f}, and {time.monotonic() - ran:.0f} for the walk")
    return 1 if breaches else 0


@contextlib.contextmanager
def _database() -> Iterator[None]:
    """A database of this program's tables, and Django set up for it."""
    with tempfile.TemporaryDirectory(prefix="fleetseal-year-") as folder, contextlib.ExitStack() as stack:
        directory = Path(folder)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "FLEETSEAL_DATA_DIR": str(directory / "data"),
            "FLEETSEAL_LOG_LEVEL": "ERROR",
            "DATABASE_URL": stack.enter_context(postgres.running_server(directory)),
            # nobody listens: the simulation rings by itself
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        try:
            yield
        finally:
            from django.db import connections

            connections.close_all()


if __name__ == "__main__":
    sys.exit(main())
