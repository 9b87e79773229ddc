"""Certificates all the way into printers: `python -m tests.end_to_end.delivery [--rate]`.

Without --rate: enrolled by Debian's `scepserver`, delivered to five real PAPPL printer applications, to nginx on an
OpenSSH host and to CUPS's ippeveprinter there, which its snmpd has restarted by prtGeneralReset; each is verified
with `openssl s_client`. With it: 300 deliveries to 20 PAPPL printer applications, how many a second, and whether
each served what was issued.
Everything that runs is a process of its own: PostgreSQL, Redis, web, two workers, beat, and the devices.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end import delivery_rate
from tests.end_to_end.counterparts import add_scep_server, office, switch_timer_on
from tests.end_to_end.deployment import deployed
from tests.end_to_end.table import lines_of
from tests.peers.process import wait_until
from tests.peers.scep_server import scep_server

CHALLENGE = "delivery-challenge"
NOT_ENDED = {"issued", "delivered", "active", "rolling_back"}


@dataclass
class Verified:
    """What became of one device's certificate."""

    name: str
    peer: str
    connector: str
    state: str
    explanation: str
    issued: str
    """SHA-256 of the certificate in the key store."""
    served: str
    """SHA-256 of the one that the device serves, as `openssl s_client` sees it."""
    factory: str
    """And the one that it served before."""
    issuer: str
    restarts: list[str]
    """The states of its restarts."""


@dataclass
class Outcome:
    """What a run came to."""

    devices: list[Verified]
    resets: list[str]
    """What the agent's prtGeneralReset was set to, each time it was."""

    @property
    def is_good(self) -> bool:
        """True when every device serves what was issued for it."""
        return all(each.served == each.issued for each in self.devices)

    def lines(self) -> Iterator[str]:
        """For people."""
        rows = [
            (
                *(each.name, each.peer, each.connector, each.state, each.explanation),
                f"{each.served[:16]}... {'=' if each.served == each.issued else 'is not'} issued",
                each.issuer,
            )
            for each in self.devices
        ]
        yield from lines_of(
            ("device", "peer", "connector", "state", "", "served (openssl s_client)", "issuer"), rows
        )
        for each in self.devices:
            if each.restarts:
                resets = ", ".join(self.resets)
                yield f"{each.name}: SNMPv3 set prtGeneralReset to {resets}; restart {', '.join(each.restarts)}"


def from_scepserver(directory: Path, *, printers: int = 5, timeout: float = 600) -> Outcome:
    """Enroll at the real SCEP server, deliver to real devices, restart one, look at each with OpenSSL."""
    with (
        scep_server(directory, CHALLENGE) as ca,
        office(directory, printers=printers) as stands,
        deployed(directory / "fleetseal") as (_deployment, api),
    ):
        server = add_scep_server(api, ca.url)
        factory = [device.served for device in stands.devices]
        ids = [device.add(api) for device in stands.devices]
        for pk, device in zip(ids, stands.devices, strict=True):
            switch_timer_on(api, pk, server, CHALLENGE, auto_restart=device.restart_settings is not None)
        rows: list[dict[str, Any]] = []

        def ended() -> bool:
            rows[:] = list(api.every("deployments/"))
            return len(rows) == len(ids) and not {row["state"] for row in rows} & NOT_ENDED

        wait_until(ended, timeout=timeout, what="the end of every delivery", interval=0.5)
        found = []
        for pk, device, before in zip(ids, stands.devices, factory, strict=True):
            (row,) = [row for row in rows if row["device"] == pk]
            (key,) = api.every(f"devices/{pk}/keys/")
            restarts = [restart["state"] for restart in api.every(f"devices/{pk}/restarts/")]
            found.append(
                Verified(
                    *(device.name, device.peer, device.connector, row["state"], row["explanation"]),
                    *(key["fingerprint_sha256"], device.served, before, key["issuer"], restarts),
                )
            )
        return Outcome(found, list(stands.resets))


def main() -> int:
    """Exit code 1 when something was not served as issued."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", action="store_true", help="300 deliveries to 20 devices")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetseal-delivery-") as directory:
        began = time.monotonic()
        found = (delivery_rate.rate if arguments.rate else from_scepserver)(Path(directory))
        print("\n".join(found.lines()))
        print(f"{time.monotonic() - began:.1f} s, starting everything included")
        return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
