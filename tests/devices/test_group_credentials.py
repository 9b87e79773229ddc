"""Credentials of a device group: used by its devices that have none of their own, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext

from devices import inventory
from devices.access import OPERATOR
from devices.audit import SYSTEM, Actor
from devices.delivery import sweep
from devices.delivery.connectors import credentials
from devices.delivery.connectors.credentials import CredentialsInvalid
from devices.delivery.errors import NotConnected
from devices.inventory import groups
from devices.models import AuditEvent, Deployment, Device, DeviceGroup
from devices.models.device import GROUP_SECRETS_HELD
from tests.conftest import member_of
from tests.devices.api.test_deployments import make_deployment
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db

PASSWORD = "s3cret-of-the-group"
PAPPL = {"pappl": {"username": "fleet", "password": PASSWORD}}
SSH: dict[str, Any] = {
    "connector": "sftp",
    "connector_settings": {"key_path": "/k", "certificate_path": "/c"},
}


@pytest.fixture
def operator() -> Actor:
    return Actor.of(member_of(OPERATOR), AuditEvent.Source.API)


@pytest.fixture
def group() -> DeviceGroup:
    return inventory.create_group(SYSTEM, name="Office", connector_settings=PAPPL)


@pytest.fixture
def read() -> Iterator[list[Device]]:
    """The devices that were read from the database."""
    found: list[Device] = []

    def note(instance: Device, **_signal: Any) -> None:
        found.append(instance)

    post_init.connect(note, sender=Device)
    yield found
    post_init.disconnect(note, sender=Device)


def member(group: DeviceGroup, **fields: Any) -> Device:
    return make_device(group=group, **{"connector": "pappl", **fields})


def stored(device: Device) -> Device:
    return Device.objects.get(pk=device.pk)


def signs_in_with(device: Device) -> tuple[Any, dict[str, str]]:
    target = stored(device).connect().target
    return target.settings.get("username"), dict(target.secrets)


class TestWhatItHolds:
    def test_secrets_are_encrypted_and_told_by_name_only(self, group: DeviceGroup) -> None:
        row = DeviceGroup.objects.values().get()
        assert row["connector_settings"] == {"pappl": {"username": "fleet"}}
        assert row["connector_secrets_set"] == {"pappl": ["password"]}
        assert PASSWORD not in str(
            {**row, "connector_secrets_encrypted": bytes(row["connector_secrets_encrypted"] or b"")}
        )
        event = AuditEvent.objects.get(action="devicegroup.create")
        assert event.changes["connector_secrets"] == ["pappl"]
        assert event.changes["connector_settings"] == {"pappl": {"username": "fleet"}}

    def test_left_out_they_stay_empty_they_go_and_unnamed_all_goes(
        self, actor: Actor, group: DeviceGroup
    ) -> None:
        ssh = {"sftp": {"username": "root", "password": "another"}}
        inventory.update_group(actor, group, connector_settings={"pappl": {}, **ssh})
        group.refresh_from_db()
        assert group.reveal_connector_secrets() == {
            "pappl": {"password": PASSWORD},
            "sftp": {"password": "another"},
        }
        assert group.connector_settings == {"pappl": {}, "sftp": {"username": "root"}}
        inventory.update_group(actor, group, connector_settings={"pappl": {"password": ""}, "sftp": {}})
        group.refresh_from_db()
        assert group.connector_secrets_set == {"sftp": ["password"]}
        inventory.update_group(actor, group, connector_settings={})
        group.refresh_from_db()
        assert (group.connector_secrets_set, group.connector_secrets_encrypted) == ({}, None)
        changes = AuditEvent.objects.filter(action="devicegroup.update").values_list("changes", flat=True)
        assert [each["connector_secrets"] for each in changes.order_by("pk")] == [
            ["sftp"],
            ["pappl"],
            ["sftp"],
        ]
        assert PASSWORD not in str(list(AuditEvent.objects.values_list("changes", flat=True)))

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"fax": {"password": "x"}}, "fax: There is no such connector"),
            ({"download": {}}, "download: There is no such connector"),
            ({"pappl": {"port": 443}}, "pappl: port: There is no such setting"),
            ({"pappl": {"password": 5}}, "pappl: password: A text"),
            ({"pappl": {"username": "fleet"}}, "A user name alone"),
            ({"pappl": "x"}, "pappl: Settings are names"),
            ("x", "Credentials are settings by connector"),
        ],
    )
    def test_what_does_not_fit_is_named(self, actor: Actor, values: Any, words: str) -> None:
        with pytest.raises(ValidationError) as refused:
            inventory.create_group(actor, name="Lab", connector_settings=values)
        assert set(refused.value.message_dict) == {"connector_settings"}
        assert words in " ".join(refused.value.message_dict["connector_settings"])

    def test_every_problem_is_told_at_once(self) -> None:
        with pytest.raises(CredentialsInvalid) as refused:
            credentials.check_all({"fax": {}, "pappl": {"port": 1}}, stored={})
        assert set(refused.value.problems) == {("fax", ""), ("pappl", "port")}


class TestWhoUsesIt:
    def test_a_device_without_a_secret_of_its_own(self, group: DeviceGroup) -> None:
        device = member(group, connector_settings={"username": "admin"})
        assert stored(device).secrets_from_group == ["password"]
        assert signs_in_with(device) == ("fleet", {"password": PASSWORD}), (
            "user name and password belong together"
        )

    def test_one_with_its_own_takes_nothing_of_the_group(self, group: DeviceGroup) -> None:
        device = member(group, connector_settings={"password": "own"})
        assert signs_in_with(device) == (None, {"password": "own"})
        inventory.update_device(SYSTEM, device, connector_settings={"password": ""})
        assert signs_in_with(device) == ("fleet", {"password": PASSWORD})

    def test_one_with_another_connector_does_not_get_it(self, group: DeviceGroup) -> None:
        device = member(group, connector="virtual", connector_settings={"url": "http://127.0.0.1:1/mfp/X1"})
        assert signs_in_with(device) == (None, {})

    def test_who_leaves_the_group_no_longer_has_it(self, group: DeviceGroup) -> None:
        device = member(group)
        inventory.update_device(SYSTEM, device, group=None)
        assert (stored(device).secrets_from_group, signs_in_with(device)) == ([], (None, {}))

    def test_what_a_connector_must_have_may_come_from_the_group(self, group: DeviceGroup) -> None:
        inventory.update_group(
            SYSTEM, group, connector_settings={"sftp": {"username": "root", "password": PASSWORD}}
        )
        device = make_device(group=group, **SSH)
        assert signs_in_with(device) == ("root", {"password": PASSWORD})
        settings = SSH["connector_settings"] | {"password": "own"}
        with pytest.raises(ValidationError, match="username: This setting is required"):
            inventory.update_device(SYSTEM, stored(device), connector_settings=settings)
        inventory.update_device(SYSTEM, stored(device), group=None)
        with pytest.raises(NotConnected, match="username: This setting is required"):
            stored(device).connect()


class TestWhereItMayGo:
    """Decision 34 holds for the group's secrets as for a device's own."""

    def test_an_operator_brings_no_device_into_their_reach(self, operator: Actor, group: DeviceGroup) -> None:
        made = inventory.create_device(
            operator, name="mine", host="10.6.6.6", group=group, connector="pappl", connector_settings={}
        )
        with pytest.raises(NotConnected) as refused:
            stored(made).connect()
        assert str(refused.value) == GROUP_SECRETS_HELD

    @pytest.mark.parametrize("fields", [{"host": "10.6.6.6"}, {"connector_settings": {"port": 8443}}])
    def test_nor_moves_one(self, operator: Actor, group: DeviceGroup, fields: dict[str, Any]) -> None:
        device = member(group)
        inventory.update_device(operator, device, **fields)
        assert stored(device).secrets_held

    def test_nor_by_taking_the_own_password_away(self, operator: Actor, group: DeviceGroup) -> None:
        device = make_device(connector="pappl", group=group, connector_settings={"password": "own"})
        inventory.update_device(operator, device, host="10.6.6.6", connector_settings={"password": "mine"})
        assert not stored(device).secrets_held
        inventory.update_device(operator, stored(device), connector_settings={"password": ""})
        assert stored(device).secrets_held

    def test_nor_by_another_group(self, operator: Actor, group: DeviceGroup) -> None:
        other = inventory.create_group(SYSTEM, name="Vault", connector_settings=PAPPL)
        device = member(group)
        inventory.update_device(operator, device, group=other)
        assert stored(device).secrets_held
        inventory.update_device(operator, stored(device), group=group)
        assert not stored(device).secrets_held, "that was decided before"

    def test_an_administrator_decides_it_by_saving(
        self, actor: Actor, operator: Actor, group: DeviceGroup
    ) -> None:
        device = inventory.create_device(operator, name="mine", host="10.6.6.6", connector="pappl")
        inventory.update_device(operator, device, group=group)
        inventory.update_device(actor, stored(device), group=group)
        assert signs_in_with(device) == ("fleet", {"password": PASSWORD})
        event = AuditEvent.objects.filter(action="device.update").order_by("-pk")[0]
        assert event.changes == {"connector_secrets": "entrusted"}

    def test_a_new_password_of_the_group_goes_to_nobody_new(
        self, actor: Actor, operator: Actor, group: DeviceGroup
    ) -> None:
        known, mine = (
            member(group),
            inventory.create_device(operator, name="mine", host="10.6.6.6", group=group, connector="pappl"),
        )
        for who in (operator, actor):
            inventory.update_group(who, group, connector_settings={})
            inventory.update_group(who, group, connector_settings={"pappl": {"password": "new"}})
            assert signs_in_with(known) == (None, {"password": "new"})
            assert stored(mine).secrets_held
            assert [*inventory.held_devices(group)] == [mine]

    def test_an_administrator_may_have_it_sent_to_all_of_the_group(
        self, actor: Actor, operator: Actor, group: DeviceGroup
    ) -> None:
        mine = inventory.create_device(operator, name="mine", host="10.6.6.6", group=group, connector="pappl")
        row = make_deployment(make_key(mine, key_use="tls"), for_administrator=True)
        with pytest.raises(PermissionDenied):
            inventory.update_group(operator, group, entrust_devices=True)
        inventory.update_group(actor, group, entrust_devices=True)
        assert signs_in_with(mine) == ("fleet", {"password": PASSWORD})
        assert [*inventory.held_devices(group)] == []
        event = AuditEvent.objects.get(action="devicegroup.update")
        assert event.changes == {"entrusted_devices": 1}
        row.refresh_from_db()
        assert row.state == "issued"

    def test_a_device_of_an_administrator_gets_what_its_group_is_given_later(self, operator: Actor) -> None:
        group = inventory.create_group(SYSTEM, name="Lab")
        device = member(group)
        moved = member(group)
        inventory.update_device(operator, moved, host="10.6.6.6")
        inventory.update_group(operator, group, connector_settings=PAPPL)
        assert signs_in_with(device) == ("fleet", {"password": PASSWORD})
        assert stored(moved).secrets_held

    def test_devices_of_a_file_of_an_administrator_as_well(self, group: DeviceGroup) -> None:
        device = make_device(connector="pappl")
        device.refresh_from_db()
        changes = inventory.plan_device(device, {"group": group}, entrusts=True)
        assert changes["connector_secrets"] == "entrusted"
        inventory.store_devices(SYSTEM, [(device, changes)])
        assert signs_in_with(device) == ("fleet", {"password": PASSWORD})

    def test_two_who_change_it_at_once_lose_nothing(self, actor: Actor, group: DeviceGroup) -> None:
        seen = DeviceGroup.objects.get()
        inventory.update_group(actor, group, connector_settings={"pappl": {"password": "new"}})
        inventory.update_group(actor, seen, connector_settings={"pappl": {"username": "root"}})
        assert DeviceGroup.objects.get().reveal_connector_secrets() == {"pappl": {"password": "new"}}


def test_deliveries_that_failed_are_tried_again_where_it_counts(actor: Actor, group: DeviceGroup) -> None:
    waiting, own, other = (
        member(group),
        member(group, connector_settings={"password": "own"}),
        make_device(
            **SSH | {"connector_settings": {**SSH["connector_settings"], "username": "root"}, "group": group}
        ),
    )
    for device in (waiting, own, other):
        make_deployment(make_key(device, key_use="tls"), for_administrator=True)
    inventory.update_group(actor, group, connector_settings={"pappl": {"username": "root"}})
    assert [row.device_id for row in Deployment.objects.filter(state="issued")] == [waiting.pk]


def test_the_devices_of_a_group_are_entrusted_with_what_it_will_hold_when_this_is_new() -> None:
    group = inventory.create_group(SYSTEM, name="Lab")
    device = member(group)
    Device.objects.update(secrets_entrusted_to="")
    import_module("devices.migrations.0021_group_credentials").entrust_members(apps, None)
    inventory.update_group(SYSTEM, group, connector_settings=PAPPL)
    assert not stored(device).secrets_held


def test_many_devices_cost_no_query_more(actor: Actor) -> None:
    counts = []
    for number in (1, 5):
        group = inventory.create_group(SYSTEM, name=f"Group {number}", connector_settings=PAPPL)
        ids = [member(group).pk for _ in range(number)]
        with CaptureQueriesContext(connection) as swept:
            for each in sweep._expected(ids):
                sweep._endpoints(each.device)
        with CaptureQueriesContext(connection) as changed:
            inventory.update_group(SYSTEM, group, connector_settings={"pappl": {"password": "new"}})
        counts.append((len(swept), len(changed)))
    assert counts[0] == counts[1]


def test_of_a_large_group_only_devices_with_something_to_do_are_read(
    actor: Actor, group: DeviceGroup, read: list[Device]
) -> None:
    members = [member(group) for _ in range(5)]
    make_deployment(make_key(members[1], key_use="tls"), for_administrator=True)
    make_deployment(make_key(members[2], key_use="tls"), state="issued", completed_at=None)
    read.clear()
    inventory.update_group(actor, group, connector_settings={"pappl": {"password": "new"}})
    assert [device.pk for device in read] == [members[1].pk]


def test_a_large_group_is_entrusted_in_batches(
    actor: Actor, group: DeviceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "BATCH", 2)
    members = [member(group) for _ in range(5)]
    rows = [make_deployment(make_key(each, key_use="tls"), for_administrator=True) for each in members]
    Device.objects.exclude(pk=members[0].pk).update(secrets_entrusted_to="")
    assert [*inventory.held_devices(group)] == members[1:]
    inventory.update_group(actor, group, entrust_devices=True)
    assert [*inventory.held_devices(group)] == []
    assert AuditEvent.objects.get(action="devicegroup.update").changes == {"entrusted_devices": 4}
    issued = Deployment.objects.filter(state="issued").order_by("pk")
    assert [*issued.values_list("pk", flat=True)] == [row.pk for row in rows[1:]]
