"""A pytest plugin: a private PostgreSQL and Redis for the session, known before Django reads its settings.

Loaded with `-p tests.peers.plugin` (pyproject.toml). The servers start while pytest collects, and end with
the session. FLEETSEAL_TEST_DATABASE=sqlite takes an SQLite file in place of PostgreSQL. What cannot be had
fails the session and says what to install; nothing is skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import postgres, redis
from tests.peers.process import free_port

pytest_plugins = ["tests.peers.browser"]

_ROOT = Path(__file__).resolve().parent.parent.parent

_OTHERS_PREFIXES = ("FLEETSEAL_", "PG")
"""The second: libpq's, of which PGSSLMODE, PGOPTIONS and others count beside the URL too."""
_OTHERS = {
    *("database_url_file", "redis_url_file", "django_settings_module"),
    # a proxy would be asked for what listens on 127.0.0.1
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
}
"""Lower-case names; proxies are looked up in either case."""


class Session:
    """The folder and the servers of one test session."""

    def __init__(self) -> None:
        self.directory = Path()
        self._starter = ThreadPoolExecutor(2, thread_name_prefix="peers")
        self._starting: list[Future[Any]] = []
        self._started = contextlib.ExitStack()

    def prepare(self) -> None:
        """Put the addresses into the environment and let the servers start behind our back."""
        database = os.environ.get("FLEETSEAL_TEST_DATABASE", "postgresql")
        if database not in {"postgresql", "sqlite"}:
            raise pytest.UsageError(f"FLEETSEAL_TEST_DATABASE: postgresql or sqlite, not {database!r}")
        self.directory = Path(tempfile.mkdtemp(prefix="fleetseal-tests-"))
        # what the developer's shell says about other installations is none of the tests' business
        for name in [*os.environ]:
            if name != "FLEETSEAL_TEST_DATABASE" and (
                name.startswith(_OTHERS_PREFIXES) or name.lower() in _OTHERS
            ):
                del os.environ[name]
        data_dir = self.directory / "data"
        data_dir.mkdir()
        (data_dir / "static").mkdir()  # WhiteNoise warns when it is missing
        # the pages' third-party assets are built once, by `make assets`
        (data_dir / "assets").symlink_to(_ROOT / "var" / "assets")
        os.environ["FLEETSEAL_DATA_DIR"] = str(data_dir)
        redis_port = free_port()
        os.environ["REDIS_URL"] = f"redis://127.0.0.1:{redis_port}/0"
        self._start(redis.running_server(self.directory, port=redis_port))
        if database == "sqlite":
            os.environ["DATABASE_URL"] = f"sqlite:///{self.directory / 'tests.sqlite3'}"
        else:
            port = free_port()
            os.environ["DATABASE_URL"] = (
                f"postgresql://{postgres.DATABASE}@127.0.0.1:{port}/{postgres.DATABASE}"
            )
            self._start(postgres.running_server(self.directory, port=port))

    def use_sqlite_file(self) -> None:
        """Keep Django from its own SQLite in memory, which locks in other ways than the file of a real site."""
        from django.conf import settings

        database = settings.DATABASES["default"]
        if database["ENGINE"].endswith("sqlite3"):
            database.setdefault("TEST", {})["NAME"] = str(self.directory / "tests.sqlite3")

    def _start(self, server: AbstractContextManager[Any]) -> None:
        def enter() -> AbstractContextManager[Any]:
            server.__enter__()
            return server

        self._starting.append(self._starter.submit(enter))

    def wait(self) -> None:
        """Return when every server answers. Raises what kept one from it."""
        while self._starting:
            self._started.push(self._starting.pop().result())

    def close(self) -> None:
        """End the servers and remove the folder."""
        with contextlib.suppress(Exception):
            self.wait()
        while self._starting:
            with contextlib.suppress(Exception):
                self._started.push(self._starting.pop().result())
        self._starter.shutdown()
        self._started.close()
        shutil.rmtree(self.directory, ignore_errors=True)


_session = Session()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Before pytest-django, which reads the settings in its own implementation of this hook."""
    _session.prepare()
    early_config.add_cleanup(_session.close)
    loaded = yield
    _session.use_sqlite_file()
    return loaded


def pytest_collection_finish(session: pytest.Session) -> None:
    """No test starts before the servers answer."""
    if session.config.option.collectonly:
        return
    try:
        _session.wait()
    except Exception as error:
        pytest.exit(f"a counterpart of the tests did not start: {error}", returncode=3)
