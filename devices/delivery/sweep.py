"""The sweep (F5): every device whose certificate was verified once is looked at again and again, to find drift.

Staggered: each device has its own time (`probe_due_at`), the interval of the settings after the last one, give or
take a 24th of it: a day and an hour, unless told otherwise. A claim moves that time ahead, so two workers never look
at one device, and a worker that dies costs it one look.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from devices import audit
from devices.delivery import probe
from devices.delivery.connectors.base import Endpoint
from devices.delivery.errors import NotConnected
from devices.delivery.probe import Look
from devices.models import Device, KeyAndCertificate
from devices.models.choices import WebhookEventChoices
from devices.rules.drift import Drift, drift_of
from devices.rules.keys import KeyUse
from devices.webhooks import outbox

logger = logging.getLogger(__name__)

WHEN_OFF = timedelta(days=1)
"""The interval by which times are noted while nobody looks: the devices are due when the sweep is switched on."""

_STAGGER = 1 / 24
"""By which share of the interval a look is sooner or later, so that a fleet that was delivered at once spreads."""

CLAIMED_AT_ONCE = 512
"""Devices; when all are silent a turn takes CLAIMED_AT_ONCE * ports / probe.AT_ONCE * probe.TIMEOUT seconds."""

OTHER = gettext_noop(
    "The device serves another certificate than the one that was delivered: changed by hand, by a reset, or by a "
    "repair."
)
EXPIRED = gettext_noop("The certificate that the device serves is not valid now. Request a new one.")
WEAK = gettext_noop(
    "The certificate that the device serves has a weak key or signature. Request a stronger one."
)
WRONG_NAME = gettext_noop(
    "The certificate that the device serves is not for its address. Correct the common name or the address, and "
    "request a new one."
)

EXPLANATIONS = {
    Drift.OTHER_CERTIFICATE: OTHER,
    Drift.EXPIRED: EXPIRED,
    Drift.WEAK_KEY: WEAK,
    Drift.WRONG_NAME: WRONG_NAME,
}


def _interval() -> timedelta:
    configured: timedelta | None = settings.SWEEP_INTERVAL
    return configured or WHEN_OFF


def next_look(device_id: int, now: datetime) -> datetime:
    """When the device is looked at next: always the same distance for one device, not the same for all."""
    share = (device_id * 2654435761 % 2**32) / 2**32  # Knuth's multiplicative hash spreads neighbors
    return now + _interval() * (1 + (2 * share - 1) * _STAGGER)


def expect(device: Device, *, now: datetime) -> None:
    """The device serves its TLS key's certificate, as was just seen: forget drift, and look again later."""
    Device.objects.filter(pk=device.pk).update(
        probe_due_at=next_look(device.pk, now), probed_at=now, drift="", drift_explanation=""
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """A device with what it is to serve."""

    device: Device
    fingerprint: str
    """SHA-256, of its TLS key that was verified; empty: there is none any more."""


def sweep_due(now: datetime, *, clock: Callable[[], datetime] = timezone.now) -> int:
    """Look at the devices that are due at `now`, and record what was found; how many were looked at.

    None of them while the sweep is switched off (FLEETSEAL_SWEEP_HOURS).
    """
    if settings.SWEEP_INTERVAL is None:
        return 0
    _bring_forward(now)
    claimed = _claim(now)
    expected = _expected(claimed)
    _stop([each for each in expected if not each.fingerprint])
    wanted = [each for each in expected if each.fingerprint]
    places: list[tuple[Expected, Endpoint]] = []
    for each in wanted:
        places += [(each, endpoint) for endpoint in _endpoints(each.device)]
    looks: dict[int, list[Look]] = {each.device.pk: [] for each in wanted}
    # whole: what is found is written when the network is done with
    for (each, _endpoint), seen in zip(
        places, list(probe.look_at(endpoint for _each, endpoint in places)), strict=True
    ):
        looks[each.device.pk].append(seen)
    at = clock()
    for each in wanted:
        record(each, looks[each.device.pk], now=at)
    return len(wanted)


def _bring_forward(now: datetime) -> None:
    """Devices whose time was set when the interval was longer are looked at within the one that counts now."""
    latest = now + _interval() * (1 + _STAGGER)
    late = Device.objects.filter(probe_due_at__gt=latest).values_list("pk", flat=True)
    if ids := list(late[:CLAIMED_AT_ONCE]):
        _set_next([(pk, next_look(pk, now)) for pk in ids])


def _set_next(times: Iterable[tuple[int, datetime]]) -> None:
    rows = [Device(pk=pk, probe_due_at=at) for pk, at in times]
    Device.objects.bulk_update(rows, ["probe_due_at"], batch_size=200)


@transaction.atomic
def _claim(now: datetime) -> list[int]:
    """Devices that are due, the longest-due first, with their next time set."""
    due = Device.objects.filter(probe_due_at__lte=now)
    if not due.exists():
        return []
    locked = due.select_for_update(skip_locked=True, no_key=True).order_by("probe_due_at", "pk")
    ids = list(locked.values_list("pk", flat=True)[:CLAIMED_AT_ONCE])
    _set_next((pk, next_look(pk, now)) for pk in ids)
    return ids


def _expected(ids: Collection[int]) -> list[Expected]:
    """Two queries, however many."""
    keys = KeyAndCertificate.objects.filter(
        device__in=ids, key_use=KeyUse.TLS.value, verified_at__isnull=False
    )
    fingerprints = dict(keys.values_list("device_id", "fingerprint_sha256"))
    devices = Device.objects.filter(pk__in=ids).select_related("group")
    return [Expected(device, fingerprints.get(device.pk, "")) for device in devices]


def _stop(gone: Iterable[Expected]) -> None:
    """Nothing that was verified is in use on these any more: there is nothing to compare with."""
    ids = [each.device.pk for each in gone]
    if ids:
        Device.objects.filter(pk__in=ids).update(probe_due_at=None, drift="", drift_explanation="")


def _endpoints(device: Device) -> list[Endpoint]:
    try:
        return list(device.connect(with_secrets=False).endpoints())
    except NotConnected:
        # its connector was taken away since: the address is known all the same
        return [Endpoint(device.host, port) for port in device.tls_ports]


def record(expected: Expected, looks: Collection[Look], *, now: datetime) -> None:
    """Store what was seen of one device; a device that showed nothing keeps what was known."""
    device = expected.device
    leaves = {look.leaf for look in looks if look.leaf is not None}
    if not leaves:
        logger.info("%s showed no certificate: %s", device, next((look.problem for look in looks), ""))
        return
    drift = next(
        (found for leaf in sorted(leaves) if (found := _drift(leaf, expected, now)) is not None), None
    )
    served = sorted(hashlib.sha256(leaf).hexdigest() for leaf in leaves)
    with transaction.atomic():
        rows = Device.objects.filter(pk=device.pk)
        if not rows.filter(
            keys__fingerprint_sha256=expected.fingerprint, keys__key_use=KeyUse.TLS.value
        ).exists():
            return  # another key took over meanwhile, and its delivery will say
        rows.update(
            probed_at=now,
            drift=drift.value if drift else "",
            drift_explanation=EXPLANATIONS[drift] if drift else "",
        )
        if (drift.value if drift else "") != device.drift:
            facts: dict[str, Any] = {"drift": [device.drift, drift.value if drift else ""], "served": served}
            facts |= {"expected": expected.fingerprint}
            audit.record(audit.SYSTEM, "device.drift", device, facts, at=now)
            if drift:
                told = {"device": outbox.of_device(device), **facts, "drift": drift.value}
                outbox.announce(WebhookEventChoices.DEVICE_DRIFT, told, now)


def _drift(leaf: bytes, expected: Expected, now: datetime) -> Drift | None:
    try:
        certificate = x509.load_der_x509_certificate(leaf)
        return drift_of(certificate, expected_sha256=expected.fingerprint, host=expected.device.host, now=now)
    except ValueError:
        # a certificate that cannot be read is none of ours
        return Drift.OTHER_CERTIFICATE
