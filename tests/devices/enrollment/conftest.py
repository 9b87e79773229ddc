"""The fixtures of the runner's tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from devices import doorbell
from scep.authority import Authority
from scep.responder import Responder
from scep.server import serving
from tests.devices.enrollment.steps import Ca, Clock, Rings
from tests.devices.factories import CHALLENGE


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Runner CA", now=datetime.now(UTC))


@pytest.fixture
def ca(authority: Authority, db: None) -> Iterator[Ca]:
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        yield Ca(responder, url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Rings:
    """What the dispatcher rang for, in place of a broker."""
    rung: Rings = []

    def ring(lease: uuid.UUID, ids: Any) -> bool:
        rung.append((lease, list(ids)))
        return True

    monkeypatch.setattr(doorbell, "ring_workers", ring)
    return rung
