"""How many deliveries a second: new certificates for real printers, one round after the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
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

    @property
    def is_good(self) -> bool:
        """True when every device served what was issued for it, every time."""
        return self.served_as_issued == self.deliveries

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
                device.served == rows[pk].fingerprint_sha256 for pk, device in zip(ids, devices, strict=True)
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
