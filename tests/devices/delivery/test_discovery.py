"""Searching loopback addresses: a real printer and a real agent answer, nothing is added, nobody else is asked."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pysnmp.hlapi.v3arch.asyncio import SnmpEngine

from devices import doorbell, inventory
from devices.audit import SYSTEM, Actor
from devices.delivery import discovery, identify, restart
from devices.delivery.connectors import ipp, snmp_many
from devices.delivery.connectors.base import Identity
from devices.delivery.discovery import Answer, Asking
from devices.errors import Conflict
from devices.models import AuditEvent, Device, DeviceSearch, FoundDevice
from devices.models.discovery import addresses_of
from tests.devices.enrollment.steps import Clock
from tests.devices.factories import make_device
from tests.peers import snmp_agent as peer
from tests.peers.ipp_printer import IppPrinter, ipp_printer
from tests.peers.process import free_port
from tests.peers.snmp_agent import SnmpAgent, snmp_agent

pytestmark = pytest.mark.django_db

NETWORK = "127.0.0.0/30"
"""127.0.0.1 and 127.0.0.2."""

PATIENCE = 60
"""Seconds for whoever answers: a busy machine may take longer than a network."""


def wait_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So long the addresses of a search have for their answers; one that is silent costs as much."""
    monkeypatch.setattr(discovery, "CONNECT_TIMEOUT", seconds)
    monkeypatch.setattr(discovery, "_IPP_TIMEOUTS", ipp.Timeouts(seconds, seconds))


@pytest.fixture(scope="module")
def printer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IppPrinter]:
    with ipp_printer(tmp_path_factory.mktemp("printer")) as running:
        yield running


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnmpAgent]:
    """It answers at every address of a search, and the printer at 127.0.0.1 alone."""
    hosts = [f"127.0.0.{number}" for number in range(1, 7)]
    with snmp_agent(tmp_path_factory.mktemp("snmpd"), hosts) as running:
        yield running


