"""Restarts over SNMP against Debian's snmpd, waiting until a device is idle, and who may set that (R7, R13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from devices import doorbell, inventory, restarts
from devices.audit import SYSTEM, Actor
from devices.delivery import dispatch, restart, runner
from devices.delivery.connectors.snmp import Access
from devices.errors import Conflict
from devices.models import AuditEvent, Device, Restart, RestartSettings
from devices.rules.restart import next_idle_look
from tests.devices.delivery.conftest import Bench
from tests.devices.delivery.patience import default
from tests.devices.enrollment.steps import Clock
from tests.devices.factories import VIRTUAL, make_device
from tests.peers import snmp_agent as peer
from tests.peers.snmp_agent import SnmpAgent, snmp_agent

pytestmark = pytest.mark.django_db

SECRETS = {"auth_password": peer.AUTH_PASSWORD, "privacy_password": peer.PRIVACY_PASSWORD}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnmpAgent]:
    with snmp_agent(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


def over_snmp(agent: SnmpAgent, version: str = "3") -> dict[str, Any]:
    """The settings of SNMP, with their secrets."""
    if version == "2c":
        return {"version": "2c", "port": agent.port, "community": peer.COMMUNITY}
    return {"port": agent.port, "username": peer.USERNAME, **SECRETS}


class Steps:
    """A device that only SNMP restarts, and the worker's steps done by hand."""

    def __init__(self, agent: SnmpAgent, device: Device) -> None:
        self.agent, self.device, self.clock = agent, device, Clock()

    def step(self) -> Restart:
        row = Restart.objects.filter(device=self.device)[0]
        assert row.next_action_at is not None, f"it has ended: {row.state} {row.explanation}"
        self.clock.ahead += max(row.next_action_at - self.clock(), timedelta(0))
        lease, ids = dispatch.claim_due(self.clock())
        assert ids == [row.pk]
        runner.advance(row.pk, lease, clock=self.clock)
        return Restart.objects.get(pk=row.pk)


