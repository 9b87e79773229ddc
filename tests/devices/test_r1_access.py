"""R1: administrators change, operators care for devices, everyone else who signs in looks.

Asked of the services themselves: pages, REST, commands and tasks all go through them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import access, inventory, templates
from devices.access import ADMINISTRATOR, OPERATOR, ROLES, VIEWER, Permission, may, require, role
from devices.audit import SYSTEM, Actor
from devices.delivery import restart
from devices.enrollment import default_key, requests
from devices.models import AuditEvent, Device
from tests.conftest import member_of
from tests.devices.factories import VIRTUAL, make_device, make_key, make_server

pytestmark = pytest.mark.django_db

Change = Callable[[Actor], object]


def acting(name: str) -> Actor:
    return Actor.of(member_of(name), AuditEvent.Source.API)


@pytest.fixture
def changes_of_scep() -> dict[str, Change]:
    """What R1 keeps for administrators."""
    device, server = make_device(make_server()), make_server()
    group = inventory.create_group(SYSTEM, name="Lab")
    return {
        "settings": partial(requests.save_settings, device=device, organization="Changed"),
        "manual request": partial(requests.request_certificate, device=device),
        "add a server": partial(inventory.create_server, name="New", url="http://ca.example.com/scep"),
        "change a server": partial(inventory.update_server, server=server, timeout=7),
        "delete a server": partial(inventory.delete_server, server=server),
        "delete a group": partial(inventory.delete_group, group=group),
        "delete a device": partial(inventory.delete_device, device=make_device()),
        "mark the default key": partial(
            default_key.set_default, key=make_key(make_device()), is_default=True
        ),
        "add a template": partial(templates.create, name="New", settings={"key_length": 2048}),
        "change a template": partial(
            templates.update,
            template=templates.create(SYSTEM, name="T", settings={"key_length": 2048}),
            name="U",
        ),
        "delete a template": partial(
            templates.delete, template=templates.create(SYSTEM, name="V", settings={"key_length": 2048})
        ),
    }


@pytest.fixture
def care_of_devices() -> dict[str, Change]:
    """What operators do besides."""
    return {
        "add devices": partial(inventory.create_devices, rows=[{"name": "new-1", "host": "10.9.0.1"}]),
        "change a device": partial(inventory.update_device, device=make_device(), location="2nd floor"),
        "add a group": partial(inventory.create_group, name="Branch"),
        "restart a device": partial(restart.request_restart, device=make_device(**VIRTUAL)),
        "change a group": partial(
            inventory.update_group, group=inventory.create_group(SYSTEM, name="Site"), time_zone="Asia/Tokyo"
        ),
    }


def test_r1_the_three_groups_come_with_every_migration() -> None:
    Group.objects.all().delete()
    access.bring_groups_up_to_date()
    held = {
        group.name: {
            f"devices.{codename}" for codename in group.permissions.values_list("codename", flat=True)
        }
        for group in Group.objects.all()
    }
    assert held == {name: set(permissions) for name, permissions in ROLES.items()}
    # what an installation added stays
    group = Group.objects.get(name=VIEWER)
    group.permissions.set(Group.objects.get(name=OPERATOR).permissions.all())
    access.bring_groups_up_to_date()
    assert group.permissions.exists()


def test_r1_administrators_change_everything(
    changes_of_scep: dict[str, Change], care_of_devices: dict[str, Change]
) -> None:
    administrator = acting(ADMINISTRATOR)
    for change in (*changes_of_scep.values(), *care_of_devices.values()):
        change(administrator)


def test_r1_operators_care_for_devices_and_leave_scep_alone(
    changes_of_scep: dict[str, Change], care_of_devices: dict[str, Change]
) -> None:
    operator = acting(OPERATOR)
    for change in care_of_devices.values():
        change(operator)
    events = AuditEvent.objects.count()
    for name, change in changes_of_scep.items():
        with pytest.raises(PermissionDenied, match="administrator"):
            change(operator)
        assert AuditEvent.objects.count() == events, name


@pytest.mark.parametrize("group", [VIEWER, ""])
def test_r1_everyone_else_changes_nothing(
    changes_of_scep: dict[str, Change], care_of_devices: dict[str, Change], group: str
) -> None:
    viewer = acting(group)
    events, devices = AuditEvent.objects.count(), Device.objects.count()
    for change in (*changes_of_scep.values(), *care_of_devices.values()):
        with pytest.raises(PermissionDenied):
            change(viewer)
    assert (AuditEvent.objects.count(), Device.objects.count()) == (events, devices)


def test_r1_rights_that_were_taken_away_are_gone_at_once() -> None:
    administrator = acting(ADMINISTRATOR)
    assert administrator.user is not None
    administrator.user.is_active = False
    with pytest.raises(PermissionDenied):
        requests.save_settings(administrator, make_device(), organization="Changed")


def test_strangers_and_superusers() -> None:
    assert not may(AnonymousUser(), Permission.CHANGE_DEVICE)
    assert may(User(username="root", is_superuser=True), Permission.CHANGE_SCEP_SETTINGS)
    assert not may(User(username="gone", is_superuser=True, is_active=False), Permission.CHANGE_SCEP_SETTINGS)
    require(SYSTEM, Permission.CHANGE_SCEP_SETTINGS)


def test_roles_by_what_one_may_do() -> None:
    assert [role(member_of(name)) for name in (ADMINISTRATOR, OPERATOR, VIEWER, "")] == [
        *(ADMINISTRATOR, OPERATOR, VIEWER),
        VIEWER,
    ]
    assert role(User(username="root", is_superuser=True)) == ADMINISTRATOR
    assert role(AnonymousUser()) == VIEWER


def test_permissions_are_looked_up_once_per_request() -> None:
    user = member_of(ADMINISTRATOR)
    with CaptureQueriesContext(connection) as captured:
        assert all(may(user, permission) for permission in Permission)
    assert len(captured) == 2, "the user's own and those of the groups"
