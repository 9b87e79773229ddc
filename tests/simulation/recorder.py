"""Writes down what a simulated year leaves behind, by looking at the database as anybody could."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from devices import secrets
from devices.models import AuditEvent, Device, IssuanceRequest, KeyAndCertificate
from devices.rules.lifecycle import STATUS, State
from tests.simulation.records import Audited, Final, Held, Key, Line, Record, Seen
from tests.simulation.wire import Clock

_LINE = (
    *("sequence", "trigger", "state", "details", "request_at", "offset_seconds", "next_action_at"),
    *("started_at", "completed_at", "transaction_id"),
)
_KEY = (
    *("fingerprint_sha256", "name", "key_use", "ipsec_destination", "is_default"),
    *("not_before", "not_after", "issued_at"),
)


class Recorder:
    """The log of a year. Lines and keys are written down when they are not what they were."""

    def __init__(self, clock: Clock) -> None:
        self.log: list[Record] = []
        self._clock = clock
        self._lines: dict[int, dict[int, tuple[Any, ...]]] = {}
        self._keys: dict[int, tuple[Any, ...]] = {}

    def lines(self, device_id: int, name: str) -> tuple[int, ...]:
        """Write down what changed of the device's status log; returns the numbers of its lines, oldest first."""
        rows = IssuanceRequest.objects.filter(device=device_id).order_by("sequence").values_list(*_LINE)
        known = self._lines.get(device_id, {})
        now = {row[0]: row for row in rows}
        for sequence, row in now.items():
            if known.get(sequence) != row:
                self.log.append(self._line(name, row))
        self._lines[device_id] = now
        return tuple(now)

    def _line(self, name: str, row: tuple[Any, ...]) -> Line:
        (
            sequence,
            trigger,
            state,
            details,
            request_at,
            offset,
            due_at,
            started_at,
            completed_at,
            transaction,
        ) = row
        return Line(
            at=self._clock(),
            device=name,
            sequence=sequence,
            trigger=trigger,
            status=STATUS[State(state)].value,
            details=details,
            request_at=request_at,
            offset=offset,
            due_at=due_at,
            started_at=started_at,
            completed_at=completed_at,
            transaction=transaction,
        )

    def device(self, device_id: int, *, cleared: bool = False) -> None:
        """Write down what changed of the device, and how it looks now; nothing when it is gone."""
        found = (
            Device.objects.filter(pk=device_id).values_list("name", "key_limit", "next_request_at").first()
        )
        if found is None:
            return
        name, limit, next_request_at = found
        lines = self.lines(device_id, name)
        rows = KeyAndCertificate.objects.filter(device=device_id).order_by("pk").values_list(*_KEY)
        held = (limit, *rows)
        if self._keys.get(device_id) != held:
            self._keys[device_id] = held
            keys = tuple(Key(*row) for row in held[1:])
            self.log.append(Held(self._clock(), name, limit, keys, cleared))
        self.log.append(Seen(self._clock(), name, lines, next_request_at))

    def audit_trail(self, since: datetime) -> None:
        """Write down what the audit trail says of requests that ended."""
        events = AuditEvent.objects.filter(
            at__gte=since, action__in=("issuance_request.successful", "issuance_request.failed")
        ).order_by("pk")
        for event in events.iterator(1000):
            outcome = event.action.removeprefix("issuance_request.")
            transaction = event.changes.get("transaction_id", "")
            details = event.changes.get("details", "")
            self.log.append(Audited(event.at, event.target_name, outcome, transaction, details))

    def final(self) -> None:
        """Write down every device and key as it is at the end."""
        for device_id in Device.objects.order_by("pk").values_list("pk", flat=True):
            self.device(device_id)
        keys = KeyAndCertificate.objects.order_by("device", "pk")
        for row in keys.values_list("device__name", "certificate", "private_key_encrypted", *_KEY).iterator(
            500
        ):
            name, certificate, private_key, *key = row
            self.log.append(
                Final(self._clock(), name, Key(*key), certificate, secrets.decrypt(bytes(private_key)))
            )
