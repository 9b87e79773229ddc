"""Connectors: what they are to be told, who is found, and what the virtual one makes of answers."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.connectors import http as device_http
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Activity, Capability, Connector, Identity, Target
from devices.delivery.connectors.settings import Kind, Setting, SettingsInvalid, check
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceAway,
    DeviceBusy,
    DeviceRefused,
    NotSupported,
    UnexpectedAnswer,
    Unreachable,
)
from devices.models import AuditEvent, Device
from tests.devices.factories import make_device
from tests.peers.mfps import Mfps
from tests.peers.process import free_port

URL = "http://127.0.0.1:8100/mfp/X1"
PASSWORD = "s3cret-of-the-device"


def virtual(url: str) -> VirtualConnector:
    return VirtualConnector(Target("10.0.0.1", {"url": url}))


class Secretive(Connector):
    """With one setting of each kind."""

    label = "Secretive"
    schema = (
        Setting("port", "Port", Kind.NUMBER, minimum=1, maximum=65535, default=443),
        Setting("pinned", "Pinned", Kind.FLAG),
        Setting("username", "User name", max_length=8),
        Setting("password", "Password", required=True, is_secret=True),
    )


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "known", lambda: {"secretive": Secretive, "virtual": VirtualConnector})


class TestVirtual:
    def test_it_identifies_looks_and_restarts(self, mfps: Mfps) -> None:
        connector = virtual(mfps.url(1))
        identity = connector.identify()
        assert identity == Identity("HP", "Color LaserJet MFP E877", mfps.serial(1), "5.7.1")
        before = connector.look()
        assert (before.activity, before.boot_count) == (Activity.IDLE, 1)
        assert before.uptime_seconds is not None
        mfps.behave(1, restart_seconds=600)
        connector.restart()
        with pytest.raises(DeviceAway):
            connector.look()
        with pytest.raises(DeviceAway):
            connector.restart()
        mfps.behave(1, restart_seconds=0)
        assert connector.look().boot_count == 2

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


@contextmanager
def answering(status: int, body: bytes, *, one_by_one: float = 0, slow_head: bool = False) -> Iterator[str]:
    """A web server that gives this answer to everything; yields the address of a virtual MFP there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if slow_head:
                self.flush_headers()  # and the body drips as a header that does not end
            else:
                self.end_headers()
            try:
                for byte in body if one_by_one else ():
                    if done.wait(one_by_one):
                        return
                    self.wfile.write(bytes([byte]))
                if not one_by_one:
                    self.wfile.write(body)
            except OSError:
                return

        def log_message(self, *_args: object) -> None:
            pass

    done = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mfp/X1"
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


class TestBase:
    def test_secrets_do_not_print(self) -> None:
        connector = Secretive(Target("10.0.0.1", {"port": 1}, {"password": PASSWORD}))
        assert PASSWORD not in f"{connector!r} {connector.target!r}"
        checked = check(Secretive.schema, {"password": PASSWORD})
        assert PASSWORD not in repr(checked)

    def test_what_a_connector_cannot_do_it_says(self) -> None:
        connector = Secretive(Target("10.0.0.1"))
        for call in (connector.identify, connector.look, connector.restart):
            with pytest.raises(NotSupported, match="Secretive"):
                call()

    def test_settings_have_defaults(self) -> None:
        assert Secretive(Target("10.0.0.1")).setting("port") == 443
        assert Secretive(Target("10.0.0.1", {"port": 8443})).setting("port") == 8443


