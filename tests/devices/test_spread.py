"""Spreading a device group: the proposal, and the job that applies it (F1, R9, R10)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import doorbell, inventory
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.enrollment.moving import Seen, move_start
from devices.errors import Conflict
from devices.forecast import forecast
from devices.jobs import spread as jobs
from devices.models import AuditEvent, Device, DeviceGroup, IssuanceRequest, ScepServer, ScepSettings
from devices.rules.lifecycle import State
from devices.rules.load import minute_of
from devices.spread import Spread, next_peak, propose_spread
from tests.conftest import member_of
from tests.devices.factories import make_device, make_key, make_server, make_timed_device
from tests.devices.transfer.files import work

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(second=0, microsecond=0)
PEAK = NOW + timedelta(hours=3)
"""The one start time of everybody."""


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


@pytest.fixture
def group() -> DeviceGroup:
    return inventory.create_group(SYSTEM, name="Head office", time_zone="Europe/Berlin")


@pytest.fixture
def server() -> ScepServer:
    return make_server(max_requests_per_minute=2)


def members(group: DeviceGroup | None, server: ScepServer, count: int = 10, **settings: Any) -> list[Device]:
    """Devices of the group whose timers are all set for the peak."""
    made = []
    for _ in range(count):
        device = make_timed_device(
            server, **{"request_start_at": PEAK, "request_interval_days": 30} | settings
        )
        inventory.update_device(SYSTEM, device, group=group)
        made.append(device)
    return made


def proposed(group: DeviceGroup, **changes: Any) -> Spread:
    window: dict[str, Any] = {"window_start": PEAK, "window_hours": 1, "now": NOW}
    return propose_spread(group, **window | changes)


def times(devices: list[Device]) -> list[datetime]:
    stored = IssuanceRequest.objects.filter(device__in=devices, state=State.SCHEDULED)
    return list(stored.order_by("device").values_list("request_at", flat=True))


class TestProposal:
    def test_f1_no_minute_is_over_the_allowance(self, group: DeviceGroup, server: ScepServer) -> None:
        # offsets of 1 to 600 s leave eleven minutes, with room for 22
        members(group, server, 40, auto_adjust=True)
        spread = proposed(group)
        (one,) = spread.servers
        assert max(one.proposal.after.values()) <= 2
        assert one.before.requests == one.after.requests == 40
        assert not one.before.fits
        assert one.after.fits
        assert len(spread.moves) + spread.stay == 40
        assert spread.unplaced == 0

    def test_f1_the_load_of_everybody_else_stays_and_counts(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        ours = members(group, server, 4)
        members(None, server, 3, request_start_at=PEAK + timedelta(minutes=1), request_interval_days=1)
        # what was asked for a month ago comes again every 30 days, within the window
        members(
            inventory.create_group(SYSTEM, name="Other"),
            server,
            2,
            request_start_at=PEAK + timedelta(minutes=2) - timedelta(days=28),
            request_interval_days=28,
        )
        IssuanceRequest.objects.filter(request_at__lt=NOW).update(
            request_at=PEAK + timedelta(minutes=2), next_action_at=PEAK + timedelta(minutes=2)
        )
        (one,) = proposed(group).servers
        taken = minute_of(PEAK)
        assert {minute_of(move.request_at) for move in one.proposal.moves}.isdisjoint({taken + 1, taken + 2})
        assert one.proposal.after[taken + 1] == 3
        assert one.after.minutes_over == 1, "others' surplus is not ours to move"
        assert {move.device for move in one.proposal.moves} <= {device.pk for device in ours}

    def test_f1_each_server_has_its_own_allowance(self, group: DeviceGroup, server: ScepServer) -> None:
        other = make_server(max_requests_per_minute=5)
        members(group, server)
        members(group, other)
        found = {one.server: one for one in proposed(group).servers}
        assert [found[server].proposal.stay, found[other].proposal.stay] == [2, 5]
        assert max(found[other].proposal.after.values()) == 5

    def test_f1_a_server_without_an_allowance_is_assumed_one(self, group: DeviceGroup) -> None:
        members(group, make_server())
        (one,) = proposed(group).servers
        assert (one.per_minute, one.is_assumed, one.proposal.moves) == (60, True, ())

    def test_f1_what_is_far_from_the_window_under_way_or_off_is_left_alone(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        near = members(group, server, 3)
        members(group, server, 3, request_start_at=PEAK + timedelta(days=2))
        held, off = members(group, server, 2)
        IssuanceRequest.objects.filter(device=held).update(lease="00000000-0000-0000-0000-000000000001")
        requests.save_settings(SYSTEM, off, timer_enabled=False)
        inventory.update_device(SYSTEM, make_device(server), group=group)
        spread = proposed(group)
        assert set(spread.members) == {device.pk for device in near}
        (one,) = spread.servers
        assert one.before.requests == 4, "the one that a dispatcher holds is load that stays"

    def test_f1_a_periodic_request_keeps_the_offset_of_its_timer(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        devices = members(group, server, 3, auto_adjust=True)
        IssuanceRequest.objects.update(
            trigger="periodic", offset_seconds=0, request_at=PEAK, next_action_at=PEAK
        )
        (move,) = proposed(group).moves
        offset = ScepSettings.objects.get(device=move.device).offset_seconds or 0
        assert offset > 0
        assert move.request_at - move.request_start_at == timedelta(seconds=offset)
        assert move.device == devices[2].pk, "the first two keep their minute"

    def test_f1_only_within_the_maintenance_window(self, group: DeviceGroup, server: ScepServer) -> None:
        group = inventory.update_group(SYSTEM, group, maintenance_start=time(22), maintenance_end=time(4))
        members(group, server, 20)
        spread = proposed(group, window_hours=24, only_within_maintenance=True)
        hours = {move.request_at.astimezone(spread.window.zone).hour for move in spread.moves}
        assert hours <= {22, 23, 0, 1, 2, 3}

    def test_f1_too_small_a_window_is_said(self, group: DeviceGroup, server: ScepServer) -> None:
        members(group, server, 130)
        spread = proposed(group)
        (one,) = spread.servers
        # 60 minutes of two; the peak itself is the first of them
        assert (spread.stay, len(spread.moves), spread.unplaced) == (2, 118, 10)
        assert (one.proposal.enough_hours, one.proposal.enough_per_minute) == (2, 3)

    def test_a_certificate_that_would_expire_before_the_new_time_is_counted(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        for device in members(group, server, 4):
            make_key(device, not_after=PEAK + timedelta(minutes=45))
        Device.objects.update(expires_at=PEAK + timedelta(minutes=30))
        late = [move for move in proposed(group).moves if move.request_at >= PEAK + timedelta(minutes=30)]
        assert proposed(group).expiring == len(late) == 1

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"window_start": NOW - timedelta(seconds=1)}, "window_start"),
            ({"window_hours": 0}, "window_hours"),
            ({"window_hours": 337}, "window_hours"),
            ({"only_within_maintenance": True}, "only_within_maintenance"),
        ],
    )
    def test_a_window_that_makes_no_sense_is_refused(
        self, group: DeviceGroup, changes: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(ValidationError) as refused:
            proposed(group, **changes)
        assert set(refused.value.message_dict) == {field}

    def test_f1_it_costs_the_same_queries_for_few_and_many(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        queries = []
        for _ in range(2):
            members(group, server, 8)
            members(group, make_server(), 8)
            with CaptureQueriesContext(connection) as captured:
                proposed(group)
            queries.append(len(captured))
        assert queries == [3, 3]

    def test_the_next_peak_of_a_group(self, group: DeviceGroup, server: ScepServer) -> None:
        end = NOW + timedelta(days=90)
        assert next_peak(group, now=NOW, end=end) is None
        members(group, server, 3)
        assert next_peak(group, now=NOW, end=end) == PEAK
        assert next_peak(group, now=NOW, end=PEAK) is None

    def test_the_next_peak_counts_what_everybody_else_asks_for(
        self, group: DeviceGroup, server: ScepServer
    ) -> None:
        members(None, server, 2, request_start_at=PEAK - timedelta(minutes=5))
        members(None, server, 2)
        end = NOW + timedelta(days=20)
        assert next_peak(group, now=NOW, end=end) is None
        members(group, server, 1)
        assert next_peak(group, now=NOW, end=end) == PEAK


class TestJob:
    def test_f1_what_was_shown_is_what_is_applied(
        self, actor: Actor, group: DeviceGroup, server: ScepServer
    ) -> None:
        devices = members(group, server, 40, auto_adjust=True)
        offsets = list(ScepSettings.objects.order_by("device").values_list("offset_seconds", flat=True))
        spread = proposed(group)
        job = jobs.start(actor, spread)
        assert job.total == len(spread.moves)
        work()
        job.refresh_from_db()
        assert (job.state, job.done, job.refused) == ("finished", len(spread.moves), 0)
        (load,) = forecast([server], now=NOW, end=PEAK + timedelta(days=1))
        assert Counter(load.load) == Counter(spread.servers[0].proposal.after)
        assert load.summary.fits
        assert offsets == list(
            ScepSettings.objects.order_by("device").values_list("offset_seconds", flat=True)
        )
        assert len(set(times(devices))) >= 20
        assert proposed(group).moves == [], "spread once more, nobody moves"

    def test_f1_a_device_that_changed_since_is_refused_and_stays(
        self, actor: Actor, group: DeviceGroup, server: ScepServer
    ) -> None:
        members(group, server)
        spread = proposed(group)
        job = jobs.start(actor, spread)
        first, second, third = (Device.objects.get(pk=move.device) for move in spread.moves[:3])
        requests.save_settings(SYSTEM, first, request_start_at=PEAK + timedelta(hours=9))
        requests.save_settings(SYSTEM, second, server=make_server(), suspend_timers=True)
        requests.save_settings(SYSTEM, third, timer_enabled=False)
        before = times([first, second])
        work()
        job.refresh_from_db()
        assert (job.done, job.refused) == (len(spread.moves) - 3, 3)
        messages = dict(job.items.filter(state="refused").values_list("device", "message"))
        assert "changed since" in messages[first.pk]
        assert "changed since" in messages[second.pk]
        assert "timer is off" in messages[third.pk]
        assert times([first, second]) == before

    def test_r1_only_administrators_spread(self, group: DeviceGroup, server: ScepServer) -> None:
        members(group, server, 3)
        operator = Actor.of(member_of("Operator"), AuditEvent.Source.API)
        with pytest.raises(PermissionDenied):
            jobs.start(operator, proposed(group))

    def test_nobody_to_move_no_job(self, actor: Actor, group: DeviceGroup, server: ScepServer) -> None:
        members(group, server, 2)
        with pytest.raises(ValidationError):
            jobs.start(actor, proposed(group))

    def test_one_digest_one_proposal(self, group: DeviceGroup, server: ScepServer) -> None:
        devices = members(group, server, 5)
        digest = proposed(group).digest
        assert proposed(group, now=NOW + timedelta(minutes=5)).digest == digest
        assert proposed(group, window_hours=2).digest != digest
        requests.save_settings(SYSTEM, devices[4], request_start_at=PEAK + timedelta(seconds=1))
        assert proposed(group).digest != digest


class TestMoveStart:
    NEW = PEAK + timedelta(hours=2)

    def test_r10_the_offset_stays_and_nothing_else_changes(self, actor: Actor, server: ScepServer) -> None:
        (device,) = members(None, server, 1, auto_adjust=True, organization="Example")
        settings = ScepSettings.objects.filter(device=device)
        requested = IssuanceRequest.objects.filter(device=device)
        before, request_before = settings.values().get(), requested.values().get()
        move_start(actor, device, self.NEW)
        assert settings.values().get() == before | {"request_start_at": self.NEW}
        at = self.NEW + timedelta(seconds=before["offset_seconds"] or 0)
        assert requested.values().get() == request_before | {"request_at": at, "next_action_at": at}
        device.refresh_from_db()
        assert device.next_request_at == at

    def test_r9_a_periodic_request_becomes_one_of_the_timer(self, actor: Actor, server: ScepServer) -> None:
        (device,) = members(None, server, 1, auto_adjust=True)
        IssuanceRequest.objects.update(trigger="periodic", offset_seconds=0)
        settings = move_start(actor, device, self.NEW)
        request = IssuanceRequest.objects.get()
        assert (request.trigger, request.offset_seconds) == ("timer", settings.offset_seconds)

    def test_the_audit_trail_has_old_and_new(self, actor: Actor, server: ScepServer) -> None:
        (device,) = members(None, server, 1)
        move_start(actor, device, self.NEW)
        event = AuditEvent.objects.filter(action="scep_settings.update").first()
        assert event is not None
        assert event.actor_name == actor.name
        assert {
            name: [datetime.fromisoformat(one) for one in pair] for name, pair in event.changes.items()
        } == {
            "request_start_at": [PEAK, self.NEW],
            "request_at": [PEAK, self.NEW],
        }

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"state": State.FAILED, "completed_at": NOW, "next_action_at": None}, "no_request"),
            ({"trigger": "manual"}, "request_open"),
            (
                {
                    "state": State.PENDING,
                    "private_key_encrypted": b"k",
                    "csr_encrypted": b"c",
                    "signer_certificate": b"s",
                    "transaction_id": "1",
                },
                "request_open",
            ),
        ],
    )
    def test_what_cannot_be_moved(
        self, actor: Actor, server: ScepServer, change: dict[str, Any], code: str
    ) -> None:
        (device,) = members(None, server, 1)
        IssuanceRequest.objects.update(**change)
        with pytest.raises(Conflict) as refused:
            move_start(actor, device, self.NEW)
        assert refused.value.code == code
        assert ScepSettings.objects.get(device=device).request_start_at == PEAK

    def test_a_timer_that_is_off(self, actor: Actor, server: ScepServer) -> None:
        with pytest.raises(Conflict) as refused:
            move_start(actor, make_device(server), self.NEW)
        assert refused.value.code == "timer_disabled"

    def test_a_time_that_has_passed(self, actor: Actor, server: ScepServer) -> None:
        (device,) = members(None, server, 1)
        with pytest.raises(Conflict) as refused:
            move_start(actor, device, NOW - timedelta(seconds=1))
        assert refused.value.code == "time_passed"

    def test_what_was_seen_is_compared_whole(self, actor: Actor, server: ScepServer) -> None:
        (device,) = members(None, server, 1)
        good = Seen(server.pk, PEAK, 0)
        for other in (
            Seen(server.pk + 1, PEAK, 0),
            Seen(server.pk, PEAK + timedelta(seconds=1), 0),
            Seen(server.pk, PEAK, 1),
        ):
            with pytest.raises(Conflict) as refused:
                move_start(actor, device, self.NEW, seen=other)
            assert refused.value.code == "changed_since"
        move_start(actor, device, self.NEW, seen=good)

    def test_r1_only_administrators(self, server: ScepServer) -> None:
        (device,) = members(None, server, 1)
        operator = Actor.of(member_of("Operator"), AuditEvent.Source.API)
        with pytest.raises(PermissionDenied):
            move_start(operator, device, self.NEW)
