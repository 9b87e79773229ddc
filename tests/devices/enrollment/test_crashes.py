"""Killed anywhere, doubled or overtaken: the request goes on with its first key, and is sent once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections

from devices.audit import SYSTEM
from devices.enrollment import connection as key_making
from devices.enrollment import dispatch, ending, requests, runner
from devices.enrollment.turn import Turn
from devices.models import Device, IssuanceRequest, KeyAndCertificate
from devices.rules.lifecycle import State
from scep.client import ScepClient
from scep.exchange import HttpRequest
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """As kill -9 would: nothing after it runs."""


class TestCrashes:
    """Killed anywhere, the request goes on with its first key and transaction ID."""

    def kill_at(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def once(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(owner, name, original)
            raise Killed

        monkeypatch.setattr(owner, name, once)

    def crash_and_go_on(self, clock: Clock, rings: Rings) -> None:
        with pytest.raises(Killed):
            work(clock, rings)
        assert work(clock, rings) == 0, "its lease still runs"
        clock.ahead += timedelta(minutes=5)
        assert work(clock, rings) == 1

    def test_before_the_first_byte(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, ScepClient, "_send")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued")], "the server had seen nothing: no CertPoll is needed"

    def test_between_committing_and_sending(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timed(ca)
        work(clock, rings)
        device = timed(ca)
        self.kill_at(monkeypatch, ScepClient, "_send")
        with pytest.raises(Killed):
            work(clock, rings)
        crashed = IssuanceRequest.objects.get(device=device)
        assert crashed.state == State.SENT
        clock.ahead += timedelta(minutes=5)
        work(clock, rings)
        assert ended(device).transaction_id == crashed.transaction_id
        assert ca.log[1:] == [("CertPoll", "failure 4"), ("PKCSReq", "issued")]

    def test_between_the_answer_and_its_record(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, ending, "successful")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued"), ("CertPoll", "again")]
        assert len({message.public_key_sha256 for message in ca.responder.messages}) == 1

    def test_while_the_key_is_made(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        self.kill_at(monkeypatch, key_making, "new_transaction")
        self.crash_and_go_on(clock, rings)
        assert ended(device).state == State.SUCCESSFUL

    def test_a_doubled_or_late_task_does_nothing(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        device = timed(ca)
        dispatch.dispatch_due(clock())
        ((lease, ids),) = rings
        for _ in range(3):
            runner.advance(ids[0], lease, clock=clock)
        assert ca.log == [("PKCSReq", "issued")]
        assert ended(device).state == State.SUCCESSFUL

    def test_a_worker_that_was_thought_dead_cannot_write_over_its_successor(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        send = runner._before_send
        overtaken: list[Turn] = []

        def slow(turn: Turn, message: HttpRequest) -> None:
            if not overtaken:
                overtaken.append(turn)
                clock.ahead += timedelta(minutes=5)
                work(clock, rings)  # the successor does it all
            send(turn, message)

        monkeypatch.setattr(runner, "_before_send", slow)
        work(clock, rings)
        assert ca.log == [("PKCSReq", "issued")], "the overtaken worker sent nothing"
        assert ended(device).state == State.SUCCESSFUL
        assert KeyAndCertificate.objects.filter(device=device).count() == 1

    def test_a_device_that_is_deleted_meanwhile(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca)
        send = runner._before_send

        def deleted(turn: Turn, message: HttpRequest) -> None:
            send(turn, message)
            Device.objects.filter(pk=device.pk).delete()

        monkeypatch.setattr(runner, "_before_send", deleted)
        work(clock, rings)
        assert not KeyAndCertificate.objects.exists()

    def test_a_timer_that_is_switched_off_meanwhile(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = timed(ca, request_interval_days=30)
        send = runner._before_send

        def off(turn: Turn, message: HttpRequest) -> None:
            send(turn, message)
            requests.save_settings(SYSTEM, device, timer_enabled=False)

        monkeypatch.setattr(runner, "_before_send", off)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert not IssuanceRequest.objects.filter(device=device, state=State.SCHEDULED).exists()


class TestNetwork:
    def test_no_transaction_spans_the_network(
        self, ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        depth = len(connection.savepoint_ids)
        original = ScepClient._send

        def watched(client: ScepClient, request: HttpRequest) -> Any:
            assert len(connection.savepoint_ids) == depth
            return original(client, request)

        monkeypatch.setattr(ScepClient, "_send", watched)
        device = timed(ca)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_task_send_one_request(ca: Ca, clock: Clock, rings: Rings) -> None:
    devices = [timed(ca) for _ in range(4)]
    dispatch.dispatch_due(clock())
    start = threading.Barrier(2)

    def worker() -> None:
        try:
            start.wait(600)
            for lease, ids in list(rings):
                for request_id in ids:
                    runner.advance(request_id, lease, clock=clock)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert [ended(device).state for device in devices] == [State.SUCCESSFUL] * 4
    assert sorted(ca.log) == [("PKCSReq", "issued")] * 4
