"""fleet/demo/mfp.py: the virtual MFPs, in fake time and as a process."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.demo import names
from fleet.demo.device import Behavior, Mfp, Model
from fleet.demo.mfp import fleet, restart_seconds
from tests.peers.mfps import Mfps, virtual_mfps


class Seconds:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def mfp(clock: Seconds) -> Mfp:
    return Mfp(Model("X1", key_limit=3), 20.0, clock)


def test_it_says_what_it_is_and_holds(mfp: Mfp, clock: Seconds) -> None:
    clock.now += 60
    status = mfp.status()
    assert (status["serial_number"], status["state"]) == ("X1", "idle")
    assert (status["boot_count"], status["uptime_seconds"]) == (1, 60)
    assert status["key_store"] == {"limit": 3, "keys": []}
    assert status["functions"] == {"tls": True, "ieee_802_1x": False, "ipsec": False}


def test_a_restart_takes_a_while_and_counts_once(mfp: Mfp, clock: Seconds) -> None:
    mfp.restart()
    clock.now += 10
    mfp.restart()  # while it is away nothing changes
    clock.now += 15
    assert (mfp.is_away, mfp.status()["boot_count"], mfp.status()["uptime_seconds"]) == (False, 2, 5)


def test_it_never_comes_back_until_it_is_told_to(mfp: Mfp, clock: Seconds) -> None:
    mfp.behave(Behavior(never_comes_back=True))
    mfp.restart()
    seen = []
    for seconds in (0, 1e9):
        clock.now += seconds
        seen.append(mfp.is_away)
    mfp.behave(Behavior(restart_seconds=1))
    for seconds in (0, 1):
        clock.now += seconds
        seen.append(mfp.is_away)
    assert seen == [True, True, True, False]


@pytest.mark.parametrize(
    "values",
    [
        *([], "busy", {"busi": True}, {"busy": "yes"}, {"drops": "maybe"}),
        *({"restart_seconds": -1}, {"restart_seconds": "5"}),
    ],
)
def test_behavior_that_makes_no_sense_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        Behavior.of(values)


def test_the_fleet_is_the_demos_with_its_quirks() -> None:
    mfps = fleet(60)
    rows = list(names.devices(0, 60))
    assert list(mfps) == [row["serial_number"] for row in rows]
    assert mfps[rows[3]["serial_number"]].model.vendor == rows[3]["vendor"]
    quirky = [number for number, mfp in enumerate(mfps.values()) if mfp.behavior != Behavior()]
    assert quirky == sorted(names.QUIRKS)
    assert all(names.restarts_by_itself(number) for number in quirky), "so that they are seen"
    times = {restart_seconds(row["serial_number"], 5, 25) for row in rows}
    assert len(times) > 10
    assert all(5 <= seconds <= 25 for seconds in times)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mfps]:
    with virtual_mfps(tmp_path_factory.mktemp("mfps"), devices=3, restart_seconds=600) as mfps:
        yield mfps


class TestServer:
    def ask(
        self, mfps: Mfps, method: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", mfps.port, timeout=300)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def test_each_serial_number_is_a_device_of_its_own(self, running: Mfps) -> None:
        first, second = (f"/mfp/{running.serial(number)}" for number in (0, 1))
        assert self.ask(running, "POST", f"{first}/restart") == (202, {"state": "restarting"})
        for method, what in (("GET", "status"), ("POST", "restart")):
            assert self.ask(running, method, f"{first}/{what}") == (503, {"state": "restarting"})
        status, content = self.ask(running, "GET", f"{second}/status")
        assert (status, content["serial_number"]) == (200, running.serial(1))

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/mfp/NOBODY/status", 404),
            ("GET", "/mfp/{serial}/restart", 405),
            ("POST", "/mfp/{serial}/status", 405),
            ("PUT", "/mfp/{serial}/behavior", 400),
        ],
    )
    def test_what_it_does_not_know(self, running: Mfps, method: str, path: str, status: int) -> None:
        assert self.ask(running, method, path.format(serial=running.serial(2)))[0] == status

    def test_a_body_that_is_too_long(self, running: Mfps) -> None:
        path = f"/mfp/{running.serial(2)}/behavior"
        assert self.ask(running, "PUT", path, {"Content-Length": "9999999"})[0] == 413

    def test_it_says_why_it_cannot_start(self, running: Mfps) -> None:
        command = [sys.executable, "-m", "fleet.demo.mfp", "--port", str(running.port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (ended.returncode, str(running.port) in ended.stderr) == (2, True)
