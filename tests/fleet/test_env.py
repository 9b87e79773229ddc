"""fleet/env.py: what the surroundings say is checked once, and an error names the variable."""

from __future__ import annotations

import os
import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from fleet import env

_ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def _only_a_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("FLEETSEAL_") or name in {"DATABASE_URL", "REDIS_URL"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLEETSEAL_DATA_DIR", str(tmp_path / "data"))


def test_nothing_given_is_a_working_installation_on_one_machine(tmp_path: Path) -> None:
    read = env.read()
    assert read.data_dir == (tmp_path / "data").resolve()
    assert read.database["NAME"] == str(read.data_dir / "fleetseal.sqlite3")
    assert read.database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert read.broker_url == f"redis+socket://{read.data_dir / 'broker.sock'}"
    assert (read.debug, read.https, read.language) == (False, False, "en")


def test_secrets_are_drawn_once_and_kept_for_the_owner_alone() -> None:
    first, second = env.read(), env.read()
    assert (first.secret_key, first.encryption_keys) == (second.secret_key, second.encryption_keys)
    for name in ("secret_key", "encryption_key"):
        assert stat.S_IMODE((first.data_dir / name).stat().st_mode) == 0o600


def test_secrets_stay_out_of_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@db/fleetseal")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@broker/0")
    read = env.read()
    for secret in (read.secret_key, *read.encryption_keys, "hunter2"):
        assert secret not in repr(read)


def test_every_secret_can_come_out_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_URL": "postgresql://u:p%40ss@db.example.com:5433/fleetseal",
        "REDIS_URL": "redis://broker.example.com/1",
        "FLEETSEAL_SECRET_KEY": "k" * 60,
        "FLEETSEAL_ENCRYPTION_KEYS": f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    read = env.read()
    assert (read.database["HOST"], read.database["PORT"], read.database["PASSWORD"]) == (
        "db.example.com",
        5433,
        "p@ss",
    )
    assert read.broker_url == "redis://broker.example.com/1"
    assert read.secret_key == "k" * 60
    assert ",".join(read.encryption_keys) == values["FLEETSEAL_ENCRYPTION_KEYS"]
    assert not (read.data_dir / "secret_key").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FLEETSEAL_ENCRYPTION_KEYS", "short", "FLEETSEAL_ENCRYPTION_KEYS: key 1 of 1 is not 32 bytes"),
        ("FLEETSEAL_DEBUG", "perhaps", "FLEETSEAL_DEBUG"),
        ("FLEETSEAL_HTTPS", "2", "FLEETSEAL_HTTPS"),
        ("FLEETSEAL_LEASE_SECONDS", "1 minute", "FLEETSEAL_LEASE_SECONDS"),
        ("FLEETSEAL_TICK_SECONDS", "often", "FLEETSEAL_TICK_SECONDS"),
        ("FLEETSEAL_API_RATE", "6000", "FLEETSEAL_API_RATE: expected a number of calls"),
        ("FLEETSEAL_API_RATE", "0/min", "FLEETSEAL_API_RATE"),
        ("FLEETSEAL_API_RATE", "5/day", "FLEETSEAL_API_RATE"),
        (
            "FLEETSEAL_SWEEP_HOURS",
            "",
            "FLEETSEAL_SWEEP_HOURS: expected whole hours from 1 to 720, or off; not ''",
        ),
        ("FLEETSEAL_SWEEP_HOURS", "1.5", "FLEETSEAL_SWEEP_HOURS"),
        ("FLEETSEAL_SWEEP_HOURS", "-1", "FLEETSEAL_SWEEP_HOURS"),
        ("FLEETSEAL_SWEEP_HOURS", "721", "FLEETSEAL_SWEEP_HOURS"),
        ("DATABASE_URL", "mysql://u@db/fleetseal", "DATABASE_URL: expected postgresql://"),
        ("DATABASE_URL_FILE", "/nonexistent/secret", "DATABASE_URL_FILE must be a readable file path"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=re.escape(expected)):
        env.read()


@pytest.mark.parametrize(
    ("value", "rate"), [("6000/min", (6000, 60)), ("5/s", (5, 1)), ("100/h", (100, 3600)), ("off", None)]
)
def test_how_often_a_token_may_call(
    monkeypatch: pytest.MonkeyPatch, value: str, rate: tuple[int, int] | None
) -> None:
    monkeypatch.setenv("FLEETSEAL_API_RATE", value)
    assert env.read().api_rate == rate


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        ("1", timedelta(hours=1)),
        (" 24\n", timedelta(days=1)),
        ("720", timedelta(days=30)),
        ("off", None),
        ("0", None),
    ],
)
def test_how_often_served_certificates_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, value: str, interval: timedelta | None
) -> None:
    assert env.read().sweep_interval == timedelta(days=1)
    monkeypatch.setenv("FLEETSEAL_SWEEP_HOURS", value)
    assert env.read().sweep_interval == interval


def test_a_wrong_encryption_key_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Fernet.generate_key().decode()
    monkeypatch.setenv("FLEETSEAL_ENCRYPTION_KEYS", f"{good},{good[:-8]}")
    with pytest.raises(ImproperlyConfigured, match="key 2 of 2") as caught:
        env.read()
    assert good not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@db:port/fleetseal", "hunter2", "oracle://u:hunter2@db/x"]
)
def test_a_wrong_database_url_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as caught:
        env.read()
    assert "hunter2" not in str(caught.value)


def test_a_data_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLEETSEAL_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(ImproperlyConfigured, match="FLEETSEAL_DATA_DIR"):
        env.read()


def test_the_operators_manual_has_every_variable() -> None:
    code = (_ROOT / "fleet" / "env.py").read_text()
    variables = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', code))
    assert len(variables) >= 15
    manual = (_ROOT / "docs" / "operations.md").read_text()
    rows = set(re.findall(r"^\| `([A-Z_]+)`", manual, re.MULTILINE))
    assert rows == variables
