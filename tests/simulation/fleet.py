"""The fleet of a simulated year: servers, groups in several time zones, and devices of every kind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from devices import inventory, secrets
from devices.audit import SYSTEM
from devices.models import Device, KeyAndCertificate, ScepServer
from scep.authority import Authority
from scep.responder import Responder
from tests.simulation.recorder import Recorder
from tests.simulation.records import Server, Settings
from tests.simulation.wire import Books, Ca, Clock, Outage

CHALLENGE = "opensesame-8894"

ZONES = (
    # with changes of the clocks within the first half year: north, south, and by half hours beside
    *("Europe/Berlin", "Europe/Lisbon", "America/New_York", "Australia/Sydney", "Pacific/Chatham"),
    # without
    *("America/Sao_Paulo", "Asia/Kolkata", "UTC"),
)

DESTINATIONS = ["branch", "data-center"]
"""The IPSec destinations of every device."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A SCEP server of the fleet; its CA's certificates live for `validity_days`."""

    name: str
    validity_days: int
    timeout: int
    per_minute: int | None = None
    at_once: int | None = None
    with_ra: bool = False


LONG_LIVED = (Kind("main", 395, 5), Kind("branch", 395, 10, per_minute=4, at_once=3))
SHORT_LIVED = (
    Kind("short", 90, 5, per_minute=30, at_once=20, with_ra=True),
    Kind("lab", 45, 8, at_once=3),
)


@dataclass(slots=True)
class Member:
    """A device of the fleet, and what its administrator has entered for it last."""

    device: Device
    server: str
    settings: Settings
    challenge: str = field(default=CHALLENGE, repr=False)

    def fields(self) -> dict[str, Any]:
        """`settings` as the service takes them."""
        wanted = self.settings
        return {
            "timer_enabled": wanted.timer,
            "request_start_at": local(wanted.start, wanted.zone) if wanted.start else None,
            "auto_adjust": wanted.auto_adjust,
            "polling_count": wanted.polling_count,
            "polling_interval_seconds": wanted.polling_interval,
            "request_interval_days": wanted.interval_days,
            "renew_at_percent": wanted.renew_at_percent,
            "renew_days_before": wanted.renew_days_before,
            "delete_old_key": wanted.delete_old_key,
            "key_name": wanted.key_name,
            "key_use": wanted.key_use,
            "ipsec_destination": wanted.ipsec_destination,
        }


def local(start: str, zone: str) -> datetime:
    """A time on a wall clock as a moment."""
    return datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))


def working_hour(at: datetime, zone: str, dice: random.Random, *, days: int) -> str:
    """A time of day, `days` after `at`, on a wall clock; never in the night, when clocks change."""
    day: date = at.astimezone(ZoneInfo(zone)).date() + timedelta(days=days)
    return datetime.combine(day, time(dice.randint(5, 22), dice.choice((0, 0, 15, 30)))).isoformat()


