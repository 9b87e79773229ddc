"""Restarts against real virtual MFPs: done, late, never, refused, broken off, and killed anywhere (R7, R13)."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections

from devices import audit, doorbell, restarts
from devices.audit import SYSTEM
from devices.delivery import dispatch, restart, runner
from devices.delivery.connectors.base import Activity, Capability, Connector, Sighting
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.errors import ConnectionLost, Unreachable
from devices.models import AuditEvent, Device, Restart
from devices.models.choices import RestartTriggerChoices
from devices.rules.restart import BACK_WITHIN, MOST_TRIES, SETTLED_AFTER, RestartState
from tests.devices.delivery.conftest import Bench
from tests.peers.process import free_port, wait_until

pytestmark = pytest.mark.django_db


def ask(bench: Bench) -> int:
    """Open a restart; how often the device has started so far."""
    boots = bench.boots
    restart.request_restart(SYSTEM, bench.device)
    return boots


def until_back(bench: Bench) -> None:
    wait_until(lambda: bench.mfps.is_back(bench.number), timeout=10, what="the virtual MFP being back")


class TestOrdinary:
    def test_a_device_restarts_and_is_watched_until_it_is_back(self, bench: Bench) -> None:
        boots = ask(bench)
        asked = bench.step()
        assert (asked.state, asked.boot_count, asked.lease) == ("coming_back", boots, None)
        until_back(bench)
        done = bench.step()
        assert (done.state, done.explanation, bench.boots) == ("done", "", boots + 1)
        assert done.completed_at
        assert done.requested_at
        event = AuditEvent.objects.get(action="restart.done")
        assert (event.target_id, event.changes["asked_by"]) == (bench.device.pk, "system")

    @pytest.mark.parametrize("silent", [False, True])
    def test_one_that_comes_back_late_is_waited_for(self, bench: Bench, silent: bool) -> None:
        bench.behave(restart_seconds=600, silent=silent)
        boots = ask(bench)
        bench.step()
        for _ in range(5):
            away = bench.step()
            assert (away.state, away.seen_away) == ("coming_back", True)
        late = bench.newest
        assert late.next_action_at
        assert late.requested_at
        assert late.next_action_at - late.requested_at > timedelta(seconds=5)
        bench.behave(restart_seconds=0)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_one_that_never_comes_back_is_given_up_with_what_to_do(self, bench: Bench) -> None:
        bench.behave(never_comes_back=True)
        ask(bench)
        steps = 0
        while (row := bench.step()).state == "coming_back":
            steps += 1
        assert (row.state, row.explanation) == ("failed", runner.NEVER_CAME_BACK)
        assert row.requested_at
        assert row.completed_at
        assert BACK_WITHIN <= row.completed_at - row.requested_at < BACK_WITHIN + timedelta(minutes=1)
        assert steps < 60
        assert (
            AuditEvent.objects.get(action="restart.failed").changes["explanation"] == runner.NEVER_CAME_BACK
        )

    def test_a_refusal_ends_it_at_once(self, bench: Bench) -> None:
        bench.behave(refuses=True)
        boots = ask(bench)
        row = bench.step()
        assert row.state == "refused"
        assert "Permit it at the device" in row.explanation
        assert bench.boots == boots

    def test_a_busy_device_is_restarted_when_its_job_has_ended(self, bench: Bench) -> None:
        bench.behave(busy=True)
        boots = ask(bench)
        for tries in range(1, 4):
            row = bench.step()
            assert (row.state, row.tries, row.explanation) == ("waiting", tries, runner.BUSY)
        bench.behave()
        assert bench.step().state == "coming_back"
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_but_not_for_ever(self, bench: Bench) -> None:
        bench.behave(busy=True)
        boots = ask(bench)
        for _ in range(MOST_TRIES):
            row = bench.step()
        assert (row.state, row.explanation, bench.boots) == ("failed", runner.BUSY_TOO_LONG, boots)

    def test_a_job_that_began_between_look_and_request(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = VirtualConnector.look

        def then_busy(connector: VirtualConnector) -> Sighting:
            seen = look(connector)
            bench.behave(busy=True)
            return seen

        monkeypatch.setattr(VirtualConnector, "look", then_busy)
        boots = ask(bench)
        row = bench.step()
        assert (row.state, row.tries) == ("waiting", 1)
        assert "busy with a job" in row.explanation
        assert bench.boots == boots

    def test_a_device_that_does_not_answer_is_tried_a_number_of_times(self, bench: Bench) -> None:
        bench.connect("virtual", url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        restart.request_restart(SYSTEM, bench.device)
        for tries in range(1, MOST_TRIES):
            row = bench.step()
            assert (row.state, row.tries) == ("waiting", tries)
        row = bench.step()
        assert row.state == "failed"
        assert "Check that it is switched on" in row.explanation
        assert row.requested_at is None, "it was never asked"


class TestUnknownOutcome:
    """The device may have been asked: it is looked at, and never restarted twice."""

    def test_the_connection_breaks_after_the_request_was_taken(self, bench: Bench) -> None:
        bench.behave(drops="after")
        boots = ask(bench)
        row = bench.step()
        assert (row.state, row.explanation) == ("requested", runner.UNSURE)
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_the_device_is_seen_restarting(self, bench: Bench) -> None:
        bench.behave(drops="after", restart_seconds=600)
        ask(bench)
        bench.step()
        assert bench.step().state == "coming_back"

    def test_the_connection_breaks_before_the_request_was_taken(self, bench: Bench) -> None:
        bench.behave(drops="before")
        boots = ask(bench)
        row = bench.step()
        first = row.requested_at
        assert first
        while row.state == "requested":
            row = bench.step()
        assert (row.state, row.explanation, bench.boots) == ("waiting", runner.NOT_TAKEN, boots)
        assert bench.clock() - first >= SETTLED_AFTER, "some devices go down a while after their answer"
        assert bench.step().state == "coming_back"
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_a_device_that_tells_nothing_is_not_asked_twice(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[object] = []

        def look(_connector: Connector) -> Sighting:
            return Sighting(Activity.UNKNOWN)

        def lost(connector: Connector) -> None:
            asked.append(connector)
            raise ConnectionLost("The connection broke.")

        monkeypatch.setattr(VirtualConnector, "look", look)
        monkeypatch.setattr(VirtualConnector, "restart", lost)
        ask(bench)
        row = bench.step()
        while row.state == "requested":
            row = bench.step()
        assert (row.state, row.explanation) == ("failed", runner.CANNOT_BE_TOLD)
        assert len(asked) == 1

    def test_a_device_without_a_counter_is_judged_by_its_uptime_or_by_being_away(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers: list[Sighting | Unreachable] = [
            *(Sighting(uptime_seconds=9000.0), Sighting(uptime_seconds=9002.0), Sighting(uptime_seconds=0.5)),
            *(Sighting(), Unreachable("Nobody there."), Sighting()),
        ]

        def look(_connector: Connector) -> Sighting:
            answer = answers.pop(0)
            if isinstance(answer, Unreachable):
                raise answer
            return answer

        monkeypatch.setattr(VirtualConnector, "look", look)
        monkeypatch.setattr(VirtualConnector, "restart", lambda _connector: None)
        for _ in range(2):
            restart.request_restart(SYSTEM, bench.device)
            assert [bench.step().state for _ in range(3)] == ["coming_back", "coming_back", "done"]

    def test_one_that_promised_and_still_runs_is_told(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(VirtualConnector, "restart", lambda _connector: None)
        ask(bench)
        row = bench.step()
        while row.state == "coming_back":
            row = bench.step()
        assert (row.state, row.explanation) == ("failed", runner.DID_NOT_RESTART)


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
        boots = ask(bench)
        self.kill_at(monkeypatch, VirtualConnector, "restart", after=True)
        assert self.crash(bench).state == "requested"
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_between_the_commit_and_the_first_byte_it_is_asked_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        boots = ask(bench)
        self.kill_at(monkeypatch, VirtualConnector, "restart", after=False)
        assert self.crash(bench).state == "requested"
        row = bench.step()
        while row.state in ("requested", "waiting"):
            row = bench.step()
        assert row.state == "coming_back"
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_while_it_looks(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        ask(bench)
        self.kill_at(monkeypatch, VirtualConnector, "look", after=True)
        assert self.crash(bench).state == "waiting"
        assert bench.step().state == "coming_back"

    def test_at_the_end(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        ask(bench)
        bench.step()
        until_back(bench)
        self.kill_at(monkeypatch, audit, "record", after=False)
        assert self.crash(bench).state == "coming_back", "the end is one transaction"
        assert bench.step().state == "done"

    def test_one_that_is_begun_again_and_again_is_given_up(self, bench: Bench) -> None:
        ask(bench)
        Restart.objects.update(takeovers=runner.MOST_TAKEOVERS)
        assert (bench.step().state, bench.newest.explanation) == ("failed", runner.NEVER_ENDED)

    def test_a_doubled_or_late_task_does_nothing(self, bench: Bench) -> None:
        boots = ask(bench)
        lease, ids = dispatch.claim_due(bench.clock())
        for _ in range(3):
            runner.advance(ids[0], lease, clock=bench.clock)
        until_back(bench)
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
        boots = ask(bench)
        bench.work()
        until_back(bench)
        assert (bench.newest.state, bench.boots) == ("coming_back", boots + 1), "asked once"

    def test_a_device_that_is_deleted_meanwhile(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self_restart = VirtualConnector.restart

        def deleted(connector: VirtualConnector) -> None:
            self_restart(connector)
            Device.objects.filter(pk=bench.device.pk).delete()

        monkeypatch.setattr(VirtualConnector, "restart", deleted)
        ask(bench)
        bench.work()
        assert not Restart.objects.exists()

    def test_a_connector_that_is_taken_away_meanwhile(self, bench: Bench) -> None:
        ask(bench)
        bench.step()
        bench.connect("none")
        row = bench.step()
        assert row.state == "failed"
        assert "has no connector" in row.explanation


def test_no_transaction_spans_the_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    depth, original = len(connection.savepoint_ids), VirtualConnector._ask
    calls: list[str] = []

    def watched(connector: VirtualConnector, method: str, what: str) -> Any:
        assert len(connection.savepoint_ids) == depth
        calls.append(what)
        return original(connector, method, what)

    monkeypatch.setattr(VirtualConnector, "_ask", watched)
    ask(bench)
    bench.step()
    assert calls == ["status", "restart"]


class TestR13Again:
    """A certificate that comes while the device restarts already has it restart once more."""

    def test_r13_another_restart_follows_one_that_had_begun(self, bench: Bench) -> None:
        boots = ask(bench)
        bench.step()
        assert restarts.after_certificate(bench.device, now=bench.clock())
        assert Restart.objects.count() == 1, "one open restart per device"
        until_back(bench)
        bench.step()
        first, second = Restart.objects.order_by("pk")
        assert (first.state, second.state) == ("done", "waiting")
        assert (second.trigger, second.asked_by) == (RestartTriggerChoices.AUTOMATIC, "system")
        bench.step()
        until_back(bench)
        assert (bench.step().state, bench.boots) == ("done", boots + 2)

    def test_r13_one_that_waits_serves(self, bench: Bench) -> None:
        ask(bench)
        assert restarts.after_certificate(bench.device, now=bench.clock())
        assert not bench.newest.again
        assert Restart.objects.count() == 1


class TestDispatch:
    def test_what_is_not_due_or_leased_is_left_alone(self, bench: Bench) -> None:
        ask(bench)
        assert dispatch.dispatch_due(bench.clock() - timedelta(minutes=1)) == 0
        assert dispatch.dispatch_due(bench.clock()) == 1
        assert dispatch.dispatch_due(bench.clock()) == 0

    def test_what_could_not_be_rung_for_is_given_back(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doorbell, "ring_restart_workers", lambda _lease, _ids: False)
        ask(bench)
        dispatch.dispatch_due(bench.clock())
        assert bench.newest.lease is None

    def test_no_more_than_workers_can_carry(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatch, "MOST_CLAIMED_AT_ONCE", 1)
        ask(bench)
        other = Device.objects.create(name="other", host="10.9.9.9", connector="virtual")
        restart.request_restart(SYSTEM, other)
        assert dispatch.dispatch_due(bench.clock()) == 1
        assert dispatch.dispatch_due(bench.clock()) == 0

    @pytest.mark.django_db(transaction=True)
    def test_two_dispatchers_and_workers_ask_once(self, bench: Bench) -> None:
        boots = ask(bench)
        start, claimed = threading.Barrier(2), []

        def work() -> None:
            try:
                start.wait(10)
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
            thread.join(30)
        until_back(bench)
        assert (claimed, bench.boots) == ([bench.newest.pk], boots + 1)

    def test_capabilities_are_what_the_connector_says(self) -> None:
        assert VirtualConnector.capabilities == {Capability.IDENTIFY, Capability.RESTART}

    def test_a_lease_outlives_the_longest_turn(self, bench: Bench) -> None:
        restart.request_restart(SYSTEM, bench.device)
        lease, ids = dispatch.claim_due(bench.clock())
        turn = runner._begin(ids[0], lease, bench.clock)
        assert turn
        assert turn.lease_end() - bench.clock() > timedelta(seconds=2 * VirtualConnector.patience)
        assert isinstance(turn.lease, uuid.UUID)
        assert RestartState(turn.restart.state) is RestartState.WAITING
