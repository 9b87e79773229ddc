"""The walk finds what is wrong: hand-made logs with one thing wrong in each, and one with nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.simulation.records import (
    Audited,
    Began,
    Claimed,
    Deleted,
    Done,
    Final,
    Held,
    Key,
    Line,
    Message,
    Record,
    Saved,
    Seen,
    Server,
    Settings,
)
from tests.simulation.walk import walk

DEVICE, CA = "mfp-1", "main"
START = datetime(2027, 3, 28, 4, 0, tzinfo=UTC)
"""06:00 in Berlin, hours after the clocks went forward there."""
REQUEST = START + timedelta(seconds=123)
SETTINGS = Settings(
    timer=True,
    start="2027-03-28T06:00:00",
    zone="Europe/Berlin",
    auto_adjust=True,
    polling_count=2,
    polling_interval=60,
    interval_days=30,
    renew_at_percent=None,
    renew_days_before=None,
    delete_old_key=True,
    key_name="TLS",
    key_use="tls",
)


def after(seconds: float) -> datetime:
    """So long after the request time."""
    return REQUEST + timedelta(seconds=seconds)


def _certificate() -> tuple[str, bytes, Key]:
    """A certificate (PEM), its private key (DER), and the key as the device holds it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DEVICE)])
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=90))
        .sign(private, hashes.SHA256())
    )
    key = Key(
        certificate.fingerprint(hashes.SHA256()).hex(),
        *("TLS", "tls", "", False),
        *(START, START + timedelta(days=90), after(61)),
    )
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), der, key


PEM, DER, NEW = _certificate()
OLD = replace(NEW, certificate="old", name="Old", issued_at=START - timedelta(days=80))
DEFAULT = replace(OLD, certificate="default", name="Default", key_use="none", is_default=True)

WAITS = Line(
    *(REQUEST - timedelta(days=1), DEVICE, 1, "timer", "to_be_processed", "", REQUEST, 123, REQUEST),
    *(None, None, ""),
)
SENT = replace(
    WAITS, at=after(1), status="processing", started_at=after(0), due_at=after(35), transaction="t"
)
PENDING = replace(SENT, at=after(1), due_at=after(61))
SUCCESSFUL = replace(SENT, at=after(62), status="successful", due_at=None, completed_at=after(62))
NEXT = replace(
    WAITS,
    at=after(62),
    sequence=2,
    trigger="periodic",
    offset=0,
    request_at=after(62) + timedelta(days=30),
    due_at=after(62) + timedelta(days=30),
)


def seen(at: datetime, *lines: int, shown: datetime | None) -> Seen:
    return Seen(at, DEVICE, lines, shown)


def message(at: datetime, kind: str, answer: str) -> Message:
    return Message(at, at - timedelta(seconds=0.5), DEVICE, 1, CA, kind, answer, "t")


GOOD: tuple[Record, ...] = (
    Server(WAITS.at, CA, 60, 4),
    Held(WAITS.at, DEVICE, 2, (DEFAULT, OLD)),
    Saved(WAITS.at, DEVICE, SETTINGS, 123),
    WAITS,
    seen(WAITS.at, 1, shown=REQUEST),
    Claimed(after(0), CA, ((DEVICE, 1),)),
    Began(after(0), DEVICE, 1),
    SENT,
    message(after(1), "PKCSReq", "pending"),
    Done(after(1), DEVICE, 1, killed=False),
    PENDING,
    seen(after(1), 1, shown=None),
    Claimed(after(61), CA, ((DEVICE, 1),)),
    Began(after(61), DEVICE, 1),
    message(after(62), "CertPoll", "issued"),
    Done(after(62), DEVICE, 1, killed=False),
    SUCCESSFUL,
    NEXT,
    Held(after(62), DEVICE, 2, (DEFAULT, NEW)),
    seen(after(62), 1, 2, shown=NEXT.request_at),
    Audited(after(62), DEVICE, "successful", "t", ""),
    Final(after(62), DEVICE, NEW, PEM, DER),
)


def test_a_log_with_nothing_wrong() -> None:
    assert walk(GOOD) == []


def test_a_shorter_interval_that_is_over_already_is_not_late() -> None:
    saved_at, due_at = after(62) + timedelta(days=20), after(62) + timedelta(days=10)
    log = [
        *GOOD[:-2],
        Saved(saved_at, DEVICE, replace(SETTINGS, interval_days=10), 123),
        replace(NEXT, at=saved_at, request_at=due_at, due_at=due_at),
        seen(saved_at, 1, 2, shown=due_at),
        Began(saved_at + timedelta(seconds=2), DEVICE, 2),
        Audited(after(62), DEVICE, "successful", "t", ""),
    ]
    assert walk(log) == []
    log[-2] = Began(saved_at + timedelta(hours=3), DEVICE, 2)
    assert [breach.rule for breach in walk(log)] == ["in time"]


