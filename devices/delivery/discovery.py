"""Searching an address range for devices: only the addresses that were named, a few at a time, and nothing is added.

As with jobs the row is the truth and the queue a doorbell: `position` moves on after each handful of addresses, under
a lease, so a search that was begun and lost goes on where it was.
"""

from __future__ import annotations

import json
import logging
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, doorbell, inventory, secrets
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors import identity, ipp, snmp, snmp_device
from devices.delivery.connectors.base import Identity
from devices.delivery.connectors.settings import SettingsInvalid
from devices.delivery.connectors.snmp import Access
from devices.delivery.connectors.snmp_many import SnmpMany
from devices.delivery.errors import DeliveryError
from devices.errors import Conflict
from devices.models import Device, DeviceGroup, DeviceSearch, FoundDevice
from devices.models.choices import SearchStateChoices
from devices.models.discovery import addresses_of

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""Addresses that are asked at the same time: where nobody is, some 30 a second."""
CONNECT_TIMEOUT = 1.5
"""Seconds until an address counts as silent."""
LEASE = timedelta(minutes=3)
"""Longer than one handful can take."""
TURN = timedelta(seconds=60)
"""How long a worker goes on before it lets others have a turn."""
SEARCHES_KEPT = 20

_IPP_TIMEOUTS = ipp.Timeouts(CONNECT_TIMEOUT, 3.0)


# --- starting and ending ----------------------------------------------------------------------------------


@transaction.atomic
def start(actor: Actor, *, network: str, ipp_port: int = 631, snmp_settings: Any = None) -> DeviceSearch:
    """Begin a search of `network`; workers are rung for it. Audited.

    `snmp_settings` say how to ask over SNMP as well; empty: over IPP alone. Their secrets go when the search ends.
    Raises PermissionDenied, ValidationError with a dict of fields, and Conflict while one of this network is open.
    """
    access.require(actor, Permission.SEARCH_DEVICES)
    now = timezone.now()
    try:
        checked = snmp.check_access(snmp.ACCESS_SCHEMA, snmp_settings or {})
    except SettingsInvalid as error:
        raise ValidationError(
            {"snmp": [f"{name}: {text}" if name else text for name, text in error.problems.items()]}
        ) from None
    search = DeviceSearch(
        network=network,
        ipp_port=ipp_port,
        snmp=dict(checked.plain),
        actor=actor.user,
        actor_name=actor.name,
        source=actor.source,
        address=actor.address,
        created_at=now,
        next_action_at=now,
    )
    search.full_clean(exclude={"actor"})
    secret = {name: value for name, value in checked.secrets.items() if value}
    search.snmp_secrets_encrypted = secrets.encrypt_text(json.dumps(secret) if secret else "")
    search.total = len(addresses_of(network))
    if DeviceSearch.objects.filter(network=network, completed_at__isnull=True).exists():
        raise Conflict("search_open", _("A search of this network is under way. Wait until it has ended."))
    search.save(force_insert=True)
    kept = DeviceSearch.objects.order_by("-pk").values_list("pk", flat=True)[:SEARCHES_KEPT]
    DeviceSearch.objects.exclude(pk__in=list(kept)).filter(completed_at__isnull=False).delete()
    audit.record(
        actor, "devicesearch.create", search, {"network": network, "addresses": search.total}, at=now
    )
    transaction.on_commit(doorbell.ring_searches)
    return search


@transaction.atomic
def cancel(actor: Actor, search: DeviceSearch) -> DeviceSearch:
    """Ask nobody any more; what was found stays. Raises PermissionDenied and Conflict."""
    access.require(actor, Permission.SEARCH_DEVICES)
    locked = DeviceSearch.objects.select_for_update().get(pk=search.pk)
    if not locked.is_open:
        raise Conflict("search_ended", _("The search has ended already."))
    _end(locked, SearchStateChoices.CANCELED, timezone.now())
    audit.record(actor, "devicesearch.cancel", locked, {"asked": locked.position})
    return locked


def _end(search: DeviceSearch, state: SearchStateChoices, now: datetime) -> None:
    search.state, search.completed_at = state, now
    search.next_action_at = search.lease = search.snmp_secrets_encrypted = None
    search.save()


# --- asking -----------------------------------------------------------------------------------------------


def ring_for_due(now: datetime) -> None:
    """Claim the searches that are due, and ring a worker for each."""
    due = DeviceSearch.objects.filter(completed_at__isnull=True, next_action_at__lte=now)
    for pk, held in list(due.values_list("pk", "lease")):
        lease = uuid.uuid4()
        mine = DeviceSearch.objects.filter(pk=pk, lease=held, next_action_at__lte=now)
        if mine.update(lease=lease, next_action_at=now + LEASE):
            doorbell.ring_search(pk, lease)


def advance(search_id: int, lease: uuid.UUID, *, clock: Callable[[], datetime] = timezone.now) -> None:
    """Go on with the search that is held under `lease` for one turn. Nothing happens when it no longer is."""
    search = DeviceSearch.objects.filter(pk=search_id, lease=lease, completed_at__isnull=True).first()
    if search is None:
        return
    ends, addresses = clock() + TURN, addresses_of(search.network)
    with Asking(How.of(search)) as asking:
        while search.position < len(addresses):
            handful = addresses[search.position : search.position + AT_ONCE]
            found = asking.ask(handful)
            if not _record(search, lease, len(handful), found, clock()):
                logger.info("search %d was canceled or taken over by another worker", search_id)
                return
            if clock() >= ends and search.position < len(addresses):
                mine = DeviceSearch.objects.filter(pk=search_id, lease=lease)
                mine.update(lease=None, next_action_at=clock())
                doorbell.ring_searches()
                return
    _finish(search_id, lease, clock())


@transaction.atomic
def _record(
    search: DeviceSearch, lease: uuid.UUID, asked: int, found: Sequence[Answer], now: datetime
) -> bool:
    """Store what answered and move on, together; False when the search is no longer ours."""
    position, answered = search.position + asked, search.answered + len(found)
    held = DeviceSearch.objects.filter(pk=search.pk, lease=lease, position=search.position)
    moved = held.update(
        position=position,
        answered=answered,
        state=SearchStateChoices.RUNNING,
        started_at=search.started_at or now,
        next_action_at=now + LEASE,
    )
    if not moved:
        return False
    search.position, search.answered, search.started_at = position, answered, search.started_at or now
    rows = [
        FoundDevice(
            host=each.host,
            answered_by=each.answered_by,
            found_at=now,
            search=search,
            **asdict(each.identity),
        )
        for each in found
    ]
    FoundDevice.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["host"],
        update_fields=["vendor", "model", "serial_number", "firmware", "answered_by", "found_at", "search"],
    )
    return True


@transaction.atomic
def _finish(search_id: int, lease: uuid.UUID, now: datetime) -> None:
    search = DeviceSearch.objects.select_for_update().filter(pk=search_id, lease=lease).first()
    if search is None:
        return
    _end(search, SearchStateChoices.FINISHED, now)
    facts = {"asked": search.position, "found": search.answered}
    audit.record(audit.SYSTEM, "devicesearch.finished", search, facts, at=now)


@dataclass(frozen=True, slots=True)
class Answer:
    """One address that answered as a printer does."""

    host: str
    identity: Identity
    answered_by: str


@dataclass(frozen=True, slots=True)
class How:
    """What each address is asked."""

    ipp_port: int
    plain: dict[str, Any] | None
    """Settings of SNMP; None: it is not asked over SNMP."""
    secrets: dict[str, str]

    @classmethod
    def of(cls, search: DeviceSearch) -> How:
        """Raises devices.secrets.SecretUnreadable."""
        stored = secrets.decrypt_text(search.snmp_secrets_encrypted)
        found: dict[str, str] = json.loads(stored) if stored else {}
        return cls(search.ipp_port, search.snmp if found else None, found)

    def __repr__(self) -> str:
        return f"<How IPP {self.ipp_port}, SNMP {'yes' if self.plain is not None else 'no'}>"


class Asking:
    """Asks addresses, AT_ONCE of them at the same time, over IPP and SNMP side by side, until the block ends.

    Its threads and its SNMP engine serve the whole of a worker's turn: making them takes longer than asking.
    """

    def __init__(self, how: How) -> None:
        self._how = how
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._pool = self._open.enter_context(
            ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="search")
        )
        self._snmp = self._open.enter_context(SnmpMany())
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._open.close()

    def ask(self, hosts: Sequence[str]) -> list[Answer]:
        """Those of `hosts`, at most AT_ONCE, that answer; it takes a few seconds whether they do or not."""
        by_ipp = self._pool.map(lambda host: _over_ipp(host, self._how.ipp_port), hosts)
        by_snmp = self._over_snmp(hosts)  # while the threads ask over IPP
        answers = (_answer(*told) for told in zip(hosts, by_ipp, by_snmp, strict=True))
        return [answer for answer in answers if answer is not None]

    def _over_snmp(self, hosts: Sequence[str]) -> list[Identity | None]:
        plain = self._how.plain
        if plain is None:
            return [None] * len(hosts)
        accesses = [
            replace(Access.of(host, plain, self._how.secrets), timeout=CONNECT_TIMEOUT, retries=0)
            for host in hosts
        ]
        return [
            snmp_device.identity_of(rows)
            if not isinstance(rows, DeliveryError) and snmp_device.is_printer(rows)
            else None
            for rows in self._snmp.first_rows(accesses, snmp_device.IDENTITY_COLUMNS)
        ]


def _answer(host: str, by_ipp: Identity | None, by_snmp: Identity | None) -> Answer | None:
    told = {name: each for name, each in (("IPP", by_ipp), ("SNMP", by_snmp)) if each is not None}
    return Answer(host, identity.merged(*told.values()), ", ".join(told)) if told else None


def _over_ipp(host: str, port: int) -> Identity | None:
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT):
            pass
        return ipp.identity_of(ipp.attributes(host, port, timeouts=_IPP_TIMEOUTS))
    except (OSError, DeliveryError):
        return None


# --- what was found ---------------------------------------------------------------------------------------


def found_devices() -> QuerySet[Any]:
    """What was found, each with `is_known`: whether a device has its address or serial number. One query."""
    same_host = Device.objects.filter(host=OuterRef("host"))
    same_serial = Device.objects.filter(serial_number=OuterRef("serial_number"))
    return FoundDevice.objects.select_related("device").annotate(
        is_known=Exists(same_host) | (~Q(serial_number="") & Exists(same_serial))
    )


@transaction.atomic
def add(actor: Actor, found: Iterable[FoundDevice], *, group: DeviceGroup | None = None) -> list[Device]:
    """Add devices, named after their addresses, with what they said of themselves: all of them or none. Audited.

    Raises PermissionDenied, ValidationError, and Conflict for one that is known already.
    """
    access.require(actor, Permission.ADD_DEVICE)
    rows = list(found_devices().filter(pk__in=[each.pk for each in found]))
    if not rows:
        raise ValidationError({"found": _("No device is selected.")})
    if known := [row.host for row in rows if row.is_known]:
        raise Conflict(
            "device_known",
            _("Devices with these addresses or serial numbers are there already: %s.") % ", ".join(known),
        )
    devices = inventory.create_devices(
        actor,
        [
            {
                "name": row.host,
                "host": row.host,
                "vendor": row.vendor,
                "model": row.model,
                "serial_number": row.serial_number,
                "firmware": row.firmware,
                "group": group,
            }
            for row in rows
        ],
    )
    for row, device in zip(rows, devices, strict=True):
        row.device = device
    FoundDevice.objects.bulk_update(rows, ["device"])
    return devices


def forget(actor: Actor, found: FoundDevice) -> None:
    """Take one off the list; the next search may find it again. Raises PermissionDenied."""
    access.require(actor, Permission.SEARCH_DEVICES)
    audit.record(actor, "founddevice.delete", found)
    found.delete()
