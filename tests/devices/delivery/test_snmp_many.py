"""Many devices asked over SNMP at the same time, with one engine, against net-snmp's own agent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pysnmp.hlapi.v3arch.asyncio import SnmpEngine

from devices.delivery.connectors import snmp, snmp_many
from devices.delivery.connectors.snmp import Access
from devices.delivery.connectors.snmp_device import IDENTITY_COLUMNS, identity_of
from devices.delivery.connectors.snmp_many import SnmpMany
from devices.delivery.errors import Unreachable, WrongPassword
from tests.peers import snmp_agent as peer
from tests.peers.process import free_port
from tests.peers.snmp_agent import SnmpAgent, snmp_agent


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnmpAgent]:
    with snmp_agent(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that were made for many."""
    made: list[Any] = []

    def make() -> Any:
        made.append(SnmpEngine())
        return made[-1]

    monkeypatch.setattr(snmp_many, "SnmpEngine", make)
    return made


def v3(agent: SnmpAgent, *, password: str = peer.AUTH_PASSWORD) -> Access:
    return Access(
        "127.0.0.1",
        agent.port,
        username=peer.USERNAME,
        secrets={"auth_password": password, "privacy_password": peer.PRIVACY_PASSWORD},
    )


def v2c(agent: SnmpAgent) -> Access:
    return Access("127.0.0.1", agent.port, snmp.V2C, secrets={"community": peer.COMMUNITY})


def test_each_gets_its_own_answer_in_order(agent: SnmpAgent, engines: list[Any]) -> None:
    silent = replace(v2c(agent), port=free_port(socket.SOCK_DGRAM), timeout=0.2, retries=0)
    # the wrong one last: what an engine knows of a user must not come from another device's
    asked = [v3(agent), silent, v2c(agent), replace(v2c(agent), host="no host"), v3(agent)]
    with SnmpMany() as many:
        answers = many.first_rows(asked, IDENTITY_COLUMNS)
        again = many.first_rows(asked[:1], IDENTITY_COLUMNS)
    known = {index: identity_of(answers[index]).serial_number for index in (0, 2, 4)}  # type: ignore[arg-type]
    assert known == dict.fromkeys((0, 2, 4), "SN-7731")
    assert [type(answers[index]) for index in (1, 3)] == [Unreachable, Unreachable]
    assert again[0] == answers[0]
    assert answers[0] == snmp.first_rows(v3(agent), IDENTITY_COLUMNS), "as one by one"
    assert len(engines) == 1


def test_a_wrong_password_is_told(agent: SnmpAgent) -> None:
    with SnmpMany() as many:
        (answer,) = many.first_rows([v3(agent, password="wrong-pass-9932")], IDENTITY_COLUMNS)
    assert isinstance(answer, WrongPassword)
    assert "wrong-pass-9932" not in str(answer)


def test_an_engine_is_not_used_for_ever(
    agent: SnmpAgent, engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snmp_many, "TARGETS_PER_ENGINE", 4)
    with SnmpMany() as many:
        for _ in range(5):
            answers = many.first_rows([v2c(agent)] * 2, IDENTITY_COLUMNS)
            assert [identity_of(rows).serial_number for rows in answers] == ["SN-7731"] * 2  # type: ignore[arg-type]
    assert len(engines) == 3, "two handfuls of two each"


def test_nothing_is_made_where_nobody_is_asked(engines: list[Any]) -> None:
    with SnmpMany():
        pass
    assert engines == []