class Rings:
    """What would have been rung for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.searches: list[tuple[int, uuid.UUID]] = []
        monkeypatch.setattr(doorbell, "ring_searches", lambda: True)
        monkeypatch.setattr(doorbell, "ring_search", self._ring)

    def _ring(self, search_id: int, lease: uuid.UUID) -> bool:
        self.searches.append((search_id, lease))
        return True

    def work(self, clock: Clock) -> None:
        """One turn of everything that is due."""
        discovery.ring_for_due(clock())
        while self.searches:
            search_id, lease = self.searches.pop(0)
            discovery.advance(search_id, lease, clock=clock)


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Rings:
    return Rings(monkeypatch)


def access(agent: SnmpAgent) -> dict[str, Any]:
    return {"version": "2c", "port": agent.port, "community": peer.COMMUNITY}


class TestSearch:
    def test_what_answers_is_proposed_and_never_added(
        self,
        actor: Actor,
        rings: Rings,
        printer: IppPrinter,
        agent: SnmpAgent,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        wait_for(monkeypatch, PATIENCE)
        search = discovery.start(actor, network=NETWORK, ipp_port=printer.port, snmp_settings=access(agent))
        assert (search.total, search.state) == (2, "waiting")
        rings.work(Clock())
        search.refresh_from_db()
        assert (search.state, search.position, search.answered) == ("finished", 2, 2)
        assert search.snmp_secrets_encrypted is None
        found = {row.host: row for row in discovery.found_devices()}
        assert {host: (row.answered_by, row.is_known) for host, row in found.items()} == {
            "127.0.0.1": ("IPP, SNMP", False),
            "127.0.0.2": ("SNMP", False),
        }
        for row in found.values():
            assert (row.vendor, row.model, row.serial_number) == ("Example", "MFP 4000", "SN-7731")
        assert not Device.objects.exists()
        assert peer.COMMUNITY not in str(list(AuditEvent.objects.values()))
        # again: the newest answer of each address stands
        discovery.start(actor, network=NETWORK, ipp_port=printer.port)
        rings.work(Clock())
        assert {row.host: row.answered_by for row in discovery.found_devices()} == {
            "127.0.0.1": "IPP",
            "127.0.0.2": "SNMP",
        }

    def test_who_is_silent_is_no_find(
        self, actor: Actor, rings: Rings, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wait_for(monkeypatch, 0.3)
        nobody = {**access(agent), "port": free_port(socket.SOCK_DGRAM)}
        search = discovery.start(actor, network=NETWORK, ipp_port=free_port(), snmp_settings=nobody)
        rings.work(Clock())
        search.refresh_from_db()
        assert (search.state, search.position, search.answered) == ("finished", 2, 0)
        assert not FoundDevice.objects.exists()

    def test_its_engine_and_its_threads_serve_the_whole_of_it(
        self, actor: Actor, rings: Rings, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[str] = []

        def counted(kind: Any) -> Any:
            def make(*arguments: Any, **named: Any) -> Any:
                made.append(kind.__name__)
                return kind(*arguments, **named)

            return make

        monkeypatch.setattr(discovery, "AT_ONCE", 2)
        wait_for(monkeypatch, PATIENCE)
        monkeypatch.setattr(snmp_many, "SnmpEngine", counted(SnmpEngine))
        monkeypatch.setattr(discovery, "ThreadPoolExecutor", counted(ThreadPoolExecutor))
        discovery.start(actor, network="127.0.0.0/29", ipp_port=free_port(), snmp_settings=access(agent))
        rings.work(Clock())
        assert sorted(made) == ["SnmpEngine", "ThreadPoolExecutor"], "for three handfuls"
        assert {(row.host, row.answered_by) for row in discovery.found_devices()} == {
            (f"127.0.0.{number}", "SNMP") for number in range(1, 7)
        }

    def test_an_agent_that_is_no_printer_is_no_find(
        self, actor: Actor, rings: Rings, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wait_for(monkeypatch, PATIENCE)
        monkeypatch.setattr("devices.delivery.connectors.snmp_device.is_printer", lambda _rows: False)
        discovery.start(actor, network=NETWORK, ipp_port=free_port(), snmp_settings=access(agent))
        rings.work(Clock())
        assert not FoundDevice.objects.exists()

    def test_nobody_is_asked_but_the_addresses_of_the_network(
        self, actor: Actor, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def ask(_asking: Asking, hosts: Sequence[str]) -> list[Answer]:
            assert len(hosts) <= discovery.AT_ONCE
            asked.extend(hosts)
            return []

        monkeypatch.setattr(Asking, "ask", ask)
        discovery.start(actor, network="127.1.0.0/24")
        rings.work(Clock())
        assert asked == [f"127.1.0.{number}" for number in range(1, 255)]

    def test_a_search_that_was_lost_goes_on_where_it_was(
        self, actor: Actor, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def ask(_asking: Asking, hosts: Sequence[str]) -> list[Answer]:
            if len(asked) == discovery.AT_ONCE and "lost" not in asked:
                asked.append("lost")
                raise KeyboardInterrupt
            asked.extend(hosts)
            return [Answer(hosts[0], Identity(), "IPP")]

        monkeypatch.setattr(Asking, "ask", ask)
        clock = Clock()
        search = discovery.start(actor, network="127.1.0.0/25")
        with pytest.raises(KeyboardInterrupt):
            rings.work(clock)
        rings.work(clock)
        search.refresh_from_db()
        assert (search.state, search.position) == ("running", discovery.AT_ONCE), "its lease holds"
        clock.ahead += discovery.LEASE + timedelta(seconds=1)
        rings.work(clock)
        search.refresh_from_db()
        assert (search.state, search.position, search.answered) == ("finished", 126, 2)
        asked.remove("lost")
        assert len(asked) == len(set(asked)) == 126

    def test_one_that_is_canceled_asks_nobody_any_more(
        self, actor: Actor, rings: Rings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = 0

        def ask(_asking: Asking, hosts: Sequence[str]) -> list[Answer]:
            nonlocal asked
            asked += len(hosts)
            discovery.cancel(actor, search)
            return [Answer(hosts[0], Identity(), "IPP")]

        monkeypatch.setattr(Asking, "ask", ask)
        search = discovery.start(actor, network="127.1.0.0/24")
        rings.work(Clock())
        search.refresh_from_db()
        assert (search.state, asked) == ("canceled", discovery.AT_ONCE)
        assert not FoundDevice.objects.exists()
        with pytest.raises(Conflict):
            discovery.cancel(actor, search)

    @pytest.mark.parametrize(
        ("network", "words"),
        [
            ("10.0.0.0/19", "at most 4096"),
            ("fd00::/64", "at most 4096"),
            ("everywhere", "no network"),
            ("224.0.0.0/24", "No host"),
        ],
    )
    def test_what_cannot_be_searched(self, actor: Actor, network: str, words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            discovery.start(actor, network=network)
        assert not DeviceSearch.objects.exists()

    def test_secrets_that_do_not_fit_and_a_search_that_is_open(self, actor: Actor, rings: Rings) -> None:
        with pytest.raises(ValidationError) as refused:
            discovery.start(actor, network=NETWORK, snmp_settings={"version": "2c"})
        assert set(refused.value.message_dict) == {"snmp"}
        discovery.start(actor, network=NETWORK)
        with pytest.raises(Conflict, match="under way"):
            discovery.start(actor, network=NETWORK)

    def test_by_administrators_alone(self, operator: Any) -> None:
        with pytest.raises(PermissionDenied):
            discovery.start(Actor.of(operator, AuditEvent.Source.API), network=NETWORK)

    def test_sizes(self) -> None:
        assert len(addresses_of("10.0.0.0/20")) == 4094
        assert addresses_of("10.0.0.1/32") == ["10.0.0.1"]
        assert addresses_of("10.0.0.5/30") == ["10.0.0.5", "10.0.0.6"]


def found(host: str, **fields: Any) -> FoundDevice:
    return FoundDevice.objects.create(
        host=host, answered_by="IPP", found_at=Clock()(), **{"vendor": "Example", "model": "MFP", **fields}
    )


class TestAdding:
    def test_what_is_selected_is_added_with_what_it_said(self, actor: Actor) -> None:
        group = inventory.create_group(SYSTEM, name="Lab")
        first, _second = found("10.1.1.1", serial_number="A1"), found("10.1.1.2", serial_number="A2")
        (device,) = discovery.add(actor, [first], group=group)
        assert (device.name, device.host, device.model, device.serial_number, device.group) == (
            *("10.1.1.1", "10.1.1.1", "MFP", "A1"),
            group,
        )
        assert {row.host: row.is_known for row in discovery.found_devices()} == {
            "10.1.1.1": True,
            "10.1.1.2": False,
        }
        assert FoundDevice.objects.get(host="10.1.1.1").device == device
        assert AuditEvent.objects.filter(action="device.create").count() == 1

    def test_one_that_is_known_stops_all(self, actor: Actor) -> None:
        make_device(serial_number="A1")
        rows = [found("10.1.1.1", serial_number="A1"), found("10.1.1.2")]
        with pytest.raises(Conflict, match=r"10\.1\.1\.1"):
            discovery.add(actor, rows)
        assert Device.objects.count() == 1
        with pytest.raises(ValidationError):
            discovery.add(actor, [])

    def test_viewers_add_nothing(self, viewer: Any) -> None:
        actor = Actor.of(viewer, AuditEvent.Source.API)
        with pytest.raises(PermissionDenied):
            discovery.add(actor, [found("10.1.1.1")])
        with pytest.raises(PermissionDenied):
            discovery.forget(actor, found("10.1.1.2"))

    def test_no_query_per_row(self, actor: Actor) -> None:
        discovery.add(actor, [found("10.1.9.9")])  # what the actor may is read once
        counts = []
        for start in (0, 20):
            rows = [found(f"10.1.1.{start + number}") for number in range(2 if start == 0 else 30)]
            with CaptureQueriesContext(connection) as captured:
                discovery.add(actor, rows)
            counts.append(len(captured))
        assert counts[0] == counts[1]


class TestIdentify:
    def test_what_differs_is_shown_and_nothing_is_changed(
        self, actor: Actor, printer: IppPrinter, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identify, "IPP_PORT", printer.port)
        device = make_device(host="127.0.0.1", vendor="Example", serial_number="OLD")
        restart.save_settings(SYSTEM, device, snmp=access(agent))
        shown = identify.identify(actor, device)
        assert shown.answered_by == ("SNMP", "IPP")
        assert shown.differences == {
            "model": ("", "MFP 4000"),
            "serial_number": ("OLD", "SN-7731"),
            "firmware": ("", "2.1.0-b7"),
        }
        device.refresh_from_db()
        assert device.serial_number == "OLD"

    def test_one_that_says_nothing(self, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identify, "IPP_PORT", free_port())
        with pytest.raises(Conflict, match="No connection") as refused:
            identify.identify(actor, make_device(host="127.0.0.1"))
        assert refused.value.code == "not_identified"

    def test_over_the_connector(self, actor: Actor, mfps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identify, "IPP_PORT", free_port())
        device = make_device(host="127.0.0.1", connector="virtual", connector_settings={"url": mfps.url(1)})
        shown = identify.identify(actor, device)
        assert shown.found["serial_number"] == mfps.serial(1)

    def test_viewers_may_not(self, viewer: Any) -> None:
        with pytest.raises(PermissionDenied):
            identify.identify(Actor.of(viewer, AuditEvent.Source.API), make_device())