def test_the_walk_knows_nothing_of_the_product() -> None:
    names = ["walk", "walk_state", "walk_servers", "walk_certificates", "expectations", "records"]
    for name in names:
        source = (Path(__file__).parent / f"{name}.py").read_text()
        imported = set(re.findall(r"^\s*(?:from|import) (\S+)", source, re.MULTILINE))
        ours = {module for module in imported if module.startswith("tests.")}
        assert ours <= {f"tests.simulation.{each}" for each in names} | {"tests.simulation"}
        assert not {"devices", "scep", "fleet", "django"} & {module.split(".")[0] for module in imported}


def exchanged(old: Record, **changes: Any) -> Callable[[], Sequence[Record]]:
    """The good log with one record another one."""
    return lambda: [replace(record, **changes) if record is old else record for record in GOOD]


def shifted(kind: type[Record], number: int, **changes: Any) -> Callable[[], Sequence[Record]]:
    """The good log with the `number`th record of a kind another one."""
    old = [record for record in GOOD if isinstance(record, kind)][number]
    return exchanged(old, **changes)


def without(kind: type[Record], number: int = 0) -> Callable[[], Sequence[Record]]:
    """The good log less the `number`th record of a kind."""
    old = [record for record in GOOD if isinstance(record, kind)][number]
    return lambda: [record for record in GOOD if record is not old]


def ended(details: str, *, answer: str) -> Callable[[], Sequence[Record]]:
    """The good log up to its second message, which got that answer and ended the request in an error."""
    cut = GOOD.index(SUCCESSFUL)
    at = REQUEST + timedelta(days=30)
    return lambda: [
        *GOOD[: cut - 2],
        message(after(62), "CertPoll", answer),
        GOOD[cut - 1],
        replace(SUCCESSFUL, status="error", details=details),
        replace(NEXT, request_at=at, due_at=at),
        seen(after(62), 1, 2, shown=at),
        Audited(after(62), DEVICE, "failed", "t", details),
    ]


@pytest.mark.parametrize(
    ("answer", "details"),
    [
        ("failure 0", "Communication Error (SCEP ERROR Fail Info 0)"),
        ("failure 4", "Communication Error (SCEP ERROR Fail Info 4)"),
        ("http 500", "Communication Error (TOP ERROR 500)"),
        ("forged", "Communication Error (SCEP ERROR Fail Info 1)"),
    ],
)
def test_errors_that_are_never_polled(answer: str, details: str) -> None:
    assert walk(ended(details, answer=answer)()) == []


