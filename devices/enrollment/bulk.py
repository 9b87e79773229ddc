"""The settings of many devices, saved by the rules of one: `requests.plan_settings` plans, this stores.

The same number of statements for any number of devices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor
from devices.enrollment import log, upcoming
from devices.enrollment.requests import Plan
from devices.models import AuditEvent, Device, IssuanceRequest, KeyAndCertificate, ScepSettings, summary
from devices.models.bulk import overwrite

_REQUEST_COLUMNS = (
    *("trigger", "request_at", "next_action_at", "offset_seconds", "lease"),
    *("key_name", "signature_algorithm", "key_length", "organization", "common_name", "key_use"),
    *("ipsec_destination", "challenge_password_encrypted", "server", "polls_left"),
    *("polling_interval_seconds", "delete_old_key", "auto_restart"),
)
"""What `upcoming.after_change` writes into a request that waits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with one device."""

    settings: ScepSettings
    """With their server, their device and its group at hand."""
    current: IssuanceRequest | None
    """Its open request."""


def standing(device_ids: Collection[int], *, lock: bool) -> dict[int, Standing]:
    """By the device's id, with two queries; with a third one locked, the device too, until the transaction ends."""
    settings = ScepSettings.objects.filter(device__in=device_ids).select_related("server", "device__group")
    requests = IssuanceRequest.objects.filter(device__in=device_ids, state__in=log.OPEN)
    if lock:
        # the settings first, as `requests` does, and in one order for everybody
        settings = settings.select_for_update(of=("self",)).order_by("pk")
        requests = requests.select_for_update(of=("self",)).order_by("pk")
    else:
        requests = requests.only("device", "state", "trigger")
    found = {row.device_id: row for row in settings}
    current = {request.device_id: request for request in requests}
    if lock:
        # and the devices last, as everybody locks them: what is written of them later is what is read here
        held = (
            Device.objects.select_for_update(of=("self",), no_key=True).select_related("group").order_by("pk")
        )
        devices = held.in_bulk(found)
        found = {pk: row for pk, row in found.items() if pk in devices}
        for pk, row in found.items():
            row.device = devices[pk]
    return {pk: Standing(row, current.get(pk)) for pk, row in found.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """A device's plan, to be stored. The device is; settings without an id are new."""

    device: Device
    current: IssuanceRequest | None
    plan: Plan
    challenge_password: str = ""
    """The new one, when `plan.password_changed`."""


def save(actor: Actor, planned: Sequence[Planned], *, at: datetime) -> None:
    """Store the plans of different devices, whose rows the caller's transaction holds (`standing`), and audit.

    Raises PermissionDenied.
    """
    changing = [one for one in planned if not one.plan.is_empty]
    if changing:
        access.require(actor, Permission.CHANGE_SCEP_SETTINGS)
    periods = _periods(changing)
    new: list[IssuanceRequest] = []
    moved: list[IssuanceRequest] = []
    gone: list[IssuanceRequest] = []
    columns: set[str] = set()
    for one in changing:
        settings, changed = one.plan.settings, one.plan.after.keys()
        if one.plan.password_changed:
            settings.set_challenge_password(one.challenge_password)
            columns.add("challenge_password_encrypted")
        columns |= {*changed, "offset_seconds"}
        settings.device = one.device  # a new device has its id by now
        after = upcoming.after_change(settings, one.current, changed, partial(periods.get, one.device.pk))
        if after is None:
            gone += [one.current] if one.current else []
        elif after._state.adding:
            new.append(after)
        elif log.is_scheduled(after):
            moved.append(after)
    overwrite([one.plan.settings for one in changing if not one.plan.settings._state.adding], columns)
    ScepSettings.objects.bulk_create(
        [one.plan.settings for one in planned if one.plan.settings._state.adding]
    )
    IssuanceRequest.objects.filter(pk__in=[request.pk for request in gone]).delete()
    overwrite(moved, _REQUEST_COLUMNS)
    if new:
        log.append_many(new)
    # without a request that came, moved or went, a device's summary stays what it is
    if touched := [request.device_id for request in (*new, *moved, *gone)]:
        summary.refresh(touched)
    AuditEvent.objects.bulk_create([_event(actor, one, at) for one in changing])


def _event(actor: Actor, one: Planned, at: datetime) -> AuditEvent:
    facts = {"suspended_timers": 1} if one.plan.suspends_timer else {}
    return audit.event(actor, "scep_settings.update", one.device, one.plan.changes | facts, at=at)


def _periods(planned: Sequence[Planned]) -> Mapping[int, datetime]:
    """When the next periodic request of each device would be sent, for those whose period changes; two queries."""
    wanted = {
        one.device.pk: one.plan.settings
        for one in planned
        if one.plan.settings.timer_enabled
        and not one.plan.settings._state.adding
        and one.plan.after.keys() & upcoming.PERIOD_FIELDS
    }
    if not wanted:
        return {}
    lines = upcoming.ended(*wanted).order_by("device", "-sequence")
    last: dict[int, IssuanceRequest] = {}
    for line in lines.only("device", "sequence", "state", "request_at", "completed_at"):
        last.setdefault(line.device_id, line)
    keys = KeyAndCertificate.objects.filter(device__in=last).order_by("issued_at", "-name")
    validity = {
        (device, use, destination): (not_before, not_after)
        for device, use, destination, not_before, not_after in keys.values_list(
            "device", "key_use", "ipsec_destination", "not_before", "not_after"
        )
    }
    found = {
        pk: log.period_after(
            line,
            wanted[pk].period,
            validity.get((pk, wanted[pk].key_use, wanted[pk].ipsec_destination)),
        )
        for pk, line in last.items()
    }
    return {pk: at for pk, at in found.items() if at is not None}
