"""A stored password goes to the address that it was given for, and to no other unless somebody who may says so."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.access import OPERATOR
from devices.audit import SYSTEM, Actor
from devices.delivery import restart
from devices.delivery.connectors.settings import Setting, address_in
from devices.delivery.errors import NotConnected
from devices.models import AuditEvent, Deployment, Device, RestartSettings
from devices.models.device import SECRETS_HELD
from devices.models.restart_settings import SNMP_SECRETS_HELD
from devices.rules.secret_places import place
from tests.conftest import member_of
from tests.devices.api.test_deployments import make_deployment
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db

PASSWORD = "s3cret-of-the-device"
PAPPL: dict[str, Any] = {
    "connector": "pappl",
    "connector_settings": {"port": 8443, "username": "admin", "password": PASSWORD},
}
SNMP = {
    "version": "3",
    "username": "fleet",
    "auth_password": "auth-s3cret",
    "privacy_password": "priv-s3cret",
}
PLAIN = {"port": 8443, "username": "admin"}


@pytest.fixture
def operator() -> Actor:
    return Actor.of(member_of(OPERATOR), AuditEvent.Source.API)


@pytest.fixture
def device() -> Device:
    return make_device(host="10.0.0.1", **PAPPL)


def stored(device: Device) -> Device:
    return Device.objects.get(pk=device.pk)


def private_key() -> str:
    """One for SSH, as a file of ssh-keygen has it."""
    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def fate() -> Any:
    """What the audit trail says of the password, in its newest event."""
    event = AuditEvent.objects.filter(action="device.update").order_by("-pk")[0]
    assert PASSWORD not in str(event.changes)
    return event.changes.get("connector_secrets")


class TestRule:
    def test_a_place_is_way_host_and_address(self) -> None:
        assert place("pappl", "MFP.example.com", {"port": 1}) == place(
            "pappl", "mfp.example.com", {"port": 1}
        )
        places = {
            place("pappl", "a", {"port": 1}),
            place("pappl", "a", {"port": 2}),
            place("pappl", "b", {"port": 1}),
            place("sftp", "a", {"port": 1}),
            place("pappl", "a", {"port": 1}, group=1),
        }
        assert len(places) == 5

    def test_which_settings_are_a_part_of_the_address(self) -> None:
        schema = (
            Setting(name="port", label="", default=443),
            Setting(name="url", label=""),
            Setting(name="realm", label=""),
            Setting(name="gateway", label="", is_address=True),
        )
        assert address_in(schema, {"realm": "x", "gateway": "g"}) == {
            "port": 443,
            "url": None,
            "gateway": "g",
        }


class TestOperator:
    """May change devices, and may not decide where their passwords go."""

    @pytest.mark.parametrize("fields", [{"host": "10.6.6.6"}, {"connector_settings": PLAIN | {"port": 444}}])
    def test_at_another_address_the_password_is_held(
        self, operator: Actor, device: Device, fields: dict[str, Any]
    ) -> None:
        inventory.update_device(operator, device, **fields)
        assert fate() == "held"
        found = stored(device)
        assert (found.secrets_held, found.connector_secrets_set) == (True, ["password"])
        with pytest.raises(NotConnected) as refused:
            found.connect()
        assert str(refused.value) == SECRETS_HELD
        assert found.connect(with_secrets=False).target.secrets == {}

    def test_back_at_the_old_one_it_counts_again(self, operator: Actor, device: Device) -> None:
        inventory.update_device(operator, device, host="10.6.6.6")
        inventory.update_device(operator, stored(device), host="10.0.0.1")
        assert stored(device).connect().target.secrets == {"password": PASSWORD}

    def test_who_gives_it_anew_knows_it(self, operator: Actor, device: Device) -> None:
        inventory.update_device(
            operator, device, host="10.6.6.6", connector_settings=PLAIN | {"password": "another"}
        )
        assert fate() == "changed"
        assert stored(device).connect().target.secrets == {"password": "another"}

    def test_who_gives_one_of_two_does_not_know_the_other(self, operator: Actor, device: Device) -> None:
        settings = {"username": "root", "key_path": "/k", "certificate_path": "/c"}
        secret = {"password": PASSWORD, "private_key": private_key()}
        host = make_device(connector="sftp", connector_settings=settings | secret)
        inventory.update_device(
            operator, host, host="10.6.6.6", connector_settings=settings | {"password": "mine"}
        )
        assert fate() == "changed, held"
        assert stored(host).secrets_held

    def test_a_command_is_not_run_with_a_password_that_was_given_for_another(self, operator: Actor) -> None:
        settings = {"username": "root", "key_path": "/k", "certificate_path": "/c", "reload_command": "true"}
        host = make_device(connector="sftp", connector_settings=settings | {"password": PASSWORD})
        inventory.update_device(
            operator, host, connector_settings=settings | {"reload_command": "cat /etc/shadow > /srv/www/x"}
        )
        assert fate() == "held"
        with pytest.raises(NotConnected):
            stored(host).connect()
        inventory.update_device(operator, stored(host), connector_settings=settings)
        assert stored(host).connect().target.secrets == {"password": PASSWORD}

    def test_or_takes_it_away(self, operator: Actor, device: Device) -> None:
        inventory.update_device(
            operator, device, host="10.6.6.6", connector_settings=PLAIN | {"password": ""}
        )
        found = stored(device)
        assert (found.secrets_held, found.connector_secrets_set) == (False, [])
        assert found.connect().target.secrets == {}

    def test_what_is_no_address_holds_nothing(self, operator: Actor, device: Device) -> None:
        for fields in ({"location": "Lobby"}, {"connector_settings": PLAIN | {"username": "root"}}):
            inventory.update_device(operator, stored(device), **fields)
            assert fate() is None
        same = {"host": "10.0.0.1", "connector_settings": PLAIN}
        inventory.update_device(operator, stored(device), **same)
        assert not stored(device).secrets_held

    def test_a_default_port_is_the_port(self, operator: Actor) -> None:
        device = make_device(connector="pappl", connector_settings={"password": PASSWORD})
        inventory.update_device(operator, device, connector_settings={"port": 443})
        assert not stored(device).secrets_held

    def test_a_page_that_is_out_of_date_sends_it_nowhere_else(
        self, operator: Actor, actor: Actor, device: Device
    ) -> None:
        seen = stored(device)
        inventory.update_device(operator, device, host="10.6.6.6")
        inventory.update_device(actor, seen, connector_settings=PLAIN | {"username": "root"})
        assert (stored(device).host, stored(device).secrets_held) == ("10.6.6.6", True)

    def test_what_was_read_before_a_password_was_given_counts_for_nothing(
        self, operator: Actor, actor: Actor
    ) -> None:
        """An operator's change, begun while the device was at a host of theirs, ends after an administrator's."""
        own = inventory.create_device(operator, name="mine", host="10.6.6.6", **PAPPL)
        begun = stored(own)
        settings = PLAIN | {"password": "of the administrator"}
        inventory.update_device(actor, stored(own), host="10.0.0.1", connector_settings=settings)
        inventory.update_device(operator, begun, location="Lobby")
        assert not stored(own).secrets_held
        inventory.update_device(operator, stored(own), host="10.6.6.6")
        assert stored(own).secrets_held

    def test_secrets_that_are_left_out_are_those_that_are_stored_now(self, actor: Actor) -> None:
        settings = {"username": "root", "key_path": "/k", "certificate_path": "/c"}
        host = make_device(connector="sftp", connector_settings=settings | {"password": PASSWORD})
        begun = stored(host)
        inventory.update_device(actor, stored(host), connector_settings=settings | {"password": "newer"})
        key = private_key()
        inventory.update_device(actor, begun, connector_settings=settings | {"private_key": key})
        assert stored(host).reveal_connector_secrets() == {"password": "newer", "private_key": key}

    def test_a_device_of_an_operator_has_the_password_that_was_given(self, operator: Actor) -> None:
        made = inventory.create_device(operator, name="mine", host="10.0.0.9", **PAPPL)
        assert stored(made).connect().target.secrets == {"password": PASSWORD}


class TestAdministrator:
    def test_the_password_goes_along_and_it_is_audited(self, actor: Actor, device: Device) -> None:
        inventory.update_device(actor, device, host="10.0.0.2")
        assert fate() == "entrusted"
        assert stored(device).connect().target.secrets == {"password": PASSWORD}

    def test_saving_a_device_whose_password_is_held_entrusts_it(
        self, actor: Actor, operator: Actor, device: Device
    ) -> None:
        inventory.update_device(operator, device, host="10.0.0.2")
        inventory.update_device(actor, stored(device), location="Lobby")
        assert stored(device).secrets_held, "nothing was said about its address"
        inventory.update_device(actor, stored(device), host="10.0.0.2")
        assert fate() == "entrusted"
        assert not stored(device).secrets_held

    def test_a_delivery_that_failed_for_it_goes_on(
        self, actor: Actor, operator: Actor, device: Device
    ) -> None:
        inventory.update_device(operator, device, host="10.0.0.2")
        row = make_deployment(make_key(device, key_use="tls"), for_administrator=True)
        inventory.update_device(actor, stored(device), host="10.0.0.2")
        row.refresh_from_db()
        assert (row.state, Deployment.objects.count()) == ("issued", 1)


class TestSnmp:
    @pytest.fixture(autouse=True)
    def over_snmp(self, device: Device) -> None:
        restart.save_settings(SYSTEM, device, snmp=SNMP)

    def settings(self, device: Device) -> RestartSettings:
        return RestartSettings.objects.select_related("device").get(device=device)

    def test_they_are_held_as_well(self, operator: Actor, device: Device) -> None:
        inventory.update_device(operator, device, host="10.6.6.6")
        assert self.settings(device).snmp_secrets_held
        with pytest.raises(NotConnected) as refused:
            self.settings(device).snmp_device()
        assert str(refused.value) == SNMP_SECRETS_HELD

    def test_at_another_port_too(self, operator: Actor, device: Device) -> None:
        restart.save_settings(operator, device, snmp={"version": "3", "username": "fleet", "port": 16161})
        assert self.settings(device).snmp_secrets_held
        event = AuditEvent.objects.get(action="restartsettings.update", actor_name="operator")
        assert event.changes["snmp_secrets"] == "held"
        restart.save_settings(operator, device, snmp=SNMP | {"port": 16161})
        assert not self.settings(device).snmp_secrets_held

    def test_they_go_along_with_an_administrator(self, actor: Actor, device: Device) -> None:
        inventory.update_device(actor, device, host="10.0.0.2")
        assert self.settings(device).snmp_device()


def test_many_are_moved_at_the_cost_of_one() -> None:
    counts = []
    for number in (1, 4):
        moved = [make_device(**PAPPL) for _ in range(number)]
        for each in moved:
            restart.save_settings(SYSTEM, each, snmp=SNMP)
        planned = [
            (each, inventory.plan_device(each, {"host": f"10.9.{number}.{at}"}, entrusts=True))
            for at, each in enumerate(moved)
        ]
        with CaptureQueriesContext(connection) as captured:
            inventory.store_devices(SYSTEM, planned)
        counts.append(len(captured))
        for each in moved:
            assert not stored(each).secrets_held
            assert not RestartSettings.objects.get(device=each).snmp_secrets_held
    assert counts[0] == counts[1]


def test_what_was_stored_before_this_rule_is_for_the_address_of_its_device(device: Device) -> None:
    restart.save_settings(SYSTEM, device, snmp=SNMP)
    Device.objects.update(secrets_entrusted_to="")
    RestartSettings.objects.update(snmp_secrets_entrusted_to="")
    assert stored(device).secrets_held
    import_module("devices.migrations.0018_secret_places").entrust_what_is_stored(apps, None)
    assert not stored(device).secrets_held
    assert not RestartSettings.objects.get().snmp_secrets_held
