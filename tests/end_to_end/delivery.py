"""Certificates all the way into printers: `python -m tests.end_to_end.delivery [--rate]`.

Without --rate: enrolled by Debian's `scepserver`, delivered to five real PAPPL printer applications, each verified
with `openssl s_client`. With it: 300 deliveries to 20 of them, how many a second, and whether each served what was
issued.
Everything that runs is a process of its own: PostgreSQL, Redis, web, two workers, beat, and the printers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.end_to_end.deployment import Api, deployed
from tests.peers.pappl import Pappl, printer
from tests.peers.process import wait_until
from tests.peers.scep_server import scep_server

CHALLENGE = "delivery-challenge"
NOT_ENDED = {"issued", "delivered", "active", "rolling_back"}


@contextmanager
def printers(directory: Path, number: int) -> Iterator[list[Pappl]]:
    """So many real printer applications, each with a factory certificate of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(printer(directory)) for _ in range(number)]


def add_device(api: Api, name: str, pappl: Pappl) -> int:
    """A device over REST; its fingerprint is looked at, compared with what OpenSSL sees, and confirmed."""
    settings = {"port": pappl.port, "username": "admin", "password": pappl.password}
    fields = {"name": name, "host": "127.0.0.1", "tls_ports": [pappl.port]}
    device = api.call("POST", "devices/", {**fields, "connector": "pappl", "connector_settings": settings})[
        "id"
    ]
    seen = api.call("GET", f"devices/{device}/fingerprint/")
    if seen["fingerprint"] != pappl.served:
        raise AssertionError(f"{name} shows {pappl.served}, and {seen['fingerprint']} was seen")
    api.call("POST", f"devices/{device}/fingerprint/", {"fingerprint": seen["fingerprint"]})
    return int(device)


@dataclass
class Verified:
    """What became of one device's certificate."""

    name: str
    state: str
    explanation: str
    issued: str
    """SHA-256 of the certificate in the key store."""
    served: str
    """SHA-256 of the one that the device serves, as `openssl s_client` sees it."""
    factory: str
    """And the one that it served before."""
    issuer: str


def from_scepserver(directory: Path, *, number: int = 5, timeout: float = 120) -> list[Verified]:
    """Enroll at the real SCEP server, deliver to real printers, look at each with OpenSSL."""
    with (
        scep_server(directory, CHALLENGE) as ca,
        printers(directory, number) as devices,
        deployed(directory / "fleetseal") as (_deployment, api),
    ):
        # that server hands out a serial number twice when two requests come at once
        permissions = {"allow_des_replies": True, "max_requests_at_once": 1}
        server = api.call("POST", "scep-servers/", {"name": "scepserver", "url": ca.url, **permissions})["id"]
        factory = [pappl.served for pappl in devices]
        ids = [add_device(api, f"pappl-{index}", pappl) for index, pappl in enumerate(devices)]
        timer = {
            "server": server,
            "timer_enabled": True,
            "auto_adjust": False,
            "request_start_at": datetime.now(UTC).isoformat(),
            "request_interval_days": 90,
            "key_use": "tls",
            "challenge_password": CHALLENGE,
            "polling_count": 3,
            "polling_interval_seconds": 10,
        }
        for device in ids:
            api.call("PATCH", f"devices/{device}/scep-settings/", timer)
        rows: list[dict[str, Any]] = []

        def ended() -> bool:
            rows[:] = list(api.every("deployments/"))
            return len(rows) == number and not {row["state"] for row in rows} & NOT_ENDED

        wait_until(ended, timeout=timeout, what="the end of every delivery", interval=0.5)
        found = []
        for device, pappl, before in zip(ids, devices, factory, strict=True):
            (row,) = [row for row in rows if row["device"] == device]
            (key,) = api.every(f"devices/{device}/keys/")
            found.append(
                Verified(
                    *(row["device_name"], row["state"], row["explanation"]),
                    *(key["fingerprint_sha256"], pappl.served, before, key["issuer"]),
                )
            )
        return found


@dataclass
class Rate:
    """What many deliveries came to."""

    deliveries: int
    seconds: float = 0
    states: Counter[str] = field(default_factory=Counter)
    explanations: Counter[str] = field(default_factory=Counter)
    served_as_issued: int = 0

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"deliveries            {self.deliveries}, {self.deliveries / self.seconds:.1f} a second"
        yield f"states                {dict(self.states)} {dict(self.explanations) or ''}"
        yield f"served leaf is issued {self.served_as_issued} of {self.deliveries}"


def rate(directory: Path, *, number: int = 20, rounds: int = 15, timeout: float = 120) -> Rate:
    """`rounds` new certificates for each of `number` printers, through the queue and the workers.

    The certificates are made here and registered as the end of a request does it: what is timed is the delivery, from
    the ring to the handshake that verifies it. The looks by OpenSSL are not timed.
    """
    figures = Rate(number * rounds)
    with printers(directory, number) as devices, deployed(directory / "fleetseal") as (deployment, api):
        ids = [add_device(api, f"pappl-{index}", pappl) for index, pappl in enumerate(devices)]
        os.environ.update(deployment.environment)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
        import django

        django.setup()
        from devices.models import Deployment, Device
        from scep import keys as scep_keys
        from tests.devices.delivery.issued import issue

        for _ in range(rounds):
            # made before the first of them is registered: making keys is not what is timed
            made = {device: scep_keys.generate_rsa() for device in ids}
            rows = {
                device.pk: issue(device, key=made[device.pk]) for device in Device.objects.filter(pk__in=ids)
            }
            keys = {key.pk for key in rows.values()}
            open_rows = Deployment.objects.filter(key__in=keys, next_action_at__isnull=False)
            wait_until(_none_of(open_rows), timeout=timeout, what="the end of a round")
            ended = list(Deployment.objects.filter(key__in=keys))
            figures.seconds += _busy(ended)
            figures.states.update(row.state for row in ended)
            figures.explanations.update(row.explanation for row in ended if row.explanation)
            figures.served_as_issued += sum(
                pappl.served == rows[device].fingerprint_sha256
                for device, pappl in zip(ids, devices, strict=True)
            )
    return figures


def _none_of(rows: Any) -> Callable[[], bool]:
    return lambda: not rows.exists()


def _busy(rows: Sequence[Any]) -> float:
    """Seconds in which at least one of `rows` was on its way."""
    spans = sorted((row.created_at, row.completed_at) for row in rows)
    total, end = 0.0, spans[0][0]
    for began, ended in spans:
        total += max(0.0, (ended - max(began, end)).total_seconds())
        end = max(end, ended)
    return total


def main() -> int:
    """Exit code 1 when something was not served as issued."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", action="store_true", help="300 deliveries to 20 devices")
    with tempfile.TemporaryDirectory(prefix="fleetseal-delivery-") as directory:
        began = time.monotonic()
        if parser.parse_args().rate:
            figures = rate(Path(directory))
            print("\n".join(figures.lines()))
            return 0 if figures.served_as_issued == figures.deliveries else 1
        found = from_scepserver(Path(directory))
        for each in found:
            print(
                f"{each.name}: {each.state} {each.explanation}\n  issued {each.issued}\n  served {each.served}"
            )
        print(f"{time.monotonic() - began:.1f} s, starting everything included")
        return 0 if all(each.served == each.issued for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
