"""The two sides: an office with the product, and the SCEP servers that it asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from devices import doorbell
from scep.authority import Authority
from scep.responder import Responder
from scep.server import serving
from tests.devices.conftest import client_of
from tests.devices.delivery.patience import patient as patient
from tests.devices.enrollment.conftest import clock as clock
from tests.devices.enrollment.conftest import rings as rings
from tests.devices.enrollment.steps import Ca, Clock, Rings
from tests.devices.factories import CHALLENGE
from tests.manual.mfp import Mfp
from tests.manual.office import Office
from tests.manual.real_ca import RealCa
from tests.peers.mfps import Mfps, virtual_mfps


@pytest.fixture(autouse=True)
def _language_of_the_site() -> Iterator[None]:
    """A request leaves its language active in the thread that answered it, which here is that of the tests."""
    yield
    translation.deactivate()


@pytest.fixture
def office(
    administrator: User,
    administrator_client: Client,
    clock: Clock,
    rings: Rings,
    monkeypatch: pytest.MonkeyPatch,
) -> Office:
    """An administrator with a token and signed in to the pages; nothing happens but by `work`."""
    monkeypatch.setattr(doorbell, "ring_dispatcher", lambda: True)
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)
    monkeypatch.setattr(doorbell, "ring_restart_dispatcher", lambda: True)
    return Office(client_of(administrator), administrator_client, clock, rings)


@pytest.fixture(scope="session")
def _running_scepserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCa]:
    ca = RealCa(tmp_path_factory.mktemp("scepserver"))
    ca.start()
    yield ca
    ca.stop()


@pytest.fixture
def scepserver(_running_scepserver: RealCa, office: Office) -> RealCa:
    """Debian's scepserver, entered in the office; it answers in single DES, which has to be permitted."""
    ca = _running_scepserver
    ca.id = office.add_server(ca.url, allow_des_replies=True)
    return ca


@pytest.fixture(scope="session")
def _authority() -> Authority:
    return Authority.create("Responder CA", now=datetime.now(UTC))


@pytest.fixture
def responder(_authority: Authority, db: None) -> Iterator[Ca]:
    """The project's own responder, told how to behave, for what the real one never does."""
    double = Responder(_authority, challenge=CHALLENGE)
    with serving(double) as url:
        yield Ca(double, url)


@pytest.fixture(scope="session")
def _virtual_mfps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mfps]:
    with virtual_mfps(tmp_path_factory.mktemp("mfps")) as running:
        yield running


@pytest.fixture
def mfp(_virtual_mfps: Mfps) -> Mfp:
    """One of the demo's virtual MFPs, for the connector of a device."""
    return Mfp(_virtual_mfps)
