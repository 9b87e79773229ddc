"""Private PostgreSQL servers out of Debian's package, each with its own temporary cluster."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.peers.process import free_port, ordinary_user, running

DATABASE = "fleetseal"
_STARTED = ("postgres", "initdb")
_INITDB = (
    *("--username", DATABASE, "--auth", "trust", "--encoding", "UTF8"),
    *("--no-locale", "--no-sync", "--no-instructions"),
)

_FOR_TESTS = {
    # the cluster does not outlive its test: nothing has to survive a power cut
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}


def binaries() -> Path:
    """The folder of the newest installed server. Raises RuntimeError, naming the Debian package."""
    candidates = [
        folder
        for folder in Path("/usr/lib/postgresql").glob("*/bin")
        if all((folder / name).exists() for name in _STARTED)
    ]
    if candidates:
        return max(candidates, key=lambda folder: float(folder.parent.name))
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise RuntimeError(
        "the tests need a PostgreSQL server: apt-get install postgresql "
        "(or scripts/install-debian-packages), or FLEETSEAL_TEST_DATABASE=sqlite for a pass on SQLite"
    )


@contextlib.contextmanager
def running_server(directory: Path, *, port: int | None = None) -> Iterator[str]:
    """A server of its own until the block ends; yields the URL of an empty database in it.

    `directory` gets the log only: as root the cluster belongs to another user, who cannot enter a folder
    of pytest's. Raises RuntimeError, naming the Debian package, when there is no PostgreSQL.
    """
    folder = binaries()
    port = port or free_port()
    user = ordinary_user()
    log = directory / "postgresql.log"
    cluster = Path(tempfile.mkdtemp(prefix="fleetseal-postgresql-"))
    try:
        if user is not None:
            os.chown(cluster, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        data = cluster / "data"
        made = subprocess.run(
            [folder / "initdb", "--pgdata", data, *_INITDB],
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            cwd=cluster,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if made.returncode:
            raise RuntimeError(f"initdb ended with {made.returncode}: {made.stdout}{made.stderr}")
        settings = [word for name, value in _FOR_TESTS.items() for word in ("-c", f"{name}={value}")]
        address = f"postgresql://{DATABASE}@127.0.0.1:{port}"

        def ready() -> bool:
            try:
                with psycopg.connect(
                    f"{address}/postgres", autocommit=True, connect_timeout=30
                ) as connection:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            except psycopg.OperationalError:
                return False
            return True

        with running(
            [folder / "postgres", "-D", data, "-p", str(port), *settings],
            ready=ready,
            log=log,
            cwd=cluster,
            user=user,
        ) as process:
            try:
                yield f"{address}/{DATABASE}"
            finally:
                if process.poll() is None:
                    # a "fast" shutdown: SIGTERM would wait for connections that somebody left open
                    process.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(10)
    finally:
        shutil.rmtree(cluster, ignore_errors=True)
