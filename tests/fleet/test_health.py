"""fleet/health.py: what an orchestrator is told, and that it is told no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from fleet import health, healthcheck
from fleet.celery import app
from tests.peers import redis
from tests.peers.process import free_port


def test_healthz_answers_without_signing_in_and_without_the_database(client: Client) -> None:
    # pytest-django blocks the database in tests that do not ask for it: a query would fail here
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_readyz_says_that_database_and_broker_answer(client: Client) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"database": "ok", "broker": "ok"})


@pytest.mark.django_db
def test_readyz_names_a_broker_that_is_gone_and_keeps_its_address_to_itself(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://:top-secret@127.0.0.1:{port}/0")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"database": "ok", "broker": "unavailable"}
    assert "top-secret" not in caplog.text
    assert str(port) not in response.content.decode()


@pytest.mark.django_db
def test_readyz_recovers_with_the_broker(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with redis.running_server(tmp_path) as server:
        monkeypatch.setattr(app.conf, "broker_write_url", server.url)
        assert client.get("/readyz").status_code == 200
        server.kill()
        assert client.get("/readyz").status_code == 503
        server.restart()
        assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_readyz_names_a_database_that_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("could not connect to server with password hunter2")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["database"] == "unavailable"
    assert "hunter2" not in response.content.decode()


@pytest.mark.django_db
def test_readyz_says_that_migrations_are_outstanding(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: ["one"])
    response = client.get("/readyz")
    assert (response.status_code, response.json()["database"]) == (503, "not migrated")


def test_a_probe_comes_by_any_address_and_without_tls(client: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["fleetseal.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/healthz", headers={"host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/", headers={"host": "10.1.2.3:8000"}).status_code == 400


def test_the_container_healthcheck_tells_well_from_unwell(
    live_server: LiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert healthcheck.main([f"{live_server.url}/healthz"]) == 0
    assert healthcheck.main([f"http://127.0.0.1:{free_port()}/healthz"]) == 1
    assert "refused" in capsys.readouterr().err
    file = tmp_path / "beat-schedule"
    assert healthcheck.main([str(file)]) == 1
    written = tmp_path / "beat-schedule.dat"
    written.touch()
    assert healthcheck.main([str(file)]) == 0
    os.utime(written, (0, 0))
    assert healthcheck.main(["--written-within", "600", str(file)]) == 1


def test_the_container_healthcheck_asks_no_proxy(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert healthcheck.main([f"{live_server.url}/healthz"]) == 0


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_only_read(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
