"""Credentials of a device group on the pages: entered, kept, removed, and where a device has them from."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from devices import inventory
from devices.audit import SYSTEM, Actor
from devices.models import AuditEvent, Device, DeviceGroup
from devices.models.device import GROUP_SECRETS_HELD
from tests.devices.factories import make_device
from tests.fleet.dashboard.filling import Form, errors_at
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

PASSWORD = "s3cret-of-the-group"
PAPPL = {"pappl": {"username": "fleet", "password": PASSWORD}}


@pytest.fixture
def group() -> DeviceGroup:
    return inventory.create_group(SYSTEM, name="Office", connector_settings=PAPPL)


class TestForm:
    def test_they_are_entered_kept_and_not_shown(self, operator_client: Client) -> None:
        Form(operator_client, "group-add").submit(
            name="Office", pappl__username="fleet", pappl__password=PASSWORD
        )
        group = DeviceGroup.objects.get()
        assert group.connector_settings == {"pappl": {"username": "fleet"}}
        form = Form(operator_client, "group-edit", group.pk)
        page = operator_client.get(form.address).content.decode()
        assert PASSWORD not in page
        assert "It is stored. Leave this empty to keep it." in page
        assert "Credentials: PAPPL" in page
        events = AuditEvent.objects.count()
        form.submit()
        assert AuditEvent.objects.count() == events, "saved unchanged"
        form.submit(pappl__username="root")
        group.refresh_from_db()
        assert group.connector_settings == {"pappl": {"username": "root"}}
        assert group.reveal_connector_secrets() == {"pappl": {"password": PASSWORD}}
        listed = Document(operator_client.get(reverse("group-list"))).text
        assert "Passwords for: PAPPL" in listed

    def test_they_are_removed(self, operator_client: Client, group: DeviceGroup) -> None:
        form = Form(operator_client, "group-edit", group.pk)
        refused = form.submit(422, pappl__remove="on", pappl__password="new")
        assert set(errors_at(refused)) == {"pappl__remove"}
        form.submit(pappl__remove="on")
        group.refresh_from_db()
        assert (group.connector_settings, group.connector_secrets_set) == ({}, {})
        assert "pappl__remove" not in operator_client.get(form.address).content.decode()

    def test_what_does_not_fit_is_said_at_its_field(
        self, operator_client: Client, group: DeviceGroup
    ) -> None:
        form = Form(operator_client, "group-edit", group.pk)
        page = form.submit(422, sftp__username="root")
        assert "A user name alone" in errors_at(page)["sftp__username"]
        page = form.submit(422, sftp__private_key="no key")
        assert set(errors_at(page)) == {"sftp__private_key"}

    def test_a_group_needs_none(self, operator_client: Client) -> None:
        Form(operator_client, "group-add").submit(name="Lab")
        assert DeviceGroup.objects.get().connector_settings == {}


class TestDevice:
    def test_its_page_says_that_the_password_is_from_the_group(
        self, operator_client: Client, group: DeviceGroup
    ) -> None:
        device = make_device(connector="pappl", group=group)
        for name in ("device-detail", "device-connection"):
            page = Document(operator_client.get(reverse(name, args=[device.pk])))
            assert "Its password comes from the group Office." in page.text
        edited = operator_client.get(reverse("device-edit", args=[device.pk])).content.decode()
        assert "The device group has one. Leave this empty to use it." in edited

    def test_one_that_an_operator_brings_into_the_group_waits_for_an_administrator(
        self, operator_client: Client, administrator_client: Client, group: DeviceGroup
    ) -> None:
        Form(operator_client, "device-add").submit(
            name="mine", host="10.6.6.6", connector="pappl", group=str(group.pk)
        )
        device = Device.objects.get()
        page = Document(operator_client.get(reverse("device-detail", args=[device.pk])))
        assert page.text.count(GROUP_SECRETS_HELD) == 2, "once as a message, once beside the connector"
        Form(administrator_client, "device-edit", device.pk).submit()
        page = Document(operator_client.get(reverse("device-detail", args=[device.pk])))
        assert "Its password comes from the group Office." in page.text

    def test_or_until_one_has_them_sent_to_the_whole_group(
        self, operator: User, operator_client: Client, administrator_client: Client, group: DeviceGroup
    ) -> None:
        by_operator = Actor.of(operator, AuditEvent.Source.DASHBOARD)
        device = inventory.create_device(
            by_operator, name="mine", host="10.6.6.6", connector="pappl", group=group
        )
        form = Form(operator_client, "group-edit", group.pk)
        assert "entrust_devices" not in operator_client.get(form.address).content.decode()
        form.submit()
        listed = Document(operator_client.get(reverse("group-list"))).text
        assert "1 device of this group does not get its password" in listed
        form.submit(entrust_devices="on")
        assert Device.objects.get().secrets_held, "whatever is sent"
        Form(administrator_client, "group-edit", group.pk).submit(entrust_devices="on")
        device = Device.objects.get()
        assert not device.secrets_held
        assert (
            "does not get its password" not in Document(administrator_client.get(reverse("group-list"))).text
        )

    def test_a_setting_that_the_group_has_may_be_left_empty(
        self, administrator_client: Client, group: DeviceGroup
    ) -> None:
        inventory.update_group(
            SYSTEM, group, connector_settings={"sftp": {"username": "root", "password": PASSWORD}}
        )
        paths: dict[str, Any] = {"sftp__key_path": "/k", "sftp__certificate_path": "/c"}
        form = Form(administrator_client, "device-add")
        refused = form.submit(422, name="host", host="10.0.0.1", connector="sftp", **paths)
        assert set(errors_at(refused)) == {"sftp__username"}
        form.submit(name="host", host="10.0.0.1", connector="sftp", group=str(group.pk), **paths)
        assert Device.objects.get().connect().target.settings["username"] == "root"
