"""Deliveries: signed, sent once more when they failed, given up after a day, and done by one worker at a time."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks
from cryptography.fernet import Fernet
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from devices import doorbell
from devices.audit import SYSTEM, Actor
from devices.models import AuditEvent, Webhook, WebhookDelivery
from devices.models.choices import WebhookEventChoices
from devices.webhooks import deliver, outbox, service, signing
from tests.devices.webhooks.conftest import EVENTS, SECRET
from tests.devices.webhooks.receiver import Receiver
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db

FAILED = WebhookEventChoices.ISSUANCE_FAILED


def work(now: datetime) -> int:
    """Claim and send everything that is due at `now`; returns how many webhooks had something."""
    claims = deliver.claim_due(now)
    for webhook_id, lease in claims:
        deliver.deliver(webhook_id, lease, clock=lambda: now)
    return len(claims)


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


class TestDelivered:
    def test_the_receiver_finds_it_genuine(self, webhook: Webhook, receiver: Receiver, now: datetime) -> None:
        outbox.announce(FAILED, {"device": {"name": "Büro"}}, now)
        work(now)
        assert receiver.forged == 0
        assert receiver.received == [
            {
                "type": "issuance_request.failed",
                "timestamp": now.isoformat(),
                "data": {"device": {"name": "Büro"}},
            }
        ]
        row = only()
        assert (row.state, row.attempts, row.status_code, row.lease) == ("delivered", 1, 204, None)
        assert receiver.ids == [f"msg_{row.message_id.hex}"]
        assert work(now) == 0, "once"

    def test_with_another_secret_it_is_forged(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        service.update(SYSTEM, webhook, secret=signing.draw_secret())
        outbox.announce(FAILED, {}, now)
        work(now)
        assert (receiver.forged, receiver.received) == (1, [])
        assert (only().state, only().status_code) == ("waiting", 401)

    def test_the_signature_is_that_of_the_specification(self) -> None:
        # the example of standard-webhooks/spec, made again by its own library
        body, message = json.dumps({"test": 2432232314}).encode(), "msg_p5jXN8AQM9LWM0D4loKWxJek"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        stamp = datetime.fromtimestamp(1614265330, tz=UTC)
        expected = standardwebhooks.Webhook(secret).sign(message, stamp, body.decode())
        assert signing.headers(secret, message, 1614265330, body)["webhook-signature"] == expected


class TestFailed:
    def test_it_is_tried_again_under_its_id_until_it_arrives(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        receiver.statuses, receiver.body = [500, 503, 200], b"out of order"
        outbox.announce(FAILED, {}, now)
        work(now)
        row = only()
        assert (row.state, row.attempts, row.status_code, row.answer) == ("waiting", 1, 500, "out of order")
        assert row.next_action_at == now + timedelta(seconds=5)
        assert work(now + timedelta(seconds=4)) == 0
        assert work(now + timedelta(seconds=5)) == 1
        assert work(now + timedelta(seconds=35)) == 1
        assert (only().state, only().attempts) == ("delivered", 3)
        assert len(set(receiver.ids)) == 1

    def test_after_a_day_it_is_given_up(self, webhook: Webhook, receiver: Receiver, now: datetime) -> None:
        receiver.statuses = [500]
        outbox.announce(FAILED, {}, now)
        moment: datetime | None = now
        while moment is not None:
            last = moment
            work(moment)
            moment = only().next_action_at
            # what receivers check, and what this test is not about
            receiver.forged = 0
        row = only()
        assert (row.state, row.attempts) == ("failed", len(deliver.RETRY_AFTER) + 1)
        assert timedelta(hours=23) < last - now < timedelta(hours=24)

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_a_redirect_is_not_followed(
        self, webhook: Webhook, receiver: Receiver, now: datetime, status: int
    ) -> None:
        receiver.statuses, receiver.headers = [status], {"Location": receiver.url + "/elsewhere"}
        outbox.announce(FAILED, {}, now)
        work(now)
        assert len(receiver.received) == 1
        assert (only().state, only().status_code) == ("waiting", status)

    def test_of_a_long_answer_the_beginning_is_kept(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        receiver.statuses, receiver.body = [500], b"\0\xff" + b"x" * 5_000_000
        outbox.announce(FAILED, {}, now)
        work(now)
        assert only().answer == "\N{REPLACEMENT CHARACTER}" * 2 + "x" * 998

    def test_nobody_there_and_the_rest_waits_a_moment(self, webhook: Webhook, now: datetime) -> None:
        Webhook.objects.update(url=f"http://127.0.0.1:{free_port()}/?token=hidden")
        for _ in range(3):
            outbox.announce(FAILED, {}, now)
        work(now)
        first, *rest = WebhookDelivery.objects.order_by("pk")
        assert (first.attempts, first.status_code) == (1, None)
        assert "No connection" in first.answer
        assert "hidden" not in first.answer
        assert [(row.attempts, row.lease, row.next_action_at) for row in rest] == [
            (0, None, now + deliver.BREATHER)
        ] * 2

    def test_who_hangs_is_left_after_the_timeout(
        self, webhook: Webhook, receiver: Receiver, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliver, "TIMEOUT_SECONDS", 0.2)
        receiver.hangs = True
        outbox.announce(FAILED, {}, now)
        work(now)
        assert "No answer within" in only().answer

    def test_what_answers_is_no_http(self, webhook: Webhook, now: datetime) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            Webhook.objects.update(url=f"https://127.0.0.1:{listener.getsockname()[1]}/")
            listener.close()
            outbox.announce(FAILED, {}, now)
            work(now)
        assert only().state == "waiting"

    def test_a_secret_that_no_key_opens_sends_nothing(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        outbox.announce(FAILED, {}, now)
        with override_settings(ENCRYPTION_KEYS=(Fernet.generate_key().decode(),)):
            work(now)
        assert receiver.received == []
        assert "FLEETSEAL_ENCRYPTION_KEYS" in only().answer


class TestClaims:
    def test_one_worker_for_each_webhook_at_a_time(self, webhook: Webhook, now: datetime) -> None:
        other = service.create(SYSTEM, name="Other", url="http://127.0.0.1:9/", events=EVENTS, secret=SECRET)[
            0
        ]
        outbox.announce(FAILED, {}, now)
        assert {webhook_id for webhook_id, _ in deliver.claim_due(now)} == {webhook.pk, other.pk}
        outbox.announce(FAILED, {}, now)
        assert deliver.claim_due(now) == []

    def test_who_died_is_succeeded_and_changes_nothing_any_more(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        outbox.announce(FAILED, {}, now)
        ((_, dead),) = deliver.claim_due(now)
        row = WebhookDelivery.objects.get(lease=dead)
        assert deliver.claim_due(now + deliver.LEASE - timedelta(seconds=1)) == []
        later = now + deliver.LEASE
        assert work(later) == 1
        deliver._record(row, dead, deliver._Outcome(500, ""), later)
        assert only().state == "delivered"

    def test_a_ring_that_nobody_heard_gives_the_claim_back(
        self, webhook: Webhook, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doorbell, "ring_webhook", lambda *_: False)
        outbox.announce(FAILED, {}, now)
        deliver.ring_for_due(now)
        assert (only().lease, only().next_action_at) == (None, now)

    def test_a_turn_ends_and_the_rest_is_rung_for(
        self, webhook: Webhook, receiver: Receiver, now: datetime, rung: list[str]
    ) -> None:
        for _ in range(3):
            outbox.announce(FAILED, {}, now)
        ((webhook_id, lease),) = deliver.claim_due(now)
        ticks = iter([now, now, now, now + deliver.TURN, now + deliver.TURN])
        deliver.deliver(webhook_id, lease, clock=lambda: next(ticks))
        assert WebhookDelivery.objects.filter(state="delivered").count() == 1
        assert WebhookDelivery.objects.filter(state="waiting", lease=None).count() == 2
        assert rung == ["webhooks"]

    def test_disabled_ones_wait_and_deleted_ones_are_gone(
        self, webhook: Webhook, receiver: Receiver, now: datetime
    ) -> None:
        outbox.announce(FAILED, {}, now)
        service.update(SYSTEM, webhook, is_enabled=False)
        assert work(now) == 0
        outbox.announce(FAILED, {}, now)
        service.update(SYSTEM, webhook, is_enabled=True)
        assert work(now) == 1
        assert len(receiver.received) == 1, "what happened meanwhile is not told"
        deliver.deliver(webhook.pk + 1, uuid.uuid4())
        service.delete(SYSTEM, webhook)
        assert not WebhookDelivery.objects.exists()

    def test_looking_costs_one_query_when_nothing_is_due(self, webhook: Webhook, now: datetime) -> None:
        with CaptureQueriesContext(connection) as captured:
            deliver.claim_due(now)
        assert len(captured) == 1


class TestOutbox:
    def test_an_event_costs_the_same_for_one_webhook_and_many(self, webhook: Webhook, now: datetime) -> None:
        counts = []
        for more in (0, 30):
            for number in range(more):
                service.create(
                    SYSTEM, name=f"hook {number}", url="http://127.0.0.1:9/", events=EVENTS, secret=SECRET
                )
            with CaptureQueriesContext(connection) as captured:
                outbox.announce(FAILED, {}, now)
            counts.append(len(captured))
        assert counts == [2, 2]
        assert WebhookDelivery.objects.count() == 1 + 31

    def test_who_did_not_ask_is_not_told(self, webhook: Webhook, now: datetime) -> None:
        service.update(SYSTEM, webhook, events=["certificate.expiring"])
        with CaptureQueriesContext(connection) as captured:
            outbox.announce(FAILED, {}, now)
        assert len(captured) == 1
        assert not WebhookDelivery.objects.exists()

    def test_what_is_old_is_removed(self, webhook: Webhook, now: datetime) -> None:
        outbox.announce(FAILED, {}, now)
        work(now)
        assert deliver.forget(now + deliver.KEPT - timedelta(seconds=1)) == 0
        assert deliver.forget(now + deliver.KEPT) == 1


class TestService:
    def test_a_secret_is_drawn_and_stored_encrypted(self, actor: Actor) -> None:
        webhook, secret = service.create(actor, name="x", url="http://10.0.0.1/", events=EVENTS)
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        assert secret.encode() not in bytes(webhook.secret_encrypted)
        assert webhook.reveal_secret() == secret

    @pytest.mark.parametrize(
        "secret", ["short", "whsec_AAAA", "whsec_" + "A" * 200, "no base 64 at all, is it?"]
    )
    def test_what_is_no_secret_is_refused(self, actor: Actor, secret: str) -> None:
        with pytest.raises(ValidationError) as refused:
            service.create(actor, name="x", url="http://10.0.0.1/", events=EVENTS, secret=secret)
        assert set(refused.value.message_dict) == {"secret"}
        assert secret not in str(refused.value)

    def test_it_is_on_record_without_what_only_its_owner_should_know(self, actor: Actor) -> None:
        url = "https://hooks.example.com/services/T0KEN?key=hidden"
        webhook, secret = service.create(actor, name="x", url=url, events=EVENTS)
        service.update(actor, webhook, url=url + "2", secret=SECRET, days_before_expiry=7)
        service.send_test(actor, webhook)
        service.delete(actor, webhook)
        events = list(AuditEvent.objects.order_by("pk"))
        assert [event.action.removeprefix("webhook.") for event in events] == [
            "create",
            "update",
            "test",
            "delete",
        ]
        text = str([event.changes for event in events])
        for hidden in ("T0KEN", "hidden", secret, SECRET):
            assert hidden not in text
        assert events[1].changes == {"days_before_expiry": [30, 7], "url": "changed", "secret": "changed"}


def test_nothing_of_the_environment_leads_astray(
    webhook: Webhook, receiver: Receiver, now: datetime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    outbox.announce(FAILED, {}, now)
    work(now)
    assert len(receiver.received) == 1
