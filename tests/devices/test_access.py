"""R1: who may change things."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.access import ADMINISTRATOR_GROUP, is_administrator, require_administrator

pytestmark = pytest.mark.django_db


def test_the_group_comes_with_the_migrations() -> None:
    Group.objects.all().delete()
    import_module("devices.migrations.0002_administrators").create_group(apps, None)
    assert Group.objects.filter(name=ADMINISTRATOR_GROUP).exists()


def test_r1_administrators_change_and_nobody_else(administrator: User, viewer: User) -> None:
    require_administrator(administrator)
    require_administrator(User(username="root", is_superuser=True))
    for other in (viewer, AnonymousUser(), User(username="gone", is_superuser=True, is_active=False)):
        with pytest.raises(PermissionDenied):
            require_administrator(other)


def test_it_is_looked_up_once_per_request(administrator: User) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert all(is_administrator(administrator) for _ in range(5))
    assert len(captured) == 1
