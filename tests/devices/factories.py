"""Devices, servers and timers for tests, made through the services that the product uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from devices import inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.models import Device, KeyAndCertificate, ScepServer

CHALLENGE = "opensesame-8894"

PATIENCE = 60
"""Seconds that a server of these tests is waited for: enough for one on a machine that is busy with other things."""

_number = count(1)
"""Names take it with leading zeros: lists come by name, whatever ran before in the same process."""

_half_an_hour_ago = datetime.now(UTC)


def begin_test() -> None:
    """Set what `just_passed` gives until the next test begins."""
    global _half_an_hour_ago
    _half_an_hour_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)


begin_test()


def just_passed() -> datetime:
    """A [Request Start Date/Time] that has just passed, the same all through a test: what starts then is due at once.

    It is each test's, not the session's: a start of more than an hour ago is refused, and sessions may take longer.
    """
    return _half_an_hour_ago


def make_server(url: str = "http://127.0.0.1:1/scep", **fields: Any) -> ScepServer:
    """A SCEP server; nobody listens on the default address."""
    return inventory.create_server(
        SYSTEM, **{"name": f"CA {next(_number):06}", "url": url, "timeout": PATIENCE, **fields}
    )


def make_device(
    server: ScepServer | None = None, *, settings: dict[str, Any] | None = None, **fields: Any
) -> Device:
    """A device; with `server` it may send manual requests, and `settings` go on top of that."""
    number = next(_number)
    device = inventory.create_device(
        SYSTEM, **{"name": f"mfp-{number:06}", "host": f"10.1.{number // 250}.{number % 250 + 1}", **fields}
    )
    wanted = ({"server": server} if server else {}) | (settings or {})
    if wanted:
        requests.save_settings(SYSTEM, device, **wanted)
    return device


def make_timed_device(server: ScepServer, **settings: Any) -> Device:
    """A device whose timer is on and whose request is due since `just_passed`, without an offset."""
    timer = {"timer_enabled": True, "request_start_at": just_passed(), "auto_adjust": False}
    return make_device(server, settings=timer | settings)


VIRTUAL: dict[str, Any] = {
    "connector": "virtual",
    "connector_settings": {"url": "http://127.0.0.1:1/mfp/X1"},
}
"""The fields of a device with a connector; nobody listens there."""

PRIVATE_KEY = b"THE-PRIVATE-KEY"
"""What stands for the encrypted private key of `make_key`; no page and no answer may hold it."""


def make_key(device: Device, **fields: Any) -> KeyAndCertificate:
    """A key of the device without a function, its certificate valid for 30 days from `just_passed`."""
    values: dict[str, Any] = {
        "name": "SCEP",
        "key_length": 2048,
        "private_key_encrypted": PRIVATE_KEY,
        "certificate": "PEM",
        "not_before": just_passed(),
        "not_after": just_passed() + timedelta(days=30),
        "issued_at": just_passed(),
    }
    return KeyAndCertificate.objects.create(device=device, **{**values, **fields})