def make_servers(
    clock: Clock, recorder: Recorder, dice: random.Random, *, days: int, calm_days: int
) -> list[Ca]:
    """The SCEP servers, each with its CA and its outages; none in the last `calm_days`."""
    began, cas = clock(), []
    for kind in (*LONG_LIVED, *SHORT_LIVED):
        authority = Authority.create(
            f"{kind.name} CA",
            now=began - timedelta(days=30),
            with_ra=kind.with_ra,
            validity_days=(kind.validity_days, kind.validity_days),
        )
        books = Books()
        ca = Ca(kind.name, Responder(authority, store=books, challenge=CHALLENGE, clock=clock), books)
        for _ in range(max(1, days // 40)):
            begins = began + timedelta(days=dice.uniform(1, days - calm_days - 2))
            ends = begins + timedelta(hours=dice.uniform(1, 36))
            ca.outages.append(Outage(begins, ends, dice.choice((0, 0, 503))))
        cas.append(ca)
        inventory.create_server(
            SYSTEM,
            name=kind.name,
            url=f"http://{kind.name}.example.com/scep",
            timeout=kind.timeout,
            max_requests_per_minute=kind.per_minute,
            max_requests_at_once=kind.at_once,
        )
        recorder.log.append(Server(began, kind.name, kind.per_minute, kind.at_once))
    return cas


def make_devices(count: int, dice: random.Random, clock: Clock) -> list[Member]:
    """Devices with their settings drawn, and nothing entered yet."""
    groups = [inventory.create_group(SYSTEM, name=f"Group {zone}", time_zone=zone) for zone in ZONES]
    # what many share: most of a group asks for the same hour, as people enter it
    starts = {zone: working_hour(clock(), zone, dice, days=dice.randint(1, 5)) for zone in ZONES}
    drawn = [_drawn(dice, dice.choice(ZONES), starts, clock()) for _ in range(count)]
    rows = [
        {
            "name": f"mfp-{number:04}",
            "host": f"10.1.{number // 250}.{number % 250 + 1}" if number % 3 else f"mfp-{number}.example.com",
            "group": next(group for group in groups if group.time_zone == settings.zone),
            "key_limit": _key_limit(settings, dice),
            "ipsec_destinations": DESTINATIONS,
            "ipsec_enabled": number % 2 == 0,
        }
        for number, (settings, _) in enumerate(drawn)
    ]
    devices = inventory.create_devices(SYSTEM, rows)
    for device in devices[::5]:
        _make_default_key(device, clock())
    return [
        Member(device, server, settings) for device, (settings, server) in zip(devices, drawn, strict=True)
    ]


def _drawn(dice: random.Random, zone: str, starts: dict[str, str], now: datetime) -> tuple[Settings, str]:
    by_lifetime = dice.random() < 0.4
    # an interval fits the lifetimes of a CA with a few failures in between; renewal goes by itself
    interval = dice.choice((30, 60, 90))
    kinds = SHORT_LIVED if by_lifetime else LONG_LIVED
    key_use = dice.choice(("none", "tls", "tls", "ieee_802_1x", "ipsec"))
    polls = dice.randint(0, 5)
    settings = Settings(
        timer=True,
        start=starts[zone]
        if dice.random() < 0.7
        else working_hour(now, zone, dice, days=dice.randint(1, 20)),
        zone=zone,
        auto_adjust=dice.random() < 0.7,
        polling_count=polls,
        polling_interval=dice.choice((1, 5, 60, 600, 43200)),
        interval_days=None if by_lifetime else interval,
        renew_at_percent=dice.choice((50, 67, 80, None)) if by_lifetime else None,
        renew_days_before=None,
        delete_old_key=dice.random() < 0.6,
        key_name=dice.choice(("SCEP", "Fleet Key", "tls")),
        key_use=key_use,
        ipsec_destination=dice.choice(DESTINATIONS) if key_use == "ipsec" else "",
    )
    if by_lifetime and (settings.renew_at_percent is None or dice.random() < 0.3):
        settings = replace(settings, renew_days_before=dice.choice((10, 20, 30)))
    if by_lifetime and dice.random() < 0.3:
        settings = replace(settings, interval_days=dice.choice((30, 60)))
    return settings, dice.choice(kinds).name


def _key_limit(settings: Settings, dice: random.Random) -> int:
    """Where nothing is overwritten the store fits for a year; or, with some, it runs full."""
    if settings.delete_old_key:
        return dice.choice((3, 5, 10))
    return 3 if dice.random() < 0.3 else 100


def _make_default_key(device: Device, now: datetime) -> None:
    """The key that the device came with; it serves TLS. No service makes one yet."""
    KeyAndCertificate.objects.create(
        device=device,
        name="Default Key",
        key_use="tls",
        is_default=True,
        key_length=2048,
        private_key_encrypted=secrets.encrypt(b"the manufacturer's"),
        certificate="the manufacturer's",
        fingerprint_sha256=f"default key of {device.name}"[:64],
        not_before=now - timedelta(days=400),
        not_after=datetime(2040, 1, 1, tzinfo=UTC),
        issued_at=now - timedelta(days=400),
    )


def server_row(name: str) -> ScepServer:
    """The SCEP server's row."""
    return ScepServer.objects.get(name=name)
