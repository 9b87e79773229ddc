"""Start times that keep a device group within the allowances of its SCEP servers (F1).

Reads one row for each device of the group, and the load of all others counted by server and minute.
"""

from __future__ import annotations

import hashlib
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cached_property
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _

from devices.forecast import SETTINGS, OfServer, scheduled, waves_of
from devices.models import Device, DeviceGroup, IssuanceRequest, ScepServer
from devices.models.choices import TriggerChoices
from devices.rules.lifecycle import State
from devices.rules.load import Summary, expected, minute_of, moment_of, summarize
from devices.rules.spread import LONGEST_WINDOW_HOURS, Move, Proposal, Waiting, Window, propose

REACH = timedelta(days=1)
"""Requests set for longer than this before or after a window are left alone when it is filled: nobody means them."""


@dataclass(frozen=True, slots=True)
class Member:
    """A device of a group whose request may be moved, as it was when the proposal was made."""

    name: str
    server_id: int
    request_at: datetime
    offset_seconds: int
    expires_at: datetime | None


@dataclass(frozen=True)
class ServerSpread(OfServer):
    """What spreading a group comes to for one server."""

    proposal: Proposal
    before: Summary
    after: Summary
    expiring: int
    """Devices whose certificate would expire before their new time, and would not before the present one."""


@dataclass(frozen=True)
class Spread:
    """A proposal for a device group: nothing of it is stored until a job applies it."""

    group: DeviceGroup
    window: Window
    first: int
    end: int
    """The minutes that the loads before and after are about."""
    members: Mapping[int, Member]
    servers: Sequence[ServerSpread]

    @cached_property
    def moves(self) -> list[Move]:
        """Of all servers, the earliest new time first."""
        moves = (move for one in self.servers for move in one.proposal.moves)
        return sorted(moves, key=lambda move: (move.request_at, move.device))

    @property
    def stay(self) -> int:
        """Devices whose time is good as it is."""
        return sum(one.proposal.stay for one in self.servers)

    @property
    def unplaced(self) -> int:
        """Devices that ought to move and find no room in the window."""
        return sum(len(one.proposal.unplaced) for one in self.servers)

    @property
    def expiring(self) -> int:
        """Devices whose certificate would expire before their new time."""
        return sum(one.expiring for one in self.servers)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every move and what it was decided on: two proposals with one digest do the same."""
        digest = hashlib.sha256()
        for move in self.moves:
            seen = self.members[move.device]
            facts = (move.device, move.request_start_at, seen.request_at, seen.offset_seconds, seen.server_id)
            digest.update(repr(facts).encode())
        return digest.hexdigest()

    def items(self) -> Iterator[tuple[Device, dict[str, Any]]]:
        """Each device that moves with what `enrollment.moving.move_start` takes, as JSON holds it."""
        for move in self.moves:
            member = self.members[move.device]
            yield (
                Device(pk=move.device, name=member.name),
                {
                    "request_start_at": move.request_start_at.isoformat(),
                    "request_at": member.request_at.isoformat(),
                    "offset_seconds": member.offset_seconds,
                    "server": member.server_id,
                },
            )


def propose_spread(
    group: DeviceGroup,
    *,
    window_start: datetime,
    window_hours: int,
    only_within_maintenance: bool = False,
    now: datetime,
) -> Spread:
    """Start times for the devices of `group` with which no minute of the window exceeds its server's allowance.

    Looked at are the requests that the group's timers have waiting within REACH of the window; see
    `devices.rules.spread.propose`. Three queries. Raises ValidationError with a dict of fields.
    """
    window = _window(group, window_start, window_hours, only_within_maintenance, now)
    members = _members(group, window, now)
    first = min([minute_of(window.start), *(minute_of(member.request_at) for member in members.values())])
    first = max(first, minute_of(now))
    last = max([minute_of(window.end), *(minute_of(member.request_at) + 1 for member in members.values())])
    servers = ScepServer.objects.filter(pk__in={member.server_id for member in members.values()})
    staying = waves_of(
        scheduled([server.pk for server in servers], _horizon(window)).exclude(_movable(group, window, now))
    )
    found = []
    for server in servers:
        per_minute = OfServer(server).per_minute
        proposal = propose(
            [
                Waiting(device, member.request_at, member.offset_seconds)
                for device, member in members.items()
                if member.server_id == server.pk
            ],
            staying=expected(
                staying.get(server.pk, ()),
                now=minute_of(now),
                first=first,
                end=minute_of(_horizon(window)),
            ),
            per_minute=per_minute,
            window=window,
            now=minute_of(now),
        )
        found.append(
            ServerSpread(
                server,
                proposal,
                before=summarize(_within(proposal.before, first, last), per_minute),
                after=summarize(_within(proposal.after, first, last), per_minute),
                expiring=_expiring(proposal, members),
            )
        )
    return Spread(group, window, first, last, members, found)


def _window(
    group: DeviceGroup, start: datetime, hours: int, only_within_maintenance: bool, now: datetime
) -> Window:
    problems: dict[str, str] = {}
    if start < now:
        problems["window_start"] = _("The window must begin in the future.")
    if not 1 <= hours <= LONGEST_WINDOW_HOURS:
        problems["window_hours"] = _("Enter 1 to %(longest)d hours.") % {"longest": LONGEST_WINDOW_HOURS}
    day_hours: tuple[time, time] | None = None
    if only_within_maintenance:
        if group.maintenance_start is None or group.maintenance_end is None:
            problems["only_within_maintenance"] = _("This group has no maintenance window; enter one first.")
        else:
            day_hours = group.maintenance_start, group.maintenance_end
    if problems:
        raise ValidationError(problems)
    return Window(start, hours, zoneinfo.ZoneInfo(group.time_zone), day_hours)


def _horizon(window: Window) -> datetime:
    """How far the load has to be known: the longest window could be asked for next."""
    return window.start + timedelta(hours=LONGEST_WINDOW_HOURS) + REACH


def _movable(group: DeviceGroup, window: Window, now: datetime) -> Q:
    """The group's requests that a spread may move. One that a dispatcher holds is as good as sent."""
    movable = Q(
        device__group=group,
        trigger__in=[TriggerChoices.TIMER, TriggerChoices.PERIODIC],
        lease__isnull=True,
        request_at__lt=window.end + REACH,
        **{f"{SETTINGS}timer_enabled": True},
    )
    # what is overdue waits now, however long it has been waiting
    return movable if window.start - REACH <= now else movable & Q(request_at__gte=window.start - REACH)


