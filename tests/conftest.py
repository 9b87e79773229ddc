"""What many tests need: people, and the actor for whom services record their events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client

from devices.access import ADMINISTRATOR, OPERATOR, VIEWER
from devices.audit import Actor
from devices.models import AuditEvent
from tests.devices import factories
from tests.peers.mfps import Mfps, virtual_mfps

PASSWORD = "correct horse battery staple"

# the same examples in every run, however slow the machine; --hypothesis-profile=explore looks for others
hypothesis.settings.register_profile(
    "explore", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("tests", hypothesis.settings.get_profile("explore"), derandomize=True)
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    """Take a password hash that costs nothing: the tests sign in often and keep no real password."""
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_collection_finish() -> None:
    """Compile the translations when they are older than their sources, as `make messages` does."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po
    from django.conf import settings

    for source in Path(settings.LOCALE_PATHS[0]).glob("*/LC_MESSAGES/*.po"):
        compiled = source.with_suffix(".mo")
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            # whole at once: another worker of this session may be reading it
            whole = compiled.with_suffix(f".{os.getpid()}.mo")
            with source.open("rb") as catalog, whole.open("wb") as file:
                write_mo(file, read_po(catalog))
            whole.replace(compiled)


@pytest.fixture(autouse=True)
def no_tries_left_over() -> None:
    """How often one test signed in does not count for the next."""
    cache.clear()


@pytest.fixture(autouse=True)
def time_goes_on() -> None:
    """What has just passed for one test may be long ago for a later one."""
    factories.begin_test()


def member_of(group: str) -> User:
    """A user named after the group (R1) that it is in; without one, named `nobody`."""
    user = User.objects.create_user(group.lower() or "nobody", password=PASSWORD)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


@pytest.fixture
def administrator(db: None) -> User:
    """Somebody who may change things (R1)."""
    return member_of(ADMINISTRATOR)


@pytest.fixture
def operator(db: None) -> User:
    """Somebody who cares for devices, and leaves SCEP to administrators (R1)."""
    return member_of(OPERATOR)


@pytest.fixture
def viewer(db: None) -> User:
    """Somebody who may sign in and look (R1)."""
    return member_of(VIEWER)


@pytest.fixture
def actor(administrator: User) -> Actor:
    """The administrator, coming in by the dashboard from a loopback address."""
    return Actor.of(administrator, AuditEvent.Source.DASHBOARD, "127.0.0.1")


@pytest.fixture
def administrator_client(administrator: User) -> Client:
    """Django's test client, signed in as the administrator."""
    client = Client()
    client.force_login(administrator)
    return client


@pytest.fixture
def viewer_client(viewer: User) -> Client:
    """Django's test client, signed in as the viewer."""
    client = Client()
    client.force_login(viewer)
    return client


@pytest.fixture
def operator_client(operator: User) -> Client:
    """Django's test client, signed in as the operator."""
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture(scope="session")
def mfps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mfps]:
    """Virtual MFPs, each for one test."""
    with virtual_mfps(tmp_path_factory.mktemp("mfps"), devices=600) as running:
        yield running
