"""The connector and its settings in files; what it keeps secret travels encrypted only."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission
from django.utils.translation import gettext_lazy

from devices import inventory
from devices.access import OPERATOR
from devices.audit import SYSTEM, Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Connector
from devices.delivery.connectors.settings import Setting
from devices.filters import select_devices
from devices.models import AuditEvent, Device
from devices.models.choices import FileFormatChoices
from devices.transfer import columns, exporter
from tests.conftest import member_of
from tests.devices.factories import make_device
from tests.devices.transfer.files import applied, checked, csv_file, problems

pytestmark = pytest.mark.django_db

SECRET, PASSWORD = "the printer's password", "a long enough password"


class LockedConnector(Connector):
    """Wants a password."""

    label = gettext_lazy("Locked")
    schema = (
        Setting(name="user", label="User"),
        Setting(name="password", label="Password", is_secret=True, required=True),
    )


@pytest.fixture(autouse=True)
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = {**registry.known(), "locked": LockedConnector}
    monkeypatch.setattr(registry, "known", lambda: known)
    columns.columns.cache_clear()
    monkeypatch.setattr(Device._meta.get_field("connector"), "choices", registry.choices())
    yield
    columns.columns.cache_clear()


@pytest.fixture
def device() -> Device:
    settings = {"user": "admin", "password": SECRET}
    return make_device(connector="locked", connector_settings=settings)


def exported(actor: Actor) -> bytes:
    chosen = FileFormatChoices.CSV
    with exporter.devices_with_secrets(actor, select_devices(query={}), chosen, {}, PASSWORD) as file:
        return file.read()


def test_a_plain_export_has_what_may_be_seen_and_changes_nothing(device: Device) -> None:
    content = b"".join(exporter.devices(SYSTEM, select_devices(query={}), FileFormatChoices.CSV, {}))
    assert b"admin" in content
    assert SECRET.encode() not in content
    found = checked(content)
    assert found.unchanged == 1, [*found.rows.values_list("changes", "problems")]


def test_an_encrypted_export_brings_the_secrets_back(device: Device, actor: Actor) -> None:
    content = exported(actor)
    assert SECRET.encode() not in content
    found = checked(content, actor, password=PASSWORD)
    assert found.unchanged == 1, [*found.rows.values_list("changes", "problems")]
    inventory.update_device(actor, device, connector_settings={"user": "admin", "password": "another"})
    found = applied(content, actor, password=PASSWORD)
    assert found.rows.get().changes == {"connector_secrets": "changed"}
    device.refresh_from_db()
    assert device.reveal_connector_secrets() == {"password": SECRET}
    inventory.delete_device(actor, device)
    applied(content, actor, password=PASSWORD)
    again = Device.objects.get()
    assert (again.connector_settings, again.reveal_connector_secrets()) == (
        {"user": "admin"},
        {"password": SECRET},
    )
    assert SECRET not in str([*found.rows.values(), *AuditEvent.objects.values()])


def test_secrets_in_the_column_of_the_others_are_refused_and_not_kept(device: Device) -> None:
    row = {"name": device.name, "connector_settings": json.dumps({"user": "admin", "password": SECRET})}
    found = checked(csv_file([row]))
    assert [(line, column) for line, column, _reason in problems(found)] == [(2, "connector_settings")]
    assert SECRET not in str([*found.rows.values()])


def test_what_the_connector_refuses_is_refused(device: Device) -> None:
    rows = [
        {"name": device.name, "host": device.host, "connector": "", "connector_settings": '{"color": true}'},
        {"name": "new", "host": "h", "connector": "Locked", "connector_settings": ""},
        {"name": "new-2", "host": "h", "connector": "fax", "connector_settings": "{}"},
    ]
    found = problems(checked(csv_file(rows)))
    assert [(line, column) for line, column, _reason in found] == [
        (2, "connector_settings"),
        (3, "connector_settings"),
        (4, "connector"),
    ]
    assert found[1][2].startswith("password: This setting is required")


class TestMoving:
    """Files that bring devices to other addresses: their passwords go along with whoever may decide that."""

    def moved(self, device: Device) -> bytes:
        settings = json.dumps({"user": "admin"})
        return csv_file([{"name": device.name, "host": "10.6.6.6", "connector_settings": settings}])

    def test_with_an_administrator_they_go_along(self, device: Device, actor: Actor) -> None:
        found = applied(self.moved(device), actor)
        assert found.rows.get().changes["connector_secrets"] == "entrusted"
        device.refresh_from_db()
        assert device.connect().target.secrets == {"password": SECRET}

    def test_with_an_operator_they_are_held_and_the_check_says_so(self, device: Device) -> None:
        operator = Actor.of(member_of(OPERATOR), AuditEvent.Source.API)
        found = checked(self.moved(device), operator)
        assert found.rows.get().changes["connector_secrets"] == "held"
        applied(self.moved(device), operator)
        device.refresh_from_db()
        assert (device.host, device.secrets_held) == ("10.6.6.6", True)

    def test_whoever_has_them_in_the_file_knows_them(self, device: Device, actor: Actor) -> None:
        user = member_of(OPERATOR)
        # the file has the settings for SCEP too
        user.user_permissions.add(Permission.objects.get(codename="change_scepsettings"))
        operator = Actor.of(user, AuditEvent.Source.API)
        content = exported(actor)
        inventory.update_device(actor, device, host="10.0.0.7")
        applied(content, operator, password=PASSWORD)
        device.refresh_from_db()
        assert device.connect().target.secrets == {"password": SECRET}
