"""`python -m fleet.demo`: the embedded program with a demo fleet and a demo CA.

Its data lies under var/demo (FLEETSEAL_DATA_DIR); a second start goes on with the same data, the same CA
and the same CA address.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fleet import env
from fleet.demo.progress import Progress
from fleet.embedded import (
    HOST,
    CannotStart,
    Installation,
    free_port,
    guarded,
    is_listening,
    parser,
    run,
    take_password,
)
from fleet.supervisor import Program, end_with_parent, say

MOST_DEVICES = 10_000


@dataclass(slots=True)
class Memory:
    """What the demo keeps between its starts, beside the database."""

    ca_port: int
    devices: int = -1
    """How many demo devices were made so far; -1: not even their servers and groups."""
    mfp_port: int = 0
    """Of the virtual MFPs; 0: a demo that began before there were any."""

    @classmethod
    def load(cls, file: Path) -> Memory:
        """What `file` says; a new memory with a free port when there is none."""
        if not file.exists():
            ca_port = free_port()
            return cls(ca_port=ca_port, mfp_port=free_port(ca_port))
        return cls(**json.loads(file.read_text()))

    def save(self, file: Path) -> None:
        """Write it whole or not at all."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(file)


class Demo:
    """One start of the demo."""

    def __init__(self, data_dir: Path, devices: int) -> None:
        self.data_dir = data_dir
        self.devices = devices
        self.file = data_dir / "demo.json"
        self.challenge_file = data_dir / "demo-challenge"
        self.memory = Memory.load(self.file)
        self.mfp_directory = data_dir / "demo-mfps"
        self.is_older = self.memory.devices > 0 and not self.mfp_directory.exists()
        """Begun before virtual MFPs took keys."""
        self.memory.mfp_port = self.memory.mfp_port or free_port(self.memory.ca_port)
        self.progress = Progress(time.monotonic())

    def prepare(self) -> None:
        """Make what is missing of the demo fleet; the database is ready."""
        from django.utils import timezone

        from fleet.demo.device import fingerprint
        from fleet.demo.mfp import kept_identity
        from fleet.demo.seed import DemoCa, connect, seed

        for what, port in (("demo CA", self.memory.ca_port), ("virtual MFPs", self.memory.mfp_port)):
            if is_listening(port):
                raise CannotStart(
                    f"the port {port} of the {what} is in use by another program; end that one, or "
                    f"remove {self.data_dir} to begin a new demo"
                )
        password = env.kept_secret(self.challenge_file, lambda: secrets.token_urlsafe(12))
        factory = fingerprint(kept_identity(self.mfp_directory))
        ca = DemoCa(self.memory.ca_port, password, self.memory.mfp_port, factory)
        if self.is_older:
            connect(self.memory.devices, ca)
        self.memory.save(self.file)  # the CA's address is in the database from now on
        if self.devices > self.memory.devices:
            made = max(self.memory.devices, 0)
            if self.devices > made:
                say(f"Adding {self.devices - made} to the demo devices ...")
            seed(
                made,
                self.devices,
                ca,
                now=timezone.now(),
            )
            self.memory.devices = self.devices
            self.memory.save(self.file)

    def ca(self) -> Program:
        """The demo CA as a program of the tree."""
        command = [
            *(sys.executable, "-m", "scep", "serve"),
            *("--directory", str(self.data_dir / "demo-ca")),
            *("--port", str(self.memory.ca_port), "--challenge-file", str(self.challenge_file)),
            # longer than INTERVAL_DAYS, and not all the same: "Expires next" has something to show
            *("--days", "120-365"),
        ]
        return Program(
            name="demo-ca",
            command=command,
            ready=lambda: is_listening(self.memory.ca_port),
            needed_by_others=True,
        )

    def mfps(self) -> Program:
        """The virtual MFPs as a program of the tree."""
        devices = max(self.devices, self.memory.devices)
        return Program(
            name="demo-mfps",
            command=[
                *(sys.executable, "-m", "fleet.demo.mfp"),
                *("--port", str(self.memory.mfp_port), "--devices", str(devices)),
                *("--directory", str(self.mfp_directory)),
            ],
            ready=lambda: is_listening(self.memory.mfp_port),
            needed_by_others=True,
        )


def device_count(text: str) -> int:
    """A number of devices for argparse, 0 to MOST_DEVICES."""
    count = int(text)
    if not 0 <= count <= MOST_DEVICES:
        raise argparse.ArgumentTypeError(f"DEVICES is a number from 0 to {MOST_DEVICES}")
    return count


def start(port: int, devices: int, password: str) -> int:
    """Run the demo until it is ended; returns the exit status."""
    data_dir = env.read().data_dir
    demo = Demo(data_dir, devices)
    return run(
        Installation(
            data_dir=data_dir,
            port=port,
            password=password,
            command="make demo",
            prepare=demo.prepare,
            programs=[demo.ca(), demo.mfps()],
            tick=demo.progress.tick,
            greeting=[f"Demo CA: http://{HOST}:{demo.memory.ca_port}/scep"],
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    command_line = parser("fleet.demo", __doc__)
    command_line.add_argument(
        "--devices", type=device_count, default=60, help="how many there are to be (default 60)"
    )
    options = command_line.parse_args(arguments)
    if options.end_with_parent:
        end_with_parent()
    os.environ.setdefault("FLEETSEAL_DATA_DIR", str(env.BASE_DIR / "var" / "demo"))
    password = take_password()
    return guarded(lambda: start(options.port, options.devices, password))


if __name__ == "__main__":
    sys.exit(main())
