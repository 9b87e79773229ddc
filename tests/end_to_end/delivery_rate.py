"""How many deliveries a second: new certificates for real printers, one round after the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.end_to_end.counterparts import pappl
from tests.end_to_end.deployment import deployed
from tests.peers.pappl import printer
from tests.peers.process import wait_until


@dataclass
class Rate:
    """What many deliveries came to."""

    deliveries: int
    seconds: float = 0
    states: Counter[str] = field(default_factory=Counter)
    explanations: Counter[str] = field(default_factory=Counter)
    served_as_issued: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds of each, from before its first byte to the handshake that verified it."""

    @property
    def is_good(self) -> bool:
        """True when every device served what was issued for it, every time."""
        return self.served_as_issued == self.deliveries

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"deliveries            {self.deliveries}, {self.deliveries / self.seconds:.1f} a second"
        took = sorted(self.took)
        yield f"one of them took      {median(took):.2f} s (median), {took[-1]:.2f} s (the slowest)"
        yield f"states                {dict(self.states)} {dict(self.explanations) or ''}"
        yield f"served leaf is issued {self.served_as_issued} of {self.deliveries}"


def rate(directory: Path, *, number: int = 20, rounds: int = 15, timeout: float = 120) -> Rate:
    """`rounds` new certificates for each of `number` printers, through the queue and the workers.

    The certificates are made here and registered as the end of a request does it, all of a round by one commit: what
    is timed is from that commit and its rings to the handshake that verifies the last of them, neither the making of
    certificates nor the looks by OpenSSL.
    """
    figures = Rate(number * rounds)
    with ExitStack() as stack:
        devices = [
            pappl(f"pappl-{index}", stack.enter_context(printer(directory))) for index in range(1, number + 1)
        ]
        deployment, api = stack.enter_context(deployed(directory / "fleetseal"))
        ids = [device.add(api) for device in devices]
        os.environ.update(deployment.environment)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
        import django

        django.setup()
        from django.db import transaction

        from devices.models import Deployment, Device
        from scep import keys as scep_keys
        from tests.devices.delivery.issued import issue

        for _ in range(rounds):
            # made before the first of them is registered: making keys is not what is timed
            made = {device: scep_keys.generate_rsa() for device in ids}
            with transaction.atomic():
                rows = {
                    device.pk: issue(device, key=made[device.pk])
                    for device in Device.objects.filter(pk__in=ids)
                }
                began = datetime.now(UTC)
            keys = {key.pk for key in rows.values()}
            open_rows = Deployment.objects.filter(key__in=keys, next_action_at__isnull=False)
            wait_until(_none_of(open_rows), timeout=timeout, what="the end of a round")
            ended = list(Deployment.objects.filter(key__in=keys))
            times = [(row.sent_at, row.completed_at) for row in ended if row.sent_at and row.completed_at]
            figures.seconds += (max(end for _sent, end in times) - began).total_seconds()
            figures.took += [(end - sent).total_seconds() for sent, end in times]
            figures.states.update(row.state for row in ended)
            figures.explanations.update(row.explanation for row in ended if row.explanation)
            figures.served_as_issued += sum(
                device.served == rows[pk].fingerprint_sha256 for pk, device in zip(ids, devices, strict=True)
            )
    return figures


def _none_of(rows: Any) -> Callable[[], bool]:
    return lambda: not rows.exists()
