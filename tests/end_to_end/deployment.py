"""The product as it runs in production: PostgreSQL, Redis, web, workers and beat as separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.peers import postgres, redis
from tests.peers.process import free_port, is_listening, running

ROOT = Path(__file__).resolve().parent.parent.parent
ADMIN, PASSWORD = "admin", "end to end, 200 devices"


class Api:
    """The REST API as another system uses it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._session = requests.Session()
        self._session.trust_env = False

    def sign_in(self, username: str, password: str) -> None:
        """Take a token for all further calls."""
        token = self.call("POST", "auth/token/", {"username": username, "password": password})["token"]
        self._session.headers["Authorization"] = f"Token {token}"

    def twin(self) -> Api:
        """The same with connections of its own, for another thread."""
        twin = Api(self._root)
        twin._session.headers["Authorization"] = self._session.headers["Authorization"]
        return twin

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The response's JSON. Raises RuntimeError with the problem's text."""
        url = path if path.startswith("http") else self._root + path
        response = self._session.request(method, url, json=body, params=params, timeout=120)
        if not response.ok:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json()

    def upload(self, path: str, content: bytes, content_type: str) -> Any:
        """Send a file as the body; the response's JSON. Raises requests.HTTPError."""
        headers = {"Content-Type": content_type}
        response = self._session.post(self._root + path, data=content, headers=headers, timeout=120)
        response.raise_for_status()
        return response.json()

    def download(self, path: str) -> bytes:
        """A file. Raises requests.HTTPError."""
        response = self._session.get(self._root + path, timeout=120)
        response.raise_for_status()
        return response.content

    def every(self, path: str, **params: Any) -> Iterator[Any]:
        """Every row of a list, page by page."""
        page = self.call("GET", path, **params)
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            page = self.call("GET", page["next"])


class Deployment:
    """Running processes of one installation. Made by `deployed`."""

    def __init__(self, directory: Path, stack: ExitStack, environment: dict[str, str]) -> None:
        self.directory = directory
        self._stack = stack
        directory.mkdir(parents=True, exist_ok=True)
        self.redis = stack.enter_context(redis.running_server(directory))
        self._env = {
            **environment,
            "DATABASE_URL": stack.enter_context(postgres.running_server(directory)),
            "REDIS_URL": self.redis.url,
            "FLEETSEAL_DATA_DIR": str(directory / "data"),
            "FLEETSEAL_LOG_FORMAT": "json",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.web = ""
        """The address of the pages, once they are served."""

    @property
    def environment(self) -> dict[str, str]:
        """What makes another process a part of this installation."""
        return dict(self._env)

    @property
    def database_url(self) -> str:
        """For a look from outside, and for locks that hold a worker where it is."""
        return self._env["DATABASE_URL"]

    def manage(self, *arguments: str) -> None:
        """Run one management command to its end."""
        command = [sys.executable, "manage.py", *arguments]
        environment = {**os.environ, **self._env}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600, stdout=subprocess.DEVNULL)

    def start_web(self) -> Api:
        """gunicorn on a free port; returns its API."""
        port = free_port()
        log = self.directory / "web.log"
        words = ["gunicorn", "fleet.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "4"]
        command = [sys.executable, "-m", *words]
        self._stack.enter_context(
            running(command, ready=lambda: is_listening(port), log=log, env=self._env, cwd=ROOT)
        )
        self.web = f"http://127.0.0.1:{port}/"
        return Api(f"{self.web}api/v1/")

    def start_worker(self, name: str) -> None:
        """A Celery worker with threads, ready for tasks."""
        log = self.directory / f"{name}.log"
        seen = log.stat().st_size if log.exists() else 0
        words = ["worker", "--pool", "threads", "--concurrency", "8", "--hostname", f"{name}@localhost"]
        words += ["--without-gossip", "--without-mingle"]
        self.workers[name] = self._stack.enter_context(
            running(
                [sys.executable, "-m", "celery", "-A", "fleet", *words],
                ready=lambda: b"ready" in log.read_bytes()[seen:],
                log=log,
                env=self._env,
                cwd=ROOT,
            )
        )

    def kill_worker(self, name: str) -> None:
        """kill -9: whatever it was doing stays as it is."""
        self.workers[name].kill()
        self.workers[name].wait()

    def start_beat(self) -> None:
        """The one process that rings the dispatcher every few seconds."""
        log = self.directory / "beat.log"
        words = ["-A", "fleet", "beat", "--schedule", str(self.directory / "beat-schedule")]
        command = [sys.executable, "-m", "celery", *words]
        self._stack.enter_context(running(command, ready=lambda: True, log=log, env=self._env, cwd=ROOT))

    def sent_messages(self) -> list[dict[str, Any]]:
        """One record for each SCEP message that a worker was about to send, from the workers' logs."""
        records = []
        for log in sorted(self.directory.glob("worker-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if '"transaction_id"' in line and line.startswith("{"):
                    records.append(json.loads(line) | {"worker": log.stem})
        return [record for record in records if "message_type" in record]


@contextmanager
def deployed(directory: Path, *, workers: int = 2, **environment: str) -> Iterator[tuple[Deployment, Api]]:
    """Migrated, with an administrator, web, `workers` workers and beat; ended in reverse order."""
    with ExitStack() as stack:
        deployment = Deployment(directory, stack, environment)
        deployment.manage("migrate", "--verbosity", "0")
        deployment.manage("createsuperuser", "--noinput", "--username", ADMIN, "--email", "")
        api = deployment.start_web()
        for number in range(1, workers + 1):
            deployment.start_worker(f"worker-{number}")
        deployment.start_beat()
        api.sign_in(ADMIN, PASSWORD)
        yield deployment, api
