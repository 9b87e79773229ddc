"""Killed anywhere, doubled, overtaken or claimed by many: a device is asked once."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from devices import audit, doorbell
from devices.audit import SYSTEM
from devices.delivery import dispatch, restart, runner
from devices.delivery.connectors.base import Capability, Sighting
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.turn import MOST_TAKEOVERS, RestartTurn
from devices.models import Device, Restart
from devices.rules.restart import RestartState
from tests.devices.delivery.conftest import Bench

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """As kill -9 would: nothing after it runs."""


class TestCrashes:
    def kill_at(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
        original = getattr(owner, name)

        def once(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(owner, name, original)
            if after:
                original(*args, **kwargs)
            raise Killed

        monkeypatch.setattr(owner, name, once)

    def crash(self, bench: Bench) -> Restart:
        with pytest.raises(Killed):
            bench.step()
        assert bench.work() == 0, "its lease still runs"
        return bench.newest

    def test_between_the_request_and_its_record_it_is_not_restarted_twice(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        boots = bench.ask()
        self.kill_at(monkeypatch, VirtualConnector, "restart", after=True)
        assert self.crash(bench).state == "requested"
        bench.until_back()
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_between_the_commit_and_the_first_byte_it_is_asked_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        boots = bench.ask()
        self.kill_at(monkeypatch, VirtualConnector, "restart", after=False)
        assert self.crash(bench).state == "requested"
        row = bench.step()
        while row.state in ("requested", "waiting"):
            row = bench.step()
        assert row.state == "coming_back"
        bench.until_back()
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_while_it_looks(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.ask()
        self.kill_at(monkeypatch, VirtualConnector, "look", after=True)
        assert self.crash(bench).state == "waiting"
        assert bench.step().state == "coming_back"

    def test_at_the_end(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.ask()
        bench.step()
        bench.until_back()
        self.kill_at(monkeypatch, audit, "record", after=False)
        assert self.crash(bench).state == "coming_back", "the end is one transaction"
        assert bench.step().state == "done"

    def test_one_that_is_begun_again_and_again_is_given_up(self, bench: Bench) -> None:
        bench.ask()
        Restart.objects.update(takeovers=MOST_TAKEOVERS)
        assert (bench.step().state, bench.newest.explanation) == ("failed", runner.NEVER_ENDED)

    def test_a_doubled_or_late_task_does_nothing(self, bench: Bench) -> None:
        boots = bench.ask()
        lease, ids = dispatch.claim_due(bench.clock())
        for _ in range(3):
            runner.advance(ids[0], lease, clock=bench.clock)
        bench.until_back()
        assert (bench.newest.state, bench.boots) == ("coming_back", boots + 1)

    def test_an_overtaken_worker_writes_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        look, overtaken = VirtualConnector.look, [False]

        def slow(connector: VirtualConnector) -> Sighting:
            seen = look(connector)
            if not overtaken[0]:
                overtaken[0] = True
                bench.clock.ahead += timedelta(minutes=5)
                bench.work()  # the successor asks
            return seen

        monkeypatch.setattr(VirtualConnector, "look", slow)
        boots = bench.ask()
        bench.work()
        bench.until_back()
        assert (bench.newest.state, bench.boots) == ("coming_back", boots + 1), "asked once"

    def test_a_device_that_is_deleted_meanwhile(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self_restart = VirtualConnector.restart

        def deleted(connector: VirtualConnector) -> None:
            self_restart(connector)
            Device.objects.filter(pk=bench.device.pk).delete()

        monkeypatch.setattr(VirtualConnector, "restart", deleted)
        bench.ask()
        bench.work()
        assert not Restart.objects.exists()

    def test_a_connector_that_is_taken_away_meanwhile(self, bench: Bench) -> None:
        bench.ask()
        bench.step()
        bench.connect("none")
        row = bench.step()
        assert row.state == "failed"
        assert "has no connector" in row.explanation


class TestDispatch:
    def test_what_is_not_due_or_leased_is_left_alone(self, bench: Bench) -> None:
        bench.ask()
        assert dispatch.dispatch_due(bench.clock() - timedelta(minutes=1)) == 0
        assert dispatch.dispatch_due(bench.clock()) == 1
        assert dispatch.dispatch_due(bench.clock()) == 0

    def test_what_could_not_be_rung_for_is_given_back(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doorbell, "ring_restart_workers", lambda _lease, _ids: False)
        bench.ask()
        dispatch.dispatch_due(bench.clock())
        assert bench.newest.lease is None

    def test_no_more_than_workers_can_carry(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatch, "MOST_CLAIMED_AT_ONCE", 1)
        bench.ask()
        other = Device.objects.create(name="other", host="10.9.9.9", connector="virtual")
        restart.request_restart(SYSTEM, other)
        assert dispatch.dispatch_due(bench.clock()) == 1
        assert dispatch.dispatch_due(bench.clock()) == 0

    @pytest.mark.django_db(transaction=True)
    def test_two_dispatchers_and_workers_ask_once(self, bench: Bench) -> None:
        boots = bench.ask()
        start, claimed = threading.Barrier(2), []

        def work() -> None:
            try:
                start.wait(60)
                lease, ids = dispatch.claim_due(bench.clock())
                claimed.extend(ids)
                for restart_id in ids:
                    runner.advance(restart_id, lease, clock=bench.clock)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        bench.until_back()
        assert (claimed, bench.boots) == ([bench.newest.pk], boots + 1)

    def test_capabilities_are_what_the_connector_says(self) -> None:
        expected = {Capability.IDENTIFY, Capability.RESTART, Capability.INSTALL, Capability.REMOVE}
        assert VirtualConnector.capabilities == expected

    def test_a_lease_outlives_the_longest_turn(self, bench: Bench) -> None:
        restart.request_restart(SYSTEM, bench.device)
        lease, ids = dispatch.claim_due(bench.clock())
        turn = RestartTurn.begin(ids[0], lease, bench.clock)
        assert turn
        assert turn.lease_end() - bench.clock() > timedelta(seconds=2 * VirtualConnector.patience)
        assert isinstance(turn.lease, uuid.UUID)
        assert RestartState(turn.restart.state) is RestartState.WAITING
