"""A webhook with a receiver, and a broker that only notes who was rung."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from devices import doorbell
from devices.audit import SYSTEM
from devices.models import Webhook
from devices.webhooks import service, signing
from tests.devices.webhooks.receiver import Receiver, receiving

SECRET = signing.draw_secret()
EVENTS = ["issuance_request.successful", "issuance_request.failed", "certificate.expiring"]


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What workers were rung for, in place of a broker."""
    rings: list[str] = []

    def note(task: str) -> bool:
        rings.append(task)
        return True

    monkeypatch.setattr(doorbell, "ring_webhooks", lambda: note("webhooks"))
    monkeypatch.setattr(doorbell, "ring_webhook", lambda *_: note("webhook"))
    return rings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


@pytest.fixture
def webhook(receiver: Receiver, db: None) -> Webhook:
    return service.create(SYSTEM, name="CMDB", url=receiver.url, events=EVENTS, secret=SECRET)[0]


@pytest.fixture
def now() -> datetime:
    """The real time: receivers refuse what is older than five minutes."""
    return datetime.now(UTC)
