"""SNMP against Debian's snmpd: SNMPv3 and SNMPv2c, what is asked, and what goes wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from devices.delivery.connectors import snmp
from devices.delivery.connectors.base import Activity, Identity, Target
from devices.delivery.connectors.settings import SettingsInvalid
from devices.delivery.connectors.snmp import Access
from devices.delivery.connectors.snmp_device import SnmpDevice
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceRefused,
    NotSupported,
    Unreachable,
    WrongPassword,
)
from tests.peers import snmp_agent as peer
from tests.peers.ipp_printer import ipp_printer
from tests.peers.process import free_port
from tests.peers.snmp_agent import SnmpAgent, snmp_agent

V3_SECRETS = {"auth_password": peer.AUTH_PASSWORD, "privacy_password": peer.PRIVACY_PASSWORD}
BOTH = ["3", "2c"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnmpAgent]:
    with snmp_agent(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


def device(agent: SnmpAgent, version: str = "3", **settings: Any) -> SnmpDevice:
    """The agent as a device is told of it."""
    plain = {"version": version, "port": agent.port, **settings}
    if version == "2c":
        return SnmpDevice(Target("127.0.0.1", plain, {"community": peer.COMMUNITY}))
    return SnmpDevice(Target("127.0.0.1", {"username": peer.USERNAME, **plain}, V3_SECRETS))


class TestDevice:
    @pytest.mark.parametrize("version", BOTH)
    def test_it_says_what_it_is(self, agent: SnmpAgent, version: str) -> None:
        assert device(agent, version).identify() == Identity("Example", "MFP 4000", "SN-7731", "2.1.0-b7")

    @pytest.mark.parametrize("version", BOTH)
    @pytest.mark.parametrize(
        ("status", "activity"),
        [
            (3, Activity.IDLE),
            (1, Activity.IDLE),
            (4, Activity.BUSY),
            (5, Activity.BUSY),
            (2, Activity.UNKNOWN),
        ],
    )
    def test_it_says_whether_it_is_idle(
        self, agent: SnmpAgent, version: str, status: int, activity: Activity
    ) -> None:
        agent.set_number(peer.STATUS, status)
        sighting = device(agent, version).look()
        assert sighting.activity is activity
        assert sighting.boot_count is not None
        assert sighting.boot_count >= 1
        assert sighting.uptime_seconds is not None
        agent.set_number(peer.STATUS, 3)

    @pytest.mark.parametrize("version", BOTH)
    def test_it_is_asked_to_restart_and_the_boots_tell_that_it_has(
        self, agent: SnmpAgent, version: str
    ) -> None:
        before = device(agent, version).look()
        device(agent, version).restart()
        assert agent.value(peer.RESET) == "4", "powerCycleReset (RFC 3805)"
        agent.cycle()
        after = device(agent, version).look()
        assert (before.boot_count or 0) + 1 == after.boot_count
        assert agent.value(peer.RESET) == "3"

    def test_ipp_says_whether_it_is_idle_where_snmp_does_not(
        self, agent: SnmpAgent, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        agent.set_number(peer.STATUS, 4)
        with ipp_printer(tmp_path_factory.mktemp("printer")) as printer:
            assert device(agent, ipp_port=printer.port).look().activity is Activity.IDLE
        agent.set_number(peer.STATUS, 3)

    def test_what_has_no_reset_says_so(self, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("devices.delivery.connectors.snmp_device.PRT_GENERAL_RESET", "1.3.6.1.2.1.99.5")
        with pytest.raises(NotSupported, match="prtGeneralReset"):
            device(agent).restart()


class TestErrors:
    @pytest.mark.parametrize(
        "wrong",
        [{"auth_password": "wrong-9932"}, {"privacy_password": "wrong-9932"}],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_a_wrong_password(self, agent: SnmpAgent, wrong: dict[str, str]) -> None:
        secrets = V3_SECRETS | wrong
        # what cannot be decrypted is not answered at all
        timeout = 60 if "auth_password" in wrong else 0.5
        access = Access(
            "127.0.0.1", agent.port, username=peer.USERNAME, secrets=secrets, timeout=timeout, retries=0
        )
        with pytest.raises((WrongPassword, Unreachable)) as met:
            snmp.get(access, ["1.3.6.1.2.1.1.1.0"])
        if "auth_password" in wrong:
            assert isinstance(met.value, WrongPassword)
        assert "wrong-9932" not in f"{met.value!r} {met.value} {access!r}"

    def test_an_unknown_user(self, agent: SnmpAgent) -> None:
        access = Access("127.0.0.1", agent.port, username="nobody", secrets=V3_SECRETS)
        with pytest.raises(WrongPassword, match="nobody"):
            snmp.get(access, ["1.3.6.1.2.1.1.1.0"])

    def test_a_wrong_community_is_not_answered(self, agent: SnmpAgent) -> None:
        access = Access(
            "127.0.0.1", agent.port, version="2c", secrets={"community": "wrong"}, timeout=0.3, retries=0
        )
        with pytest.raises(Unreachable, match="community"):
            snmp.get(access, ["1.3.6.1.2.1.1.1.0"])

    def test_who_may_only_look_is_refused(self, agent: SnmpAgent) -> None:
        access = Access("127.0.0.1", agent.port, version="2c", secrets={"community": peer.READ_ONLY})
        with pytest.raises(DeviceRefused, match="noAccess"):
            snmp.set_number(access, peer.RESET, 4)
        assert agent.value(peer.RESET) == "3"

    @pytest.mark.parametrize("version", BOTH)
    def test_nobody_there(self, version: str) -> None:
        access = Access(
            "127.0.0.1",
            free_port(socket.SOCK_DGRAM),
            version=version,
            username="x",
            secrets=V3_SECRETS,
            timeout=0.2,
            retries=0,
        )
        with pytest.raises(DeliveryError) as met:
            snmp.get(access, ["1.3.6.1.2.1.1.1.0"])
        assert isinstance(met.value, Unreachable)
        assert not met.value.may_have_arrived
        # a request without an answer may have been carried out
        with pytest.raises(ConnectionLost):
            snmp.set_number(access, peer.RESET, 4)


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "problems"),
        [
            ({"version": "3"}, {"username", "auth_password", "privacy_password"}),
            ({"version": "2c"}, {"community"}),
            ({"community": "x"}, {"username", "auth_password", "privacy_password"}),
            (
                {"username": "x", "auth_password": "short", "privacy_password": "12345678"},
                {"auth_password"},
            ),
            ({"version": "1", "community": "x"}, {"version"}),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: dict[str, Any], problems: set[str]) -> None:
        with pytest.raises(SettingsInvalid) as refused:
            snmp.check_access(SnmpDevice.schema, values)
        assert set(refused.value.problems) == problems

    @pytest.mark.parametrize(
        ("values", "stored"),
        [
            ({}, []),
            ({"version": "2c", "community": "x"}, []),
            ({"version": "2c"}, ["community"]),
            ({"username": "x"}, ["auth_password", "privacy_password"]),
        ],
    )
    def test_what_fits(self, values: dict[str, Any], stored: list[str]) -> None:
        snmp.check_access(SnmpDevice.schema, values, stored_secrets=stored)