@pytest.fixture
def steps(agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(doorbell, "ring_restart_dispatcher", lambda: True)
    agent.set_number(peer.STATUS, 3)
    agent.set_number(peer.RESET, 3)
    device = make_device(host="127.0.0.1")
    restart.save_settings(SYSTEM, device, restart_over_snmp=True, snmp=over_snmp(agent))
    return Steps(agent, device)


class TestOverSnmp:
    @pytest.mark.parametrize("version", ["3", "2c"])
    @pytest.mark.parametrize("connector", ["none", "download"])
    def test_a_device_whose_connector_cannot_is_restarted_and_seen_coming_back(
        self,
        steps: Steps,
        agent: SnmpAgent,
        version: str,
        connector: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        inventory.update_device(SYSTEM, steps.device, connector=connector)
        restart.save_settings(SYSTEM, steps.device, snmp=over_snmp(agent, version))
        restart.request_restart(SYSTEM, steps.device)
        assert steps.step().state == "coming_back"
        assert agent.value(peer.RESET) == "4"
        agent.stop()
        try:
            with monkeypatch.context() as patch:
                # nobody answers, however long one waits
                default(patch, Access.__init__, timeout=0.2)
                assert steps.step().state == "coming_back"
        finally:
            agent.start()
        row = steps.step()
        assert (row.state, row.explanation) == ("done", "")

    def test_it_is_waited_until_the_device_is_idle(self, steps: Steps, agent: SnmpAgent) -> None:
        agent.set_number(peer.STATUS, 4)
        restart.request_restart(SYSTEM, steps.device)
        row = steps.step()
        assert (row.state, row.explanation) == ("waiting", runner.BUSY)
        assert agent.value(peer.RESET) == "3"
        agent.set_number(peer.STATUS, 3)
        assert steps.step().state == "coming_back"

    def test_a_wrong_password_ends_it_and_says_so(self, steps: Steps, agent: SnmpAgent) -> None:
        restart.save_settings(
            SYSTEM, steps.device, snmp=over_snmp(agent) | {"auth_password": "wrong-password-1"}
        )
        restart.request_restart(SYSTEM, steps.device)
        row = steps.step()
        assert row.state == "failed"
        assert "did not accept the user" in row.explanation
        assert "wrong-password-1" not in row.explanation

    def test_who_may_only_look_is_refused(self, steps: Steps, agent: SnmpAgent) -> None:
        settings = over_snmp(agent, "2c") | {"community": peer.READ_ONLY}
        restart.save_settings(SYSTEM, steps.device, snmp=settings)
        restart.request_restart(SYSTEM, steps.device)
        row = steps.step()
        assert row.state == "refused"
        assert agent.value(peer.RESET) == "3"

    def test_without_a_way_it_says_so(self, steps: Steps) -> None:
        restart.save_settings(SYSTEM, steps.device, restart_over_snmp=False)
        with pytest.raises(Conflict) as refused:
            restart.request_restart(SYSTEM, steps.device)
        assert refused.value.code == "no_connector"

    def test_the_connector_comes_first(self, agent: SnmpAgent) -> None:
        device = make_device(**VIRTUAL)
        restart.save_settings(SYSTEM, device, restart_over_snmp=True, snmp=over_snmp(agent))
        assert type(restarts.connect(device)).__name__ == "VirtualConnector"


class TestWaiting:
    def test_a_device_that_stays_busy_is_restarted_where_that_is_wanted(self, bench: Bench) -> None:
        restart.save_settings(SYSTEM, bench.device, idle_minutes=1, when_busy="restart")
        bench.behave(busy=True)
        bench.ask()
        explanations = []
        while (row := bench.step()).requested_at is None:
            explanations.append(row.explanation)
        assert set(explanations) == {runner.BUSY}
        assert len(explanations) == 3, "after 0, 5 and 15 s; at 35 s the minute is not over, at 75 s it is"

    @pytest.mark.parametrize("minutes", [0, 3])
    def test_or_given_up(self, bench: Bench, minutes: int) -> None:
        restart.save_settings(SYSTEM, bench.device, idle_minutes=minutes)
        bench.behave(busy=True)
        boots, began = bench.ask(), bench.clock()
        while (row := bench.step()).completed_at is None:
            pass
        took = bench.clock() - began - bench.clock.ahead
        assert (row.state, row.explanation, bench.boots) == ("failed", runner.BUSY_TOO_LONG, boots)
        assert row.completed_at - began <= timedelta(minutes=minutes) + took, "not a look later"

    def test_busy_looks_leave_tries_for_a_device_that_does_not_answer(self) -> None:
        now = datetime(2026, 11, 25, 12, tzinfo=UTC)
        at, counted = next_idle_look(now=now, since=now - timedelta(hours=1), tries=40, minutes=120)
        assert (at, counted) == (now + timedelta(seconds=60), 5)
        at, counted = next_idle_look(now=now, since=now - timedelta(hours=2), tries=5, minutes=120)
        assert at is None


class TestSettings:
    def test_secrets_are_encrypted_kept_and_removed(self, agent: SnmpAgent) -> None:
        device = make_device()
        restart.save_settings(SYSTEM, device, snmp=over_snmp(agent))
        row = RestartSettings.objects.get(device=device)
        assert row.snmp_secrets_set == ["auth_password", "privacy_password"]
        assert peer.AUTH_PASSWORD not in str(row.snmp)
        assert peer.AUTH_PASSWORD.encode() not in bytes(row.snmp_secrets_encrypted or b"")
        # left out: they stay
        restart.save_settings(SYSTEM, device, snmp={"username": "other"})
        row = RestartSettings.objects.get(device=device)
        assert row.snmp_device().target.secrets == SECRETS
        restart.save_settings(SYSTEM, device, snmp={})
        row = RestartSettings.objects.get(device=device)
        assert (row.has_snmp, row.snmp_secrets_encrypted, row.snmp_secrets_set) == (False, None, [])
        trail = str(list(AuditEvent.objects.values()))
        assert peer.AUTH_PASSWORD not in trail
        assert trail.count("'snmp_secrets': 'changed'") == 2

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"idle_minutes": 1441}, "idle_minutes"),
            ({"when_busy": "panic"}, "when_busy"),
            ({"restart_over_snmp": True}, "restart_over_snmp"),
            ({"snmp": {"version": "3"}}, "snmp"),
            ({"snmp": "text"}, "snmp"),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: dict[str, Any], field: str) -> None:
        device = make_device()
        with pytest.raises(ValidationError) as refused:
            restart.save_settings(SYSTEM, device, **values)
        assert set(refused.value.message_dict) == {field}
        assert not RestartSettings.objects.exists()

    def test_who_may_not_change_devices_may_not_change_this(self, viewer: Any) -> None:
        actor = Actor.of(viewer, AuditEvent.Source.API)
        with pytest.raises(PermissionDenied):
            restart.save_settings(actor, make_device(), idle_minutes=1)
