"""Claiming due requests: each once, within the server's allowance, and none lost (F2)."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from devices import doorbell
from devices.audit import SYSTEM
from devices.enrollment import dispatch, requests, runner
from devices.models import IssuanceRequest
from fleet.celery import app
from tests.devices.factories import just_passed, make_device, make_server, make_timed_device


def later() -> datetime:
    """When dispatchers and workers look: the start of a timed device is due."""
    return just_passed() + timedelta(minutes=30)


class Bell:
    """Records the rings in place of a broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rings: list[tuple[uuid.UUID, list[int]]] = []
        self.broken = False
        monkeypatch.setattr(doorbell, "ring_workers", self.ring)

    def ring(self, lease: uuid.UUID, request_ids: Sequence[int]) -> bool:
        if not self.broken:
            self.rings.append((lease, list(request_ids)))
        return not self.broken

    def answer(self, now: datetime) -> None:
        """Take one step for everything that was rung for, as a worker does; nobody listens at the servers."""
        while self.rings:
            lease, ids = self.rings.pop(0)
            for request_id in ids:
                runner.advance(request_id, lease, clock=lambda: now)

    @property
    def ids(self) -> list[int]:
        return [request_id for _lease, ids in self.rings for request_id in ids]


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Bell:
    return Bell(monkeypatch)


@pytest.mark.django_db
class TestDispatch:
    def test_what_is_due_is_claimed_and_rung_for_and_nothing_else(self, bell: Bell) -> None:
        server = make_server()
        due = [make_timed_device(server) for _ in range(3)]
        waiting = make_timed_device(server, request_start_at=later() + timedelta(seconds=1))
        assert dispatch.dispatch_due(later()) == 3
        rows = {request.device_id: request for request in IssuanceRequest.objects.all()}
        assert sorted(bell.ids) == sorted(rows[device.pk].pk for device in due)
        lease = bell.rings[0][0]
        for device in due:
            assert rows[device.pk].lease == lease
            assert rows[device.pk].next_action_at == later() + timedelta(
                seconds=settings.DISPATCH_LEASE_SECONDS
            )
        assert rows[waiting.pk].lease is None

    def test_a_claimed_request_is_left_alone_until_its_lease_runs_out(self, bell: Bell) -> None:
        make_timed_device(make_server())
        dispatch.dispatch_due(later())
        lease_end = later() + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS)
        assert dispatch.dispatch_due(lease_end - timedelta(milliseconds=1)) == 0
        assert dispatch.dispatch_due(lease_end) == 1
        first, second = bell.rings
        assert first[1] == second[1]
        assert first[0] != second[0], "the first ring's lease is void"

    def test_the_longest_due_come_first(self, bell: Bell) -> None:
        server = make_server(max_requests_at_once=1)
        make_timed_device(server)
        longest = make_timed_device(server, request_start_at=just_passed() - timedelta(minutes=1))
        dispatch.dispatch_due(later())
        assert bell.ids == [IssuanceRequest.objects.get(device=longest).pk]

    def test_most_at_once_counts_what_is_in_flight(self, bell: Bell) -> None:
        server = make_server(max_requests_at_once=2)
        for _ in range(5):
            make_timed_device(server)
        assert dispatch.dispatch_due(later()) == 2
        assert dispatch.dispatch_due(later()) == 0
        end(bell.ids[0])
        assert dispatch.dispatch_due(later()) == 1

    def test_most_per_minute_counts_what_was_claimed_lately(self, bell: Bell) -> None:
        server = make_server(max_requests_per_minute=3)
        for _ in range(7):
            make_timed_device(server)
        assert dispatch.dispatch_due(later()) == 3
        bell.answer(later())
        assert dispatch.dispatch_due(later() + timedelta(seconds=59)) == 0
        assert dispatch.dispatch_due(later() + timedelta(seconds=60)) == 3

    def test_most_per_minute_counts_every_poll_within_it(self, bell: Bell) -> None:
        device = make_timed_device(
            make_server(max_requests_per_minute=3), polling_count=100, polling_interval_seconds=1
        )
        claimed = []
        for second in range(0, 75, 5):
            # as a worker leaves a request that is to be polled right away
            now = later() + timedelta(seconds=second)
            IssuanceRequest.objects.filter(device=device).update(lease=None, next_action_at=later())
            claimed.append(dispatch.dispatch_due(now))
            bell.answer(now)
        assert all(sum(claimed[first : first + 12]) <= 3 for first in range(len(claimed)))
        assert claimed[:4] == [1, 1, 1, 0], "not less than allowed"

    def test_most_per_minute_does_not_count_what_could_not_be_rung_for(self, bell: Bell) -> None:
        make_timed_device(make_server(max_requests_per_minute=2))
        bell.broken = True
        for second in range(0, 40, 2):
            dispatch.dispatch_due(later() + timedelta(seconds=second))
        bell.broken = False
        assert dispatch.dispatch_due(later() + timedelta(seconds=40)) == 1

    def test_most_per_minute_counts_from_when_a_worker_takes_a_request_up(self, bell: Bell) -> None:
        server = make_server(max_requests_per_minute=2)
        for _ in range(4):
            make_timed_device(server)
        assert dispatch.dispatch_due(later()) == 2
        late = later() + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS - 1)
        bell.answer(late)
        assert dispatch.dispatch_due(late + timedelta(seconds=59)) == 0
        assert dispatch.dispatch_due(late + timedelta(seconds=60)) == 2

    def test_a_worker_that_comes_after_its_lease_leaves_the_request_alone(self, bell: Bell) -> None:
        device = make_timed_device(make_server())
        dispatch.dispatch_due(later())
        ((lease, (request_id,)),) = bell.rings
        lease_end = later() + timedelta(seconds=settings.DISPATCH_LEASE_SECONDS)
        runner.advance(request_id, lease, clock=lambda: lease_end)
        request = IssuanceRequest.objects.get(device=device)
        assert (request.state, request.lease, request.takeovers) == ("scheduled", lease, 0)

    def test_one_servers_allowance_does_not_hold_up_another(self, bell: Bell) -> None:
        narrow, wide = make_server(max_requests_at_once=1), make_server()
        for _ in range(3):
            make_timed_device(narrow)
            make_timed_device(wide)
        assert dispatch.dispatch_due(later()) == 1 + 3

    def test_a_request_whose_server_was_removed_is_claimed_too(self, bell: Bell) -> None:
        device = make_timed_device(make_server())
        IssuanceRequest.objects.filter(device=device).update(server=None)
        assert dispatch.dispatch_due(later()) == 1

    def test_what_could_not_be_rung_for_is_given_back(self, bell: Bell) -> None:
        make_timed_device(make_server())
        bell.broken = True
        dispatch.dispatch_due(later())
        assert IssuanceRequest.objects.get().lease is None
        bell.broken = False
        assert dispatch.dispatch_due(later()) == 1

    def test_a_tick_costs_the_same_for_many_and_few(self, bell: Bell) -> None:
        server = make_server()
        queries = []
        for devices in (5, 50):
            for _ in range(devices):
                make_timed_device(server)
            with CaptureQueriesContext(connection) as captured:
                assert dispatch.dispatch_due(later()) == devices
            queries.append(len(captured))
        assert queries[0] == queries[1] <= 12

    def test_rings_carry_few_or_many_ids(self) -> None:
        assert [len(ids) for ids in dispatch.chunks(range(5))] == [1] * 5
        assert [len(ids) for ids in dispatch.chunks(range(60))] == [8] * 7 + [4]
        assert max(len(ids) for ids in dispatch.chunks(range(10_000))) == 100


