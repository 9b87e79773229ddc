"""Encryption at rest: the ring, its rotation, and that nobody forgot a column."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db.models import BinaryField
from django.test import override_settings

from devices import secrets
from devices.management.commands.rotate_secrets import ENCRYPTED_COLUMNS
from devices.models import ScepSettings
from devices.secrets import SecretUnreadable
from tests.devices.factories import CHALLENGE, make_device

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_a_token_does_not_show_the_secret() -> None:
    token = secrets.encrypt(b"the secret")
    assert b"the secret" not in token
    assert secrets.encrypt(b"the secret") != token, "equal secrets have different tokens"
    assert secrets.decrypt(token) == b"the secret"


def test_an_altered_token_is_refused() -> None:
    token = bytearray(secrets.encrypt(b"x"))
    token[20] ^= 1
    with pytest.raises(SecretUnreadable, match="FLEETSEAL_ENCRYPTION_KEYS"):
        secrets.decrypt(bytes(token))


def test_the_empty_text_is_no_secret() -> None:
    assert secrets.encrypt_text("") is None
    assert secrets.decrypt_text(None) == ""


@pytest.mark.django_db
def test_rotation_moves_every_secret_to_the_first_key() -> None:
    output = StringIO()
    with override_settings(ENCRYPTION_KEYS=(OLD,)):
        device = make_device(settings={"challenge_password": CHALLENGE})
    with override_settings(ENCRYPTION_KEYS=(NEW, OLD)):
        call_command("rotate_secrets", stdout=output)
    assert "SCEP settings: 1 secrets rotated" in output.getvalue()
    with override_settings(ENCRYPTION_KEYS=(NEW,)):
        assert ScepSettings.objects.get(device=device).reveal_challenge_password() == CHALLENGE


@pytest.mark.django_db
def test_rotation_names_the_row_that_no_key_opens() -> None:
    with override_settings(ENCRYPTION_KEYS=(OLD,)):
        make_device(settings={"challenge_password": CHALLENGE})
    with (
        override_settings(ENCRYPTION_KEYS=(NEW,)),
        pytest.raises(CommandError, match="FLEETSEAL_ENCRYPTION_KEYS"),
    ):
        call_command("rotate_secrets", stdout=StringIO())


def test_every_encrypted_column_is_rotated() -> None:
    stored = {
        (model, field.name)
        for model in apps.get_app_config("devices").get_models()
        for field in model._meta.get_fields()
        if isinstance(field, BinaryField) and field.name.endswith("_encrypted")
    }
    assert stored == {(model, column) for model, columns in ENCRYPTED_COLUMNS for column in columns}


def test_new_encryption_key_prints_a_key_that_works() -> None:
    output = StringIO()
    call_command("new_encryption_key", stdout=output)
    Fernet(output.getvalue().strip())