def _members(group: DeviceGroup, window: Window, now: datetime) -> dict[int, Member]:
    rows = (
        IssuanceRequest.objects.filter(_movable(group, window, now), state=State.SCHEDULED)
        .exclude(server=None)
        .order_by()
        .values_list(
            "device",
            "device__name",
            "server",
            "request_at",
            f"{SETTINGS}offset_seconds",
            "device__expires_at",
        )
    )
    return {device: Member(*values) for device, *values in rows}


def _within(load: Mapping[int, int], first: int, end: int) -> dict[int, int]:
    return {minute: requests for minute, requests in load.items() if first <= minute < end}


def _expiring(proposal: Proposal, members: Mapping[int, Member]) -> int:
    moved = [(members[move.device], move.request_at) for move in proposal.moves]
    return sum(
        member.expires_at is not None and member.request_at < member.expires_at <= request_at
        for member, request_at in moved
    )


def next_peak(group: DeviceGroup, *, now: datetime, end: datetime) -> datetime | None:
    """The first minute before `end` with requests of `group` in it and more than its server's allowance in all."""
    servers = list(ScepServer.objects.filter(requests__device__group=group).distinct())
    requests = scheduled([server.pk for server in servers], end)
    ours, all_of_them = waves_of(requests.filter(device__group=group)), waves_of(requests)
    minutes = {"now": minute_of(now), "first": minute_of(now), "end": minute_of(end)}
    over = [
        minute
        for server in servers
        for load in [expected(all_of_them.get(server.pk, ()), **minutes)]
        for minute in expected(ours.get(server.pk, ()), **minutes)
        if load[minute] > OfServer(server).per_minute
    ]
    return moment_of(min(over)) if over else None