def end(request_id: int) -> None:
    """As a worker ends a request."""
    IssuanceRequest.objects.filter(pk=request_id).update(
        state="failed", completed_at=later(), next_action_at=None, lease=None
    )


@pytest.mark.django_db(transaction=True)
def test_four_dispatchers_at_once_claim_every_request_exactly_once(bell: Bell) -> None:
    servers = [make_server(), make_server()]
    for number in range(60):
        make_timed_device(servers[number % 2])
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def ticks() -> None:
        try:
            start.wait(600)
            for _ in range(4):
                dispatch.dispatch_due(later())
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ticks) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert not failures
    assert Counter(bell.ids) == Counter(IssuanceRequest.objects.values_list("pk", flat=True))
    assert len(bell.ids) == 60


@pytest.mark.django_db(transaction=True)
def test_a_manual_request_rings_after_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def ring() -> bool:
        assert not connection.in_atomic_block
        seen.append(IssuanceRequest.objects.count())
        return True

    monkeypatch.setattr(doorbell, "ring_dispatcher", ring)
    device = make_device(make_server())
    requests.request_certificate(SYSTEM, device)
    assert seen == [1]


@pytest.mark.django_db(transaction=True)
def test_a_dead_broker_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    send = app.send_task
    with app.connection_for_write("redis://127.0.0.1:1/0") as dead:
        monkeypatch.setattr(app, "send_task", partial(send, connection=dead))
        request = requests.request_certificate(SYSTEM, make_device(make_server()))
        assert not doorbell.ring_workers(uuid.uuid4(), [request.pk])
    assert IssuanceRequest.objects.filter(pk=request.pk, state="scheduled").exists()