class TestSchema:
    @pytest.mark.parametrize(
        ("values", "problems"),
        [
            ({}, {"password": "required"}),
            ({"password": "", "port": None}, {"password": "required"}),
            ({"password": "x", "port": 0}, {"port": "from 1 to 65535"}),
            ({"password": "x", "port": 65536}, {"port": "from 1 to 65535"}),
            ({"password": "x", "port": "443"}, {"port": "whole number"}),
            ({"password": "x", "port": True}, {"port": "whole number"}),
            ({"password": "x", "pinned": "yes"}, {"pinned": "true or false"}),
            ({"password": 5}, {"password": "text"}),
            ({"password": "x", "username": "x" * 9}, {"username": "At most 8"}),
            ({"password": "x", "color": "red"}, {"color": "port, pinned, username, password"}),
            ({"port": 0, "color": "red"}, {"port": "from", "color": "no such", "password": "required"}),
            ("text", {"": "names with values"}),
            (None, {"": "names with values"}),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: Any, problems: dict[str, str]) -> None:
        with pytest.raises(SettingsInvalid) as refused:
            check(Secretive.schema, values)
        assert set(refused.value.problems) == set(problems)
        for name, words in problems.items():
            assert words in refused.value.problems[name]

    def test_secrets_are_apart_and_may_be_left_out_when_they_are_stored(self) -> None:
        checked = check(Secretive.schema, {"port": 1, "username": "", "password": "x"})
        assert (checked.plain, checked.secrets) == ({"port": 1}, {"password": "x"})
        checked = check(Secretive.schema, {"port": 1}, stored_secrets=["password"])
        assert (checked.plain, checked.secrets) == ({"port": 1}, {})


@pytest.mark.django_db
class TestDevice:
    def test_by_default_a_device_has_none(self) -> None:
        device = make_device()
        assert (device.connector, device.connector_settings) == ("none", {})

    def test_settings_are_stored_checked_and_audited(self) -> None:
        device = make_device()
        inventory.update_device(SYSTEM, device, connector="virtual", connector_settings={"url": URL})
        device.refresh_from_db()
        assert (device.connector, device.connector_settings) == ("virtual", {"url": URL})
        event = AuditEvent.objects.get(action="device.update")
        assert event.changes == {
            "connector": ["none", "virtual"],
            "connector_settings": [{}, {"url": URL}],
        }
        connector = device.connect()
        assert isinstance(connector, VirtualConnector)
        assert connector.setting("url") == URL
        inventory.update_device(SYSTEM, device, connector_settings={"url": URL})
        assert AuditEvent.objects.filter(action="device.update").count() == 1, "nothing changed"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"connector": "pigeon"}, "connector"),
            ({"connector": "virtual"}, "connector_settings"),
            ({"connector": "virtual", "connector_settings": {"url": "x"}}, "connector_settings"),
            ({"connector_settings": {"url": URL}}, "connector_settings"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(self, fields: dict[str, Any], field: str) -> None:
        for refused_by in (make_device, partial(inventory.update_device, SYSTEM, make_device())):
            with pytest.raises(ValidationError) as refused:
                refused_by(**fields)
            assert set(refused.value.message_dict) == {field}
        assert not Device.objects.exclude(connector="none").exists()

    def test_a_connector_that_is_left_takes_its_settings_along(self) -> None:
        device = make_device(connector="virtual", connector_settings={"url": URL})
        inventory.update_device(SYSTEM, device, connector="none")
        device.refresh_from_db()
        assert device.connector_settings == {}

    def test_secret_settings_are_encrypted_kept_and_removed(self, secretive: None) -> None:
        settings = {"port": 1, "password": PASSWORD}
        device = make_device(connector="secretive", connector_settings=settings)
        row = Device.objects.get(pk=device.pk)
        assert (row.connector_settings, row.connector_secrets_set) == ({"port": 1}, ["password"])
        assert row.connector_secrets_encrypted
        assert PASSWORD.encode() not in bytes(row.connector_secrets_encrypted)
        assert device.connect().target.secrets == {"password": PASSWORD}
        # left out: it stays
        inventory.update_device(SYSTEM, device, connector_settings={"port": 2})
        device = Device.objects.get(pk=device.pk)
        assert (device.connector_settings, device.connect().target.secrets) == (
            {"port": 2},
            {"password": PASSWORD},
        )
        inventory.update_device(SYSTEM, device, connector_settings={"password": "another"})
        device = Device.objects.get(pk=device.pk)
        assert device.connect().target.secrets == {"password": "another"}
        # what one connector was told is none of the next one's business
        inventory.update_device(SYSTEM, device, connector="virtual", connector_settings={"url": URL})
        device = Device.objects.get(pk=device.pk)
        assert (device.connector_secrets_encrypted, device.connector_secrets_set) == (None, [])
        trail = str(list(AuditEvent.objects.values()))
        assert PASSWORD not in trail
        assert "another" not in trail
        assert trail.count("'connector_secrets': 'changed'") == 2

    def test_no_query_per_device(self) -> None:
        counts = []
        for first, last in ((0, 3), (3, 33)):
            rows = [
                {
                    "name": f"mfp-{number}",
                    "host": "10.0.0.1",
                    "connector": "virtual",
                    "connector_settings": {"url": URL},
                }
                for number in range(first, last)
            ]
            with CaptureQueriesContext(connection) as captured:
                inventory.create_devices(SYSTEM, rows)
            counts.append(len(captured))
        assert counts[0] == counts[1]


class TestRegistry:
    @pytest.fixture
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Installs a package that brings connectors."""

        def install(entries: str) -> None:
            info = tmp_path / "fleet_extras-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fleet-extras\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[fleetseal.connectors]\n{entries}\n")
            (tmp_path / "fleet_extras.py").write_text(
                "from devices.delivery.connectors.base import Capability, Connector\n"
                "class Bell(Connector):\n"
                "    label = 'Bell'\n"
                "    capabilities = frozenset({Capability.RESTART})\n"
            )
            registry.known.cache_clear()

        monkeypatch.syspath_prepend(str(tmp_path))
        yield install
        sys.modules.pop("fleet_extras", None)
        registry.known.cache_clear()

    def test_the_built_in_ones_are_always_there(self) -> None:
        assert [name for name, _label in registry.choices()][:2] == ["none", "virtual"]
        assert registry.can("virtual", Capability.RESTART)
        assert not registry.can("none", Capability.RESTART)

    def test_other_packages_bring_theirs(self, installed: Any) -> None:
        installed("bell = fleet_extras:Bell")
        assert dict(registry.choices())["bell"] == "Bell"
        assert registry.can("bell", Capability.RESTART)
        assert not registry.can("bell", Capability.IDENTIFY)
        assert "bell" in dict(Device._meta.get_field("connector").flatchoices)

    @pytest.mark.parametrize(
        "entry",
        [
            "virtual = fleet_extras:Bell",
            "none = fleet_extras:Bell",
            "Bell = fleet_extras:Bell",
            "bell = fleet_extras:Missing",
            "bell = fleet_extras:Capability",
        ],
    )
    def test_what_does_not_fit_is_logged_and_left_out(
        self, installed: Any, entry: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        installed(entry)
        assert registry.known() == registry.BUILT_IN
        assert "left out" in caplog.text
