"""The environment, read once, checked, and frozen. Each variable NAME may also be given as NAME_FILE.

`NAME_FILE` holds the path of a file with the value (Docker and Kubernetes secrets). What is not given and
must be secret is drawn once and kept under the data folder with mode 0600.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from environs import FileAwareEnv

BASE_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Environment:
    """What the surroundings say. Secrets stay out of its repr."""

    data_dir: Path
    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)
    database: dict[str, Any] = field(repr=False)
    broker_url: str = field(repr=False)
    debug: bool
    https: bool
    """True when browsers reach the site over HTTPS: secure cookies, HSTS, the proxy's header is believed."""
    proxies: int
    """How many proxies stand before us, each adding an address to X-Forwarded-For; 0: the header is not believed."""
    allowed_hosts: tuple[str, ...]
    csrf_trusted_origins: tuple[str, ...]
    time_zone: str
    language: str
    log_level: str
    log_format: str
    """`text`, `json`, or `auto`: text on a terminal, JSON otherwise."""
    tick_seconds: float
    """Seconds between two looks for due requests."""
    lease_seconds: int
    """How long a claimed request may wait in the queue before it is claimed anew."""
    api_rate: tuple[int, int] | None
    """Calls to REST that a token may make, and within how many seconds; None: as many as it likes."""
    sweep_interval: timedelta | None
    """Between two looks at the certificate that a device serves; None: nobody looks."""


def kept_secret(path: Path, draw: Callable[[], str]) -> str:
    """The secret in `path`; drawn and stored there with mode 0600 when the file does not exist.

    Safe when several processes start at once: the first one's secret wins, nobody reads half a file.
    """
    if not path.exists():
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        except OSError as error:
            raise ImproperlyConfigured(
                f"{path} cannot be written ({error.strerror}): give the secret in the environment, or make "
                "FLEETSEAL_DATA_DIR a folder that this user may write"
            ) from None
        with os.fdopen(handle, "w") as file:
            file.write(draw())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            os.unlink(name)
    return path.read_text().strip()


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            # writers queue for the lock at once instead of failing when they upgrade a read
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
        },
    }


def _database(env: FileAwareEnv, data_dir: Path) -> dict[str, Any]:
    url = env.str("DATABASE_URL", "")
    if not url:
        return _sqlite(data_dir / "fleetseal.sqlite3")
    database: dict[str, Any] = env.dj_db_url("DATABASE_URL")
    if database["ENGINE"].endswith("sqlite3"):
        return _sqlite(Path(database["NAME"]))
    if not database["ENGINE"].endswith("postgresql"):
        raise ImproperlyConfigured("DATABASE_URL: expected postgresql://... or sqlite:///...")
    return {**database, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}


_PERIODS = {"s": 1, "min": 60, "h": 3600}


def _rate(text: str) -> tuple[int, int] | None:
    """Calls and seconds of a rate like `6000/min`; None for `off`."""
    count, _slash, period = text.strip().partition("/")
    if text.strip() == "off":
        return None
    if not (count.isascii() and count.isdigit() and int(count) > 0) or period not in _PERIODS:
        raise ImproperlyConfigured(
            f"FLEETSEAL_API_RATE: expected a number of calls and s, min or h, like 6000/min, or off; not {text!r}"
        )
    return int(count), _PERIODS[period]


_MOST_SWEEP_HOURS = 30 * 24


def _sweep_interval(text: str) -> timedelta | None:
    """A whole number of hours; None for `off` and 0."""
    hours = text.strip()
    if hours in {"off", "0"}:
        return None
    if not (hours.isascii() and hours.isdigit() and 1 <= int(hours) <= _MOST_SWEEP_HOURS):
        raise ImproperlyConfigured(
            f"FLEETSEAL_SWEEP_HOURS: expected whole hours from 1 to {_MOST_SWEEP_HOURS}, or off; not {text!r}"
        )
    return timedelta(hours=int(hours))


def _make_folder(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"FLEETSEAL_DATA_DIR: {data_dir} cannot be made ({error.strerror})"
        ) from None


def read() -> Environment:
    """The environment of this process.

    Raises ImproperlyConfigured, naming the variable and what was expected of it.
    """
    # editors and `echo` end a file with a newline that is no part of the secret
    env = FileAwareEnv(strip_whitespace=True)
    try:
        data_dir = Path(env.str("FLEETSEAL_DATA_DIR", str(BASE_DIR / "var"))).resolve()
        _make_folder(data_dir)
        ring = env.str("FLEETSEAL_ENCRYPTION_KEYS", "") or kept_secret(
            data_dir / "encryption_key", lambda: Fernet.generate_key().decode()
        )
        keys = tuple(key.strip() for key in ring.split(",") if key.strip())
        for number, key in enumerate(keys, start=1):
            try:
                Fernet(key)
            except ValueError:
                raise ImproperlyConfigured(
                    f"FLEETSEAL_ENCRYPTION_KEYS: key {number} of {len(keys)} is not 32 bytes in URL-safe "
                    "base64; make one with `manage.py new_encryption_key`"
                ) from None
        return Environment(
            data_dir=data_dir,
            secret_key=env.str("FLEETSEAL_SECRET_KEY", "")
            or kept_secret(data_dir / "secret_key", lambda: secrets.token_urlsafe(64)),
            encryption_keys=keys,
            database=_database(env, data_dir),
            broker_url=env.str("REDIS_URL", "") or f"redis+socket://{data_dir / 'broker.sock'}",
            debug=env.bool("FLEETSEAL_DEBUG", False),
            https=env.bool("FLEETSEAL_HTTPS", False),
            proxies=env.int("FLEETSEAL_PROXIES", 0),
            allowed_hosts=tuple(env.list("FLEETSEAL_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])),
            csrf_trusted_origins=tuple(env.list("FLEETSEAL_CSRF_TRUSTED_ORIGINS", [])),
            time_zone=env.str("FLEETSEAL_TIME_ZONE", "UTC"),
            language=env.str("FLEETSEAL_LANGUAGE", "en"),
            log_level=env.str("FLEETSEAL_LOG_LEVEL", "INFO"),
            log_format=env.str("FLEETSEAL_LOG_FORMAT", "auto"),
            tick_seconds=env.float("FLEETSEAL_TICK_SECONDS", 2.0),
            lease_seconds=env.int("FLEETSEAL_LEASE_SECONDS", 60),
            api_rate=_rate(env.str("FLEETSEAL_API_RATE", "6000/min")),
            sweep_interval=_sweep_interval(env.str("FLEETSEAL_SWEEP_HOURS", "24")),
        )
    except ValueError as error:  # EnvError is one; an unreadable NAME_FILE is a plain one
        raise ImproperlyConfigured(str(error)) from None
