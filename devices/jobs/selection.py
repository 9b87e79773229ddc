"""The devices of a job. Which they are is decided when it is started; who lists them all is a worker.

A row for each of 88,000 devices takes longer than a request should. So the first part has its rows at once, and the
others wait as parts (`JobPart`), from which a worker makes rows in its first turn, before it does anything.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import QuerySet, Sum

from devices.models import Device, Job, JobItem, JobPart

PART = 1000
"""Devices whose rows are made in one transaction; a job of no more has all its rows from the start."""

Selected = tuple[Device, Mapping[str, Any]]
"""A device, and parameters that count for it alone."""

_Entry = Sequence[Any]
"""A device's id and its name, and its own parameters where it has any."""


def keep(job: Job, devices: QuerySet[Device] | Iterable[Device | Selected]) -> int:
    """Write down which devices `job` is about, in their order; how many they are. A queryset is asked once."""
    entries = _entries(devices)
    _make_rows(job, 0, entries[:PART])
    rest = (entries[start : start + PART] for start in range(PART, len(entries), PART))
    JobPart.objects.bulk_create(
        JobPart(job=job, position=number * PART, count=len(part), devices_packed=_pack(part))
        for number, part in enumerate(rest, 1)
    )
    return len(entries)


def _entries(devices: QuerySet[Device] | Iterable[Device | Selected]) -> list[_Entry]:
    if isinstance(devices, QuerySet):
        return list(devices.values_list("pk", "name"))
    pairs = (entry if isinstance(entry, tuple) else (entry, {}) for entry in devices)
    return [(device.pk, device.name, dict(own)) for device, own in pairs]


def _pack(entries: Sequence[_Entry]) -> bytes:
    # bytes: PostgreSQL neither takes JSON apart nor has it escaped, which took longer than everything else
    return zlib.compress(json.dumps(entries).encode(), 1)


def _unpack(packed: bytes) -> list[_Entry]:
    entries: list[_Entry] = json.loads(zlib.decompress(packed))
    return entries


def is_listed(job: Job) -> bool:
    """True when every device of `job` has its row."""
    return not JobPart.objects.filter(job=job).exists()


def list_part(job: Job) -> None:
    """Make the rows of the next part, inside a transaction that holds the job."""
    part = JobPart.objects.filter(job=job).order_by("position").first()
    if part is not None:
        _make_rows(job, part.position, _unpack(bytes(part.devices_packed)))
        part.delete()


def drop(job: Job) -> int:
    """Forget the devices that have no row yet; how many they were."""
    parts = JobPart.objects.filter(job=job)
    left = parts.aggregate(left=Sum("count"))["left"] or 0
    parts.delete()
    return left


def _make_rows(job: Job, position: int, entries: Sequence[_Entry]) -> None:
    """One that was deleted meanwhile keeps its name, so that its result can say so."""
    there = _there([pk for pk, *_ in entries])
    JobItem.objects.bulk_create(
        JobItem(
            job=job,
            position=position + offset,
            device_id=pk if pk in there else None,
            device_name=name,
            parameters=own[0] if own else {},
        )
        for offset, (pk, name, *own) in enumerate(entries)
    )


def _there(ids: Sequence[int]) -> set[int]:
    return set(Device.objects.filter(pk__in=ids).values_list("pk", flat=True))
