"""The services of docker-compose.yml, their very commands and health checks, as plain processes.

No container engine runs in the tests. What an engine would add, addresses and mounted secrets, is put in here;
everything else is taken out of the file.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.deployment.test_files import COPIED, ROOT, SERVICES
from tests.peers import postgres, redis
from tests.peers.process import free_port, running, wait_until

HOST = "fleetseal.example.com"
PATIENCE = 300
"""Seconds until a service that should be up is given up: reached in failure only, whatever the load."""


class Machine:
    """Everything that docker-compose.yml describes, on this machine."""

    def __init__(self, directory: Path, database_url: str, redis_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.port = free_port()
        self.data_dir = directory / "data"
        (self.data_dir / "static").mkdir(parents=True)
        secrets = directory / "secrets"
        subprocess.run([ROOT / "scripts" / "new-secrets", secrets], check=True, capture_output=True)
        (secrets / "database_url").chmod(0o600)
        (secrets / "database_url").write_text(f"{database_url}\n")
        self._replaced = {
            "redis://redis:6379/0": redis_url,
            "/run/secrets": str(secrets),
            "/tmp/beat-schedule": f"{directory}/beat-schedule",
            "0.0.0.0:8000": f"127.0.0.1:{self.port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "$$": "$",
        }
        self.log = directory / "output"

    def _here(self, text: str) -> str:
        """`text` of the compose file as it is on this machine."""
        text = re.sub(r"\$\{FLEETSEAL_ALLOWED_HOSTS:\?[^}]*\}", HOST, text)
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        """What the service's programs find in their environment."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLEETSEAL_", "DJANGO_")) and name not in {"DATABASE_URL", "REDIS_URL"}
        }
        ours["PATH"] = f"{Path(sys.executable).parent}:{ours['PATH']}"
        ours |= {name: self._here(value) for name, value in service["environment"].items()}
        # of the image
        return ours | {"FLEETSEAL_DATA_DIR": str(self.data_dir), "FLEETSEAL_LOG_FORMAT": "json"}

    def command(self, service: dict[str, Any]) -> list[str]:
        """The service's command."""
        return [self._here(word) for word in service["command"]]

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        service = SERVICES[name]
        kind, *test = [self._here(word) for word in service["healthcheck"]["test"]]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        environment = self.environment(service)
        with self.log.open("ab") as log:
            return (
                subprocess.run(
                    command, env=environment, cwd=ROOT, stdout=log, stderr=log, timeout=PATIENCE
                ).returncode
                == 0
            )

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the service web."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(
                "GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()}
            )
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """All services, running."""
    directory = tmp_path_factory.mktemp("compose")
    with ExitStack() as stack:
        database_url = stack.enter_context(postgres.running_server(directory))
        broker = stack.enter_context(redis.running_server(directory))
        machine = Machine(directory, database_url, broker.url)
        migrate = SERVICES["migrate"]
        migrated = subprocess.run(
            machine.command(migrate),
            env=machine.environment(migrate),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        for name in ("worker", "beat", "web"):
            stack.enter_context(
                running(
                    machine.command(SERVICES[name]),
                    ready=lambda: True,
                    log=directory / f"{name}.log",
                    env=machine.environment(SERVICES[name]),
                    cwd=ROOT,
                )
            )
        yield machine


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_each_service_becomes_healthy_by_its_own_health_check(machine: Machine, name: str) -> None:
    wait_until(lambda: machine.is_healthy(name), timeout=PATIENCE, interval=0.5, what=f"{name} being healthy")


def test_migrate_made_the_tables(machine: Machine) -> None:
    with psycopg.connect(machine.database_url) as connection:
        found = connection.execute("SELECT count(*) FROM auth_group WHERE name = 'Administrator'").fetchone()
    assert found == (1,)


def test_web_is_ready_and_lets_nobody_in_without_https_and_signing_in(machine: Machine) -> None:
    wait_until(lambda: machine.is_healthy("web"), timeout=PATIENCE, what="web being healthy")
    assert machine.get("/readyz")[0] == 200
    status, headers, _ = machine.get("/", Host=HOST)
    assert (status, headers["Location"]) == (301, f"https://{HOST}/")
    status, headers, _ = machine.get("/", Host=HOST, X_Forwarded_Proto="https")
    assert status == 302
    assert "sign-in" in headers["Location"]
    assert "Strict-Transport-Security" in headers
    assert machine.get("/", Host="somebody.else.example", X_Forwarded_Proto="https")[0] == 400


def test_beat_ticks_and_the_worker_hears_it(machine: Machine) -> None:
    worker_log = machine.directory / "worker.log"
    wait_until(lambda: "ready" in worker_log.read_text(), timeout=PATIENCE, what="the worker being ready")
    with psycopg.connect(machine.database_url, autocommit=True) as connection:
        # a tick asks the database for due requests: what reads that table are our programs alone
        def scans() -> int:
            row = connection.execute(
                "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0) FROM pg_stat_user_tables "
                "WHERE relname = 'devices_issuancerequest'"
            ).fetchone()
            return int(row[0]) if row else 0

        before = scans()
        wait_until(
            lambda: scans() > before, timeout=PATIENCE, what="a tick reaching the database", interval=0.3
        )


def test_no_program_writes_a_secret_into_its_log(machine: Machine) -> None:
    secrets = [file.read_text().strip() for file in (machine.directory / "secrets").iterdir()]
    for log in machine.directory.glob("*.log"):
        for secret in secrets:
            assert secret not in log.read_text(), log.name


def test_without_its_secrets_a_container_stops_and_says_so(machine: Machine, tmp_path: Path) -> None:
    environment = machine.environment(SERVICES["web"])
    environment["FLEETSEAL_ENCRYPTION_KEYS_FILE"] = str(tmp_path / "not-mounted")
    result = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "FLEETSEAL_ENCRYPTION_KEYS_FILE must be a readable file path" in result.stderr


def test_what_the_image_holds_is_enough_for_the_program(machine: Machine, tmp_path: Path) -> None:
    for source in COPIED:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env=machine.environment(SERVICES["web"]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
