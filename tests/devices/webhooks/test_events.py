"""What webhooks are told of: ended requests, in the transaction that ends them, and certificates that will expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import doorbell
from devices.audit import SYSTEM
from devices.models import Device, ExpiryNotice, Webhook, WebhookDelivery, summary
from devices.webhooks import deliver, expiring, service
from scep.authority import Authority
from scep.responder import Responder
from scep.server import serving
from tests.devices.enrollment.steps import Ca, Clock, Rings, timed, work
from tests.devices.factories import CHALLENGE, make_device, make_key
from tests.devices.webhooks.conftest import EVENTS, SECRET
from tests.devices.webhooks.receiver import Receiver
from tests.devices.webhooks.test_deliver import work as send

pytestmark = pytest.mark.django_db


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Rings:
    rung: Rings = []

    def ring(lease: object, ids: object) -> bool:
        rung.append((lease, list(ids)))  # type: ignore[arg-type, call-overload]
        return True

    monkeypatch.setattr(doorbell, "ring_workers", ring)
    return rung


@pytest.mark.parametrize("challenge", [CHALLENGE, "n0t-the-one"])
def test_a_request_that_ends_is_told_without_secrets(
    webhook: Webhook, receiver: Receiver, rings: Rings, challenge: str
) -> None:
    authority = Authority.create("Webhook CA", now=datetime.now(UTC))
    with serving(Responder(authority, challenge=CHALLENGE)) as url:
        device = timed(Ca(Responder(authority), url), challenge_password=challenge)
        while work(Clock(), rings):
            pass
    send(datetime.now(UTC))
    (told,) = receiver.received
    data = told["data"]
    assert data["device"] == {"id": device.pk, "name": device.name, "host": device.host, "serial_number": ""}
    if challenge == CHALLENGE:
        key = device.keys.get()
        assert told["type"] == "issuance_request.successful"
        assert data["request"]["status"] == "successful"
        assert data["certificate"]["fingerprint_sha256"] == key.fingerprint_sha256
        assert datetime.fromisoformat(data["certificate"]["not_after"]) == key.not_after
    else:
        assert told["type"] == "issuance_request.failed"
        assert (data["request"]["status"], data["certificate"]) == ("error", None)
        assert data["request"]["details"].startswith("Communication Error")
    for secret in (challenge, "PRIVATE KEY"):
        assert secret not in str(told)


class TestExpiring:
    @pytest.fixture
    def device(self) -> Device:
        """Its certificate expires in 30 days from `just_passed`."""
        device = make_device()
        make_key(device)
        summary.refresh([device.pk])
        device.refresh_from_db()
        return device

    def test_once_for_each_certificate(self, webhook: Webhook, receiver: Receiver, device: Device) -> None:
        assert device.expires_at is not None
        begins = device.expires_at - timedelta(days=30)
        assert expiring.announce_expiring(begins - timedelta(seconds=1)) == 0
        assert expiring.announce_expiring(begins) == 1
        assert expiring.announce_expiring(begins + timedelta(days=20)) == 0
        send(datetime.now(UTC))
        (told,) = receiver.received
        assert told["type"] == "certificate.expiring"
        assert told["data"]["device"]["name"] == device.name
        assert told["data"]["certificate"]["key"] == device.keys.get().pk
        WebhookDelivery.objects.all().delete()
        assert expiring.announce_expiring(begins + timedelta(days=25)) == 0, "also when the log is gone"

    def test_not_when_it_has_expired_or_was_replaced(self, webhook: Webhook, device: Device) -> None:
        assert device.expires_at is not None
        assert expiring.announce_expiring(device.expires_at) == 0
        newer = device.expires_at + timedelta(days=300)
        make_key(device, name="SCEP2", issued_at=device.expires_at - timedelta(days=5), not_after=newer)
        summary.refresh([device.pk])
        assert expiring.announce_expiring(device.expires_at - timedelta(days=1)) == 0

    def test_each_webhook_by_its_own_days(self, webhook: Webhook, device: Device) -> None:
        assert device.expires_at is not None
        url = "http://127.0.0.1:9/"
        late = service.create(
            SYSTEM, name="late", url=url, events=EVENTS, secret=SECRET, days_before_expiry=7
        )[0]
        service.create(SYSTEM, name="not", url=url, events=EVENTS[:2], secret=SECRET)
        assert expiring.announce_expiring(device.expires_at - timedelta(days=8)) == 1
        assert expiring.announce_expiring(device.expires_at - timedelta(days=7)) == 1
        assert list(WebhookDelivery.objects.order_by("pk").values_list("webhook", flat=True)) == [
            webhook.pk,
            late.pk,
        ]

    def test_it_costs_the_same_for_few_and_many(
        self, webhook: Webhook, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert device.expires_at is not None
        moment, counts = device.expires_at - timedelta(days=10), []
        for more in (0, 20):
            for _ in range(more):
                other = make_device()
                make_key(other)
                summary.refresh([other.pk])
            with CaptureQueriesContext(connection) as captured:
                assert expiring.announce_expiring(moment) == max(more, 1)
            counts.append(len(captured))
        assert counts[0] == counts[1]
        ExpiryNotice.objects.all().delete()
        monkeypatch.setattr(expiring, "BATCH", 15)
        assert [expiring.announce_expiring(moment) for _ in range(3)] == [15, 6, 0]


def test_the_turn_of_a_worker_is_shorter_than_its_lease() -> None:
    # one connection and one answer may each take the whole timeout
    assert deliver.TURN + timedelta(seconds=2 * deliver.TIMEOUT_SECONDS) < deliver.LEASE
    assert timedelta(hours=23) < sum(deliver.RETRY_AFTER, timedelta()) < timedelta(days=1)
