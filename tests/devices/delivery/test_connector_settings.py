"""What connectors are to be told: checked by their schemas, stored with the device, secret ones encrypted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Target
from devices.delivery.connectors.settings import SettingsInvalid, check
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.errors import NotSupported
from devices.models import AuditEvent, Device
from tests.devices.delivery.doubles import PASSWORD, URL, Secretive
from tests.devices.factories import make_device


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "known", lambda: {"secretive": Secretive, "virtual": VirtualConnector})


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
