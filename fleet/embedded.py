"""`python -m fleet.embedded`: all of Fleetseal on one machine, in one foreground process tree.

Broker, worker, beat and web are separate programs under one supervisor; the database is SQLite under the
data folder unless DATABASE_URL says otherwise. Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

from fleet import env
from fleet.broker import Broker, choose
from fleet.supervisor import Interrupted, Program, StartFailed, Supervisor, end_with_parent, say

HOST = "127.0.0.1"
ADMINISTRATOR = "admin"

_KEPT_PORTS = range(30_000, 32_768)
"""Below those that Linux gives to outgoing connections: any of them could hold a port at the next start."""


class CannotStart(Exception):
    """A reason that the person at the terminal can do something about."""


@dataclass(slots=True)
class Installation:
    """What one start works with, and what the demo adds to it."""

    data_dir: Path
    port: int
    password: str
    """What PASSWORD says; empty when it says nothing."""
    command: str = "make run"
    """How the person started us, for messages."""
    prepare: Callable[[], None] | None = None
    """Called when the database is ready and nothing runs yet."""
    programs: list[Program] = field(default_factory=list)
    """Started after the broker and before the worker."""
    tick: Callable[[], None] | None = None
    """Called every second while everything runs."""
    greeting: Sequence[str] = ()
    """Lines after the address and the sign-in."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data folder. Raises CannotStart when another supervisor holds it."""
    with (data_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotStart(
                f"Fleetseal already runs on {data_dir} (process {lock.read().strip() or 'unknown'}). "
                "End that one first, or give this one its own FLEETSEAL_DATA_DIR and PORT."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_free_port(port: int, command: str, *, patience: float = 3.0) -> None:
    """Raise CannotStart when something else listens on the port; programs of a killed start get a moment."""
    deadline = time.monotonic() + patience
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return
            except PermissionError:
                raise CannotStart(
                    f"port {port} needs privileges; choose one above 1023: {command} PORT=8000"
                ) from None
            except OSError as error:
                if time.monotonic() > deadline:
                    raise CannotStart(
                        f"port {port} is in use ({error.strerror}); choose another: {command} PORT={port + 1}"
                    ) from None
        time.sleep(0.2)


def free_port(*others: int) -> int:
    """A TCP port of this machine that nobody has at this moment, to be kept for later starts; none of `others`.

    Raises CannotStart when there is none from 30000 to 32767.
    """
    for port in secrets.SystemRandom().sample(_KEPT_PORTS, len(_KEPT_PORTS)):
        if port in others:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise CannotStart("no port from 30000 to 32767 is free: end some of the programs that listen there")


def is_listening(port: int) -> bool:
    """True when something accepts TCP connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def link_assets(data_dir: Path) -> None:
    """Use the assets that `make assets` built for the checkout when this data folder has none of its own."""
    built = env.BASE_DIR / "var" / "assets"
    own = data_dir / "assets"
    if not own.exists() and built.is_dir() and built != own:
        own.unlink(missing_ok=True)  # a link to what is gone
        own.symlink_to(built)
    if not own.is_dir():
        raise CannotStart("the pages' assets are not built: run `make assets` first")


def prepare_database() -> None:
    """Bring the tables to this release and collect the static files."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say(f"Preparing the database: {len(plan)} migrations ...")
        call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def ensure_administrator(data_dir: Path, password: str) -> str:
    """Make sure that somebody can sign in as `admin`; returns how, in words.

    A password that had to be drawn is kept in `admin_password` (mode 0600) under the data folder.
    """
    from django.contrib.auth.models import Group, User

    from devices import access

    file = data_dir / "admin_password"
    user = User.objects.filter(username=ADMINISTRATOR).first()
    if user is not None and not password:
        if file.exists():
            return f"user {ADMINISTRATOR}, the password of the first start (it stands in {file})"
        return f"user {ADMINISTRATOR}, the password that was set for it"
    if user is None:
        user = User.objects.create_superuser(ADMINISTRATOR)
        user.groups.add(Group.objects.get(name=access.ADMINISTRATOR))
    if password:
        # nobody should find an old password there and wonder
        file.unlink(missing_ok=True)
        if not user.check_password(password):
            user.set_password(password)
            user.save(update_fields=["password"])
        return f"user {ADMINISTRATOR}, the password that PASSWORD says"
    file.unlink(missing_ok=True)
    drawn = env.kept_secret(file, lambda: secrets.token_urlsafe(12))
    user.set_password(drawn)
    user.save(update_fields=["password"])
    return f"user {ADMINISTRATOR}, password {drawn}"


def _serves(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def programs(installation: Installation, broker: Broker) -> list[Program]:
    """Everything to start, in this order."""
    python = [sys.executable, "-m"]
    celery = [*python, "celery", "-A", "fleet"]
    threads = ["--pool", "threads", "--concurrency", "8", "--without-gossip", "--without-mingle"]
    tree = [broker.program] if broker.program else []
    return [
        *tree,
        *installation.programs,
        Program(name="worker", command=[*celery, "worker", *threads, "--loglevel", "INFO"]),
        Program(name="beat", command=[*celery, "beat", "--pidfile", "", "--loglevel", "INFO"]),
        Program(
            name="web",
            command=[
                *(*python, "gunicorn", "fleet.wsgi", "--bind", f"{HOST}:{installation.port}"),
                *("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
                *("--graceful-timeout", "3", "--timeout", "60", "--no-control-socket"),
            ],
            ready=lambda: _serves(installation.port),
            death_signal=SIGTERM,
        ),
    ]


def run(installation: Installation) -> int:
    """Start everything, watch it, end it; returns the exit status. Raises CannotStart."""
    started = time.monotonic()
    data_dir = installation.data_dir
    supervisor = Supervisor(data_dir / "log")
    supervisor.install_signals()
    try:
        with locked(data_dir):
            require_free_port(installation.port, installation.command)
            link_assets(data_dir)
            broker = choose(data_dir)
            _environment(broker)
            sign_in = _prepare(installation)
            try:
                for program in programs(installation, broker):
                    supervisor.start(program)
                say()
                say(
                    f"Fleetseal is up after {time.monotonic() - started:.1f} s: http://{HOST}:{installation.port}/"
                )
                say(f"Sign in: {sign_in}")
                for line in installation.greeting:
                    say(line)
                say(f"Broker: {broker.description}. Data and logs: {data_dir}. Ctrl-C ends everything.")
                say()
                supervisor.watch(installation.tick)
            finally:
                say("Ending ...")
                supervisor.stop()
    except Interrupted:
        pass
    except StartFailed as error:
        raise CannotStart(str(error)) from error
    say("Ended.")
    return 0


def _environment(broker: Broker) -> None:
    """What the programs are to know; before Django reads its settings."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    os.environ.setdefault("FLEETSEAL_LOG_FORMAT", "text")  # the logs are files, for people to read
    if broker.url:
        os.environ["REDIS_URL"] = broker.url


def _prepare(installation: Installation) -> str:
    """Database, static files and administrator; returns how to sign in."""
    import django
    from django.db import connections

    django.setup()
    prepare_database()
    if installation.prepare is not None:
        installation.prepare()
    sign_in = ensure_administrator(installation.data_dir, installation.password)
    connections.close_all()
    return sign_in


def port_number(text: str) -> int:
    """A TCP port for argparse, 1 to 65535."""
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The arguments of `python -m fleet.embedded`, which the demo takes too."""
    arguments = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    arguments.add_argument(
        "--port", type=port_number, default=8000, help="of the pages and REST (default 8000)"
    )
    arguments.add_argument(
        "--end-with-parent", action="store_true", help="end when the program that started this one ends"
    )
    return arguments


def take_password() -> str:
    """PASSWORD out of the environment, where the programs to come do not see it."""
    return os.environ.pop("PASSWORD", "")


def guarded(start: Callable[[], int]) -> int:
    """Run `start`; what the person can change is told in one paragraph instead of a stack trace."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        return start()
    except (CannotStart, ImproperlyConfigured) as error:
        sys.stderr.write(f"Fleetseal cannot start: {error}\n")
        return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser("fleet.embedded", __doc__).parse_args(arguments)
    if options.end_with_parent:
        end_with_parent()
    password = take_password()
    return guarded(
        lambda: run(Installation(data_dir=env.read().data_dir, port=options.port, password=password))
    )


if __name__ == "__main__":
    sys.exit(main())
