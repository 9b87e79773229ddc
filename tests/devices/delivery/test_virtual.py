"""The connector to virtual MFPs: what it asks, and what it makes of answers, also of strange ones."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

from devices.delivery.connectors import http as device_http
from devices.delivery.connectors.base import Activity, Identity, Target
from devices.delivery.connectors.settings import SettingsInvalid, check
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceAway,
    DeviceBusy,
    DeviceRefused,
    UnexpectedAnswer,
    Unreachable,
)
from tests.devices.delivery.doubles import URL, answering
from tests.peers.mfps import Mfps
from tests.peers.process import free_port


def virtual(url: str) -> VirtualConnector:
    return VirtualConnector(Target("10.0.0.1", {"url": url}))


class TestVirtual:
    def test_it_identifies_looks_and_restarts(self, mfps: Mfps) -> None:
        connector = virtual(mfps.url(1))
        identity = connector.identify()
        assert identity == Identity("HP", "Color LaserJet MFP E877", mfps.serial(1), "5.7.1")
        before = connector.look()
        boots = mfps.boot_count(1)
        assert (before.activity, before.boot_count) == (Activity.IDLE, boots)
        assert before.uptime_seconds is not None
        mfps.behave(1, restart_seconds=600)
        connector.restart()
        with pytest.raises(DeviceAway):
            connector.look()
        with pytest.raises(DeviceAway):
            connector.restart()
        mfps.behave(1, restart_seconds=0)
        assert connector.look().boot_count == boots + 1

    @pytest.mark.parametrize(
        ("behavior", "error", "again", "arrived"),
        [
            ({"busy": True}, DeviceBusy, True, False),
            ({"refuses": True}, DeviceRefused, False, False),
            ({"drops": "before"}, ConnectionLost, True, True),
            ({"drops": "after"}, ConnectionLost, True, True),
        ],
    )
    def test_errors_say_whether_another_try_makes_sense(
        self, mfps: Mfps, behavior: dict[str, Any], error: type[DeliveryError], again: bool, arrived: bool
    ) -> None:
        mfps.behave(2, **behavior)
        with pytest.raises(error) as met:
            virtual(mfps.url(2)).restart()
        assert (met.value.worth_another_try, met.value.may_have_arrived) == (again, arrived)
        mfps.behave(2, restart_seconds=0)

    def test_a_connection_that_breaks_is_not_told_as_silence(self, mfps: Mfps) -> None:
        mfps.behave(2, drops="before")
        with pytest.raises(ConnectionLost, match="broke before it had answered"):
            virtual(mfps.url(2)).restart()

    def test_nobody_there(self) -> None:
        with pytest.raises(Unreachable) as met:
            virtual(f"http://127.0.0.1:{free_port()}/mfp/X1").restart()
        assert not met.value.may_have_arrived

    def test_another_serial_number(self, mfps: Mfps) -> None:
        with pytest.raises(DeviceRefused, match="no virtual MFP with this serial number"):
            virtual(f"http://127.0.0.1:{mfps.port}/mfp/NOBODY").look()

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>Printer</html>"),
            (200, b"[]"),
            (200, b"{}"),
            (200, b"x" * (device_http.MAX_SIZE + 1)),
            (302, b""),
            (500, b"{}"),
        ],
    )
    def test_something_else_answers(self, status: int, body: bytes) -> None:
        with answering(status, body) as url, pytest.raises(UnexpectedAnswer, match="was expected"):
            virtual(url).look()

    def test_a_silent_device_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(VirtualConnector, "connect_timeout", 0.1)
        monkeypatch.setattr(VirtualConnector, "read_timeout", 0.2)
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(ConnectionLost, match=r"within 0\.3 s"):
                virtual(f"http://127.0.0.1:{port}/mfp/X1").restart()

    @pytest.mark.parametrize("slow_head", [True, False])
    def test_a_slow_answer_is_bounded_as_a_whole(
        self, slow_head: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(VirtualConnector, "connect_timeout", 0.2)
        monkeypatch.setattr(VirtualConnector, "read_timeout", 0.2)
        # 1,000 bytes at this pace would take 50 seconds
        dripping = answering(200, b"x" * 1000, one_by_one=0.05, slow_head=slow_head)
        with dripping as url, pytest.raises(ConnectionLost, match=r"within 0\.4 s"):
            virtual(url).look()

    def test_proxies_of_the_environment_are_left_alone(
        self, mfps: Mfps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert virtual(mfps.url(3)).identify().serial_number == mfps.serial(3)

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "",
                "127.0.0.1:8100/mfp/X1",
                "ftp://127.0.0.1/mfp/X1",
                "https://127.0.0.1/mfp/X1",
                "http:///mfp/X1",
                "http://[::1/mfp/X1",
            ),
            *("http://127.0.0.1/admin", "http://127.0.0.1/mfp/", "http://127.0.0.1/mfp/a/../../admin"),
            *(f"{URL}/status", f"{URL}?x=1", f"{URL}#x", "http://u:p@127.0.0.1/mfp/X1"),
            "http://127.0.0.1:99999/mfp/X1",
        ],
    )
    def test_addresses_that_are_none(self, url: str) -> None:
        with pytest.raises(SettingsInvalid) as refused:
            check(VirtualConnector.schema, {"url": url})
        assert set(refused.value.problems) == {"url"}
