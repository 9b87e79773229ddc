"""Restarts against real virtual MFPs: done, late, never, refused, broken off (R7, R13)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from devices import restarts
from devices.audit import SYSTEM
from devices.delivery import restart, runner
from devices.delivery.connectors.base import Activity, Connector, Sighting
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.errors import ConnectionLost, Unreachable
from devices.models import AuditEvent, Restart
from devices.models.choices import RestartTriggerChoices
from devices.rules.restart import BACK_WITHIN, MOST_TRIES, SETTLED_AFTER
from tests.devices.delivery.conftest import Bench
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db


class TestOrdinary:
    def test_a_device_restarts_and_is_watched_until_it_is_back(self, bench: Bench) -> None:
        boots = bench.ask()
        asked = bench.step()
        assert (asked.state, asked.boot_count, asked.lease) == ("coming_back", boots, None)
        bench.until_back()
        done = bench.step()
        assert (done.state, done.explanation, bench.boots) == ("done", "", boots + 1)
        assert done.completed_at
        assert done.requested_at
        event = AuditEvent.objects.get(action="restart.done")
        assert (event.target_id, event.changes["asked_by"]) == (bench.device.pk, "system")

    @pytest.mark.parametrize("silent", [False, True])
    def test_one_that_comes_back_late_is_waited_for(self, bench: Bench, silent: bool) -> None:
        bench.behave(restart_seconds=600, silent=silent)
        boots = bench.ask()
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
        bench.ask()
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
        boots = bench.ask()
        row = bench.step()
        assert row.state == "refused"
        assert "Permit it at the device" in row.explanation
        assert bench.boots == boots

    def test_a_busy_device_is_restarted_when_its_job_has_ended(self, bench: Bench) -> None:
        bench.behave(busy=True)
        boots = bench.ask()
        for tries in range(1, 4):
            row = bench.step()
            assert (row.state, row.tries, row.explanation) == ("waiting", tries, runner.BUSY)
        bench.behave()
        assert bench.step().state == "coming_back"
        bench.until_back()
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_but_not_for_ever(self, bench: Bench) -> None:
        bench.behave(busy=True)
        boots = bench.ask()
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
        boots = bench.ask()
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
        boots = bench.ask()
        row = bench.step()
        assert (row.state, row.explanation) == ("requested", runner.UNSURE)
        bench.until_back()
        assert (bench.step().state, bench.boots) == ("done", boots + 1)

    def test_the_device_is_seen_restarting(self, bench: Bench) -> None:
        bench.behave(drops="after", restart_seconds=600)
        bench.ask()
        bench.step()
        assert bench.step().state == "coming_back"

    def test_the_connection_breaks_before_the_request_was_taken(self, bench: Bench) -> None:
        bench.behave(drops="before")
        boots = bench.ask()
        row = bench.step()
        first = row.requested_at
        assert first
        while row.state == "requested":
            row = bench.step()
        assert (row.state, row.explanation, bench.boots) == ("waiting", runner.NOT_TAKEN, boots)
        assert bench.clock() - first >= SETTLED_AFTER, "some devices go down a while after their answer"
        assert bench.step().state == "coming_back"
        bench.until_back()
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
        bench.ask()
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
        bench.ask()
        row = bench.step()
        while row.state == "coming_back":
            row = bench.step()
        assert (row.state, row.explanation) == ("failed", runner.DID_NOT_RESTART)


def test_no_transaction_spans_the_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    depth, original = len(connection.savepoint_ids), VirtualConnector._ask
    calls: list[str] = []

    def watched(connector: VirtualConnector, method: str, what: str) -> Any:
        assert len(connection.savepoint_ids) == depth
        calls.append(what)
        return original(connector, method, what)

    monkeypatch.setattr(VirtualConnector, "_ask", watched)
    bench.ask()
    bench.step()
    assert calls == ["status", "restart"]


class TestR13Again:
    """A certificate that comes while the device restarts already has it restart once more."""

    def test_r13_another_restart_follows_one_that_had_begun(self, bench: Bench) -> None:
        boots = bench.ask()
        bench.step()
        assert restarts.after_certificate(bench.device, now=bench.clock())
        assert Restart.objects.count() == 1, "one open restart per device"
        bench.until_back()
        bench.step()
        first, second = Restart.objects.order_by("pk")
        assert (first.state, second.state) == ("done", "waiting")
        assert (second.trigger, second.asked_by) == (RestartTriggerChoices.AUTOMATIC, "system")
        bench.step()
        bench.until_back()
        assert (bench.step().state, bench.boots) == ("done", boots + 2)

    def test_r13_one_that_waits_serves(self, bench: Bench) -> None:
        bench.ask()
        assert restarts.after_certificate(bench.device, now=bench.clock())
        assert not bench.newest.again
        assert Restart.objects.count() == 1
