"""The demo's data: servers, groups and devices with their timers on, made by the same services as by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from devices import inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.models import Device, DeviceGroup, ScepServer
from fleet.demo import names

ORGANIZATION = "Example Corporation"
INTERVAL_DAYS = 90

EARLIEST = timedelta(minutes=9, seconds=30)
LATEST = timedelta(minutes=5)
"""Timers started between these, so that with R10's offset of 1 to 600 s most requests are due at once and
the others within the next minutes."""


@dataclass(frozen=True, slots=True)
class DemoCa:
    """Where the demo CA listens and which challenge password it wants; and its neighbors, the virtual MFPs."""

    port: int
    challenge_password: str

    mfp_port: int = 0
    """Where the virtual MFPs listen; 0: there are none, and the devices have no connector."""
    mfp_fingerprint: str = ""
    """Of the certificate that their factory gave all of them: confirmed, for it is the demo's own."""

    @property
    def url(self) -> str:
        """Its SCEP address."""
        return f"http://127.0.0.1:{self.port}/scep"


WRONG_PASSWORD, MOVED_SERVER, NO_SERVER = 7, 22, 38
"""Numbers of the devices whose settings are faulty, so that the dashboard has something to tell."""


@transaction.atomic
def seed(first: int, last: int, ca: DemoCa, *, now: datetime) -> list[Device]:
    """Make demo devices number `first` to `last` - 1, and what they need; returns those that are new.

    What is there already stays as it is, whatever somebody made of it.
    """
    servers = _servers(ca)
    groups = _groups()
    wanted = list(names.devices(first, last))
    taken = set(
        Device.objects.filter(name__in=[row["name"] for row in wanted]).values_list("name", flat=True)
    )
    rows = [
        (first + index, {**row, "group": groups[row["site"]]})
        for index, row in enumerate(wanted)
        if row["name"] not in taken
    ]
    for _, row in rows:
        del row["site"]
        row |= connection(str(row["serial_number"]), ca)
    created = inventory.create_devices(SYSTEM, [row for _, row in rows])
    for position, ((number, _), device) in enumerate(zip(rows, created, strict=True)):
        age = EARLIEST - (EARLIEST - LATEST) * (position / max(len(rows), 1))
        requests.save_settings(
            SYSTEM, device, **_settings(number, device, servers, ca), request_start_at=now - age
        )
    return created


def connection(serial_number: str, ca: DemoCa) -> dict[str, Any]:
    """The connector of a device, to its virtual MFP."""
    if not ca.mfp_port:
        return {}
    settings = {"url": f"http://127.0.0.1:{ca.mfp_port}/mfp/{serial_number}"}
    if ca.mfp_fingerprint:
        settings["tls_fingerprint"] = ca.mfp_fingerprint
    return {"connector": "virtual", "connector_settings": settings}


@transaction.atomic
def connect(last: int, ca: DemoCa) -> int:
    """Give the demo devices of an older demo, which have no connector or did not take keys, theirs; how many."""
    serials = [row["serial_number"] for row in names.devices(0, last)]
    found = [
        device
        for device in Device.objects.filter(serial_number__in=serials, connector__in=["none", "virtual"])
        if not device.connector_settings.get("tls_fingerprint")
    ]
    for device in found:
        inventory.update_device(SYSTEM, device, **connection(device.serial_number, ca))
    return len(found)


def _settings(number: int, device: Device, servers: Mapping[str, ScepServer], ca: DemoCa) -> dict[str, Any]:
    server, password = servers["demo"], ca.challenge_password
    if number == WRONG_PASSWORD:
        password = "the challenge password of last year"  # noqa: S105 - wrong on purpose
    elif number == MOVED_SERVER:
        server = servers["moved"]
    elif number == NO_SERVER:
        server = servers["absent"]
    return {
        "server": server,
        "timer_enabled": True,
        "auto_adjust": True,
        "polling_count": 3,
        "polling_interval_seconds": 60,
        "request_interval_days": INTERVAL_DAYS,
        "delete_old_key": True,
        "auto_restart": names.restarts_by_itself(number),
        "key_name": "TLS",
        "key_use": "tls",
        "organization": ORGANIZATION,
        "common_name": device.host,
        "challenge_password": password,
    }


def _servers(ca: DemoCa) -> dict[str, ScepServer]:
    # port 9 is `discard`: hardly a machine answers there, and nothing leaves this one
    wanted: dict[str, dict[str, Any]] = {
        "demo": {
            "name": "Demo CA",
            "url": ca.url,
            "max_requests_per_minute": 240,
            "max_requests_at_once": 4,
        },
        "moved": {"name": "Demo CA (old address)", "url": f"http://127.0.0.1:{ca.port}/certsrv/mscep"},
        "absent": {"name": "Branch office CA (switched off)", "url": "http://127.0.0.1:9/scep"},
    }
    return {
        key: ScepServer.objects.filter(name=fields["name"]).first()
        or inventory.create_server(SYSTEM, **fields, timeout=10)
        for key, fields in wanted.items()
    }


def _groups() -> dict[str, DeviceGroup]:
    start, end = names.MAINTENANCE
    return {
        site.name: DeviceGroup.objects.filter(name=site.name).first()
        or inventory.create_group(
            SYSTEM,
            name=site.name,
            time_zone=site.time_zone,
            maintenance_start=start,
            maintenance_end=end,
        )
        for site in names.SITES
    }