BAD: dict[str, tuple[str, Callable[[], Sequence[Record]]]] = {
    "an offset of 0 with auto adjust": ("R10", shifted(Saved, 0, offset=0)),
    "an offset over 600": ("R10", shifted(Saved, 0, offset=601)),
    "an offset drawn twice": (
        "R10",
        lambda: [*GOOD[:5], Saved(WAITS.at, DEVICE, SETTINGS, 124), *GOOD[5:]],
    ),
    "a line with another offset than drawn": ("R10", exchanged(WAITS, offset=124)),
    "a start that forgot the change of the clocks": (
        "R9",
        exchanged(WAITS, request_at=REQUEST + timedelta(hours=1), due_at=REQUEST + timedelta(hours=1)),
    ),
    "a request before its time": ("R9", shifted(Began, 0, at=after(-1))),
    "a request hours late": ("in time", shifted(Began, 0, at=after(3 * 3600))),
    "a poll before its interval": ("R11", shifted(Began, 1, at=after(60))),
    "a poll set for another time": ("R11", exchanged(PENDING, due_at=after(62))),
    "an error that is polled": ("R17", shifted(Message, 0, answer="failure 2")),
    "a server error that is polled": ("R17", shifted(Message, 0, answer="http 500")),
    "more polls than set": (
        "R17",
        shifted(Saved, 0, settings=replace(SETTINGS, polling_count=0)),
    ),
    "given up with a poll left": ("R11", ended("Deferred", answer="pending")),
    "the wrong details": ("R17", ended("Communication Error (TOP ERROR)", answer="failure 2")),
    "details that do not exist": ("R17", ended("Communication error", answer="failure 2")),
    "a success that nobody issued": ("R17", shifted(Message, 1, answer="failure 2")),
    "a full key store, and the server asked": (
        "R11",
        shifted(Saved, 0, settings=replace(SETTINGS, delete_old_key=False)),
    ),
    "a message after the end": (
        "R11",
        lambda: [*GOOD, Began(after(99), DEVICE, 1), message(after(99), "CertPoll", "again")],
    ),
    "a message for a device that is gone": (
        "R11",
        lambda: [*GOOD[:13], Deleted(after(61), DEVICE), Began(after(61), DEVICE, 1), *GOOD[14:16]],
    ),
    "the next request a day early": (
        "R12",
        exchanged(NEXT, request_at=after(62) + timedelta(days=29)),
    ),
    "the next request by the timer's start": (
        "R12",
        exchanged(NEXT, request_at=REQUEST + timedelta(days=30)),
    ),
    "nothing follows": (
        "R12",
        lambda: [seen(after(62), 1, shown=None) if r is GOOD[-3] else r for r in GOOD if r is not NEXT],
    ),
    "another time shown than waits": ("R12", shifted(Seen, 2, next_request_at=REQUEST)),
    "renewal rules ignored": (
        "R12",
        shifted(Saved, 0, settings=replace(SETTINGS, renew_at_percent=10)),
    ),
    "the default key overwritten": ("R14", shifted(Held, 1, keys=(OLD, NEW))),
    "the old key kept": ("R14", shifted(Held, 1, limit=3, keys=(DEFAULT, replace(OLD, key_use="none"), NEW))),
    "a key overwritten without the flag": (
        "R14",
        lambda: [
            replace(r, limit=3)
            if isinstance(r, Held)
            else replace(r, settings=replace(SETTINGS, delete_old_key=False))
            if isinstance(r, Saved)
            else r
            for r in GOOD
        ],
    ),
    "a key too many": ("key limit", shifted(Held, 1, keys=(DEFAULT, OLD, NEW))),
    "a key for another use": ("R6", shifted(Held, 1, keys=(DEFAULT, replace(NEW, key_use="none")))),
    "no new key": ("R6", without(Held, 1)),
    "processing twice over": (
        "R16",
        lambda: [*GOOD[:18], replace(SENT, at=after(62)), *GOOD[18:]],
    ),
    "successful and never processing": (
        "R16",
        lambda: [r for r in GOOD if r is not SENT and r is not PENDING],
    ),
    "sent while to be processed": ("R16", lambda: [r for r in GOOD if r is not SENT]),
    "completed before it was answered": ("R16", exchanged(SUCCESSFUL, completed_at=after(1))),
    "a 21st line": (
        "R18",
        lambda: _many(21),
    ),
    "a hole in the log": ("R18", lambda: [*_many(20), seen(after(0), 1, 2, 4, shown=None)]),
    "lines that went too early": ("R18", lambda: [*_many(20), seen(after(0), *range(2, 21), shown=None)]),
    "a number left out": ("R18", exchanged(NEXT, sequence=3)),
    "two requests open": (
        "one open",
        lambda: [*GOOD[:5], replace(WAITS, sequence=2), seen(WAITS.at, 1, 2, shown=REQUEST), *GOOD[5:]],
    ),
    "more claimed at once than allowed": (
        "allowance",
        lambda: [*GOOD[:6], Claimed(after(0), CA, tuple((f"mfp-{n}", 1) for n in range(2, 6))), *GOOD[6:]],
    ),
    "more sent in a minute than allowed": ("allowance", shifted(Server, 0, per_minute=0)),
    "an end that the audit trail does not know": ("audit", without(Audited)),
    "an end that the audit trail tells otherwise": ("audit", shifted(Audited, 0, outcome="failed")),
    "a certificate for another key": (
        "certificate",
        lambda: [replace(r, private_key=_certificate()[1]) if isinstance(r, Final) else r for r in GOOD],
    ),
    "a certificate that has run out": (
        "certificate",
        lambda: [*GOOD, seen(START + timedelta(days=91), 1, 2, shown=NEXT.request_at)],
    ),
}


def _many(lines: int) -> list[Record]:
    """So many manual requests, all of them kept."""
    log: list[Record] = []
    for number in range(1, lines + 1):
        line = replace(WAITS, sequence=number, trigger="manual", offset=0)
        log += [line, replace(line, status="processing")]
        log.append(replace(line, status="error", details="Deferred", completed_at=after(1), due_at=None))
    return [*log, seen(after(1), *range(1, lines + 1), shown=None)]


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found(name: str) -> None:
    rule, log = BAD[name]
    breaches = walk(log())
    assert rule in {breach.rule for breach in breaches}, [str(breach) for breach in breaches]
    assert all(breach.device in (DEVICE, CA) for breach in breaches)
