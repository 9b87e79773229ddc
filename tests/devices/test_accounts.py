"""`manage.py account`: who may sign in, and as what (R1)."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from devices.models import AuditEvent

pytestmark = pytest.mark.django_db

PASSWORD = "a long walk in the rain"


class _Piped(io.StringIO):
    def isatty(self) -> bool:
        return False


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with a password on standard input; what it printed."""

    def run(*arguments: str, password: str = PASSWORD) -> str:
        output = io.StringIO()
        monkeypatch.setattr("sys.stdin", _Piped(password + "\n"))
        call_command("account", *arguments, stdout=output)
        return output.getvalue().strip()

    return run


def sign_in(client: Client, password: str = PASSWORD) -> bool:
    return client.login(username="maria", password=password)


def test_a_new_account_signs_in_with_its_role(account: Any, client: Client) -> None:
    assert account("maria", "--role", "operator") == "maria: Operator, can sign in"
    assert sign_in(client)
    assert client.get(reverse("device-add")).status_code == 200
    assert client.get(reverse("server-add")).status_code == 403
    event = AuditEvent.objects.get(action="user.create")
    assert (event.target_name, event.source) == ("maria", "command")
    assert event.changes == {"password": "changed", "role": [None, "Operator"]}


def test_a_role_is_one_role(account: Any) -> None:
    account("maria", "--role", "administrator")
    assert account("maria", "--role", "viewer") == "maria: Viewer, can sign in"
    assert [group.name for group in User.objects.get().groups.all()] == ["Viewer"]
    event = AuditEvent.objects.get(action="user.update")
    assert event.changes == {"role": ["Administrator", "Viewer"]}


def test_who_leaves_is_signed_out_and_may_come_back(account: Any, client: Client) -> None:
    account("maria", "--role", "operator")
    sign_in(client)
    assert account("maria", "--close") == "maria: Operator, cannot sign in"
    assert client.get(reverse("start")).status_code == 302
    assert not sign_in(client)
    assert account("maria", "--open") == "maria: Operator, can sign in"
    assert sign_in(client)


def test_a_new_password(account: Any, client: Client) -> None:
    account("maria", "--role", "viewer")
    account("maria", "--password", password="another long walk")
    assert not sign_in(client)
    assert sign_in(client, "another long walk")
    assert "walk" not in str([*AuditEvent.objects.values_list("changes", flat=True)])


def test_nothing_said_changes_nothing(account: Any) -> None:
    account("maria", "--role", "viewer")
    events = AuditEvent.objects.count()
    assert account("maria") == "maria: Viewer, can sign in"
    assert account("maria", "--role", "viewer", "--open") == "maria: Viewer, can sign in"
    assert AuditEvent.objects.count() == events


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (["maria"], PASSWORD, "role: A new account needs it."),
        (["maria", "--role", "viewer"], "", "password: A new account needs it."),
        (["maria", "--role", "viewer"], "maria", "password: The password is too similar to the username."),
        (["ma ria", "--role", "viewer"], PASSWORD, "username: Enter a valid username."),
    ],
)
def test_bad_input_names_its_field_and_makes_nothing(
    account: Any, arguments: list[str], password: str, words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        account(*arguments, password=password)
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()
