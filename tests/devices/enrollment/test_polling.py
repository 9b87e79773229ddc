"""R11: polling, and the cases that are never polled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.models import IssuanceRequest
from devices.rules.lifecycle import State
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


class TestPolling:
    """R11: [Perform Polling When Communication Error Occurs or When Issuance Request Is Deferred]."""

    def test_pending_is_polled_in_the_interval_until_issued(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(pending=2)
        device = timed(ca, polling_count=3, polling_interval_seconds=60)
        work(clock, rings)
        waiting = IssuanceRequest.objects.get(device=device)
        assert (waiting.state, waiting.polls_left, waiting.lease) == (State.PENDING, 2, None)
        device.refresh_from_db()
        assert device.status == "processing"
        assert waiting.next_action_at is not None
        clock.stands_at = waiting.next_action_at - timedelta(seconds=1)
        assert work(clock, rings) == 0
        clock.stands_at = None
        for seconds in (61, 122):
            clock.ahead = timedelta(seconds=seconds)
            assert work(clock, rings) == 1
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "pending"), ("CertPoll", "pending"), ("CertPoll", "issued")]

    def test_deferred_when_no_poll_is_left(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(pending=9)
        device = timed(ca, polling_count=1, polling_interval_seconds=60)
        work(clock, rings)
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).details == "Deferred"

    def test_a_manual_request_is_not_polled(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(pending=1)
        device = make_device(ca.server, settings={"polling_count": 5})
        requests.request_certificate(SYSTEM, device, challenge_password=CHALLENGE)
        work(clock, rings)
        assert ended(device).details == "Deferred"

    def test_no_connection_is_tried_again_with_the_same_key(self, ca: Ca, clock: Clock, rings: Rings) -> None:
        ca.behave(drop=True)
        device = timed(ca, polling_count=2, polling_interval_seconds=60)
        work(clock, rings)
        waiting = IssuanceRequest.objects.get(device=device)
        assert waiting.state == State.SENT
        ca.behave()
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        line = ended(device)
        assert (line.state, line.transaction_id) == (State.SUCCESSFUL, waiting.transaction_id)
        assert ca.log == [("CertPoll", "failure 4"), ("PKCSReq", "issued")]

    def test_a_server_that_is_down_has_seen_nothing(self, clock: Clock, rings: Rings, db: None) -> None:
        device = make_timed_device(make_server(), polling_count=1, polling_interval_seconds=60)
        work(clock, rings)
        assert IssuanceRequest.objects.get(device=device).state == State.PREPARED
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).details == "Communication Error (TOP ERROR)"

    def test_a_lost_reply_is_asked_for_and_nothing_is_issued_twice(
        self, ca: Ca, clock: Clock, rings: Rings
    ) -> None:
        ca.behave(drop_replies=1)
        device = timed(ca, polling_count=2, polling_interval_seconds=60)
        work(clock, rings)
        clock.ahead = timedelta(seconds=61)
        work(clock, rings)
        assert ended(device).state == State.SUCCESSFUL
        assert ca.log == [("PKCSReq", "issued"), ("CertPoll", "again")]
