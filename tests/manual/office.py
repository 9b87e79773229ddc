"""The product from outside: an administrator with REST and the pages, and the workers' steps between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from devices.delivery import dispatch as restart_dispatch
from devices.delivery import runner as restart_runner
from devices.delivery.deployment import runner as deployment_runner
from devices.jobs import run as jobs
from tests.devices.enrollment.steps import Clock, Rings, work
from tests.devices.factories import CHALLENGE
from tests.fleet.dashboard.filling import Form
from tests.fleet.dashboard.html import Document

ROOT = "/api/v1/"

_number = count(1)


def when(text: str) -> datetime:
    """A moment as REST writes it."""
    return datetime.fromisoformat(text)


def now() -> datetime:
    """The present in whole seconds, as forms take it."""
    return datetime.now(UTC).replace(microsecond=0)


class Office:
    """An administrator at work. Devices and servers are their ids over REST."""

    def __init__(self, api: APIClient, pages: Client, clock: Clock, rings: Rings) -> None:
        self.api = api
        self.pages = pages
        self.clock = clock
        self._rings = rings

    # --- REST ------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, status: int) -> Any:
        """One call under /api/v1/ that has to answer with `status`; its body."""
        response = getattr(self.api, method)(ROOT + path, body)
        assert response.status_code == status, response.content.decode()
        return response.json() if response.content else None

    def add_server(self, url: str, *, status: int = 201, **fields: Any) -> Any:
        """The id of a new SCEP server; the answer when it is refused."""
        body = {"name": f"Server {next(_number):04}", "url": url, "timeout": 60, **fields}
        answer = self.call("post", "scep-servers/", body, status=status)
        return answer["id"] if status == 201 else answer

    def add_device(self, server: int | None = None, **fields: Any) -> int:
        """A new device with an address of its own, that uses `server`; its timer is off."""
        number = next(_number)
        body = {"name": f"mfp-{number:03}", "host": f"10.20.{number // 250}.{number % 250 + 1}", **fields}
        device: int = self.call("post", "devices/", body, status=201)["id"]
        if server is not None:
            self.save(device, server=server)
        return device

    def save(self, device: int, *, status: int = 200, **settings: Any) -> Any:
        """Change settings of the device; the answer."""
        return self.call("patch", f"devices/{device}/scep-settings/", settings, status=status)

    def timed(self, server: int, *, device: int | None = None, **settings: Any) -> int:
        """A device (of its own unless given) whose timer is on and whose request is due now, without an offset."""
        device = device or self.add_device()
        timer = {"timer_enabled": True, "request_start_at": now().isoformat(), "auto_adjust": False}
        self.save(device, **{"server": server, "challenge_password": CHALLENGE, **timer, **settings})
        return device

    def settings(self, device: int) -> dict[str, Any]:
        """The device's settings."""
        answer: dict[str, Any] = self.call("get", f"devices/{device}/scep-settings/", status=200)
        return answer

    def device(self, device: int) -> dict[str, Any]:
        """The device itself, with its derived values."""
        answer: dict[str, Any] = self.call("get", f"devices/{device}/", status=200)
        return answer

    def send_request(self, device: int, *, status: int = 201, **parameters: Any) -> Any:
        """[Send Request], with the right challenge password unless another one is given; the answer."""
        body = {"challenge_password": CHALLENGE, **parameters}
        return self.call("post", f"devices/{device}/issuance-requests/", body, status=status)

    def log(self, device: int) -> list[dict[str, Any]]:
        """The lines of the status log, newest first."""
        answer: list[dict[str, Any]] = self.call("get", f"devices/{device}/issuance-requests/", status=200)[
            "results"
        ]
        return answer

    def ended(self, device: int) -> dict[str, Any]:
        """The newest line that has ended."""
        return next(line for line in self.log(device) if line["completed_at"])

    def known(self, server: int) -> None:
        """The server has answered once: its capabilities and CA are known, so the next step begins with a CSR."""
        device = self.add_device(server)
        self.send_request(device)
        self.work()
        self.certificate(device)

    def certificate(self, device: int) -> str:
        """The newest line's certificate (PEM): the request has to be [Successful]."""
        line = self.ended(device)
        assert line["status"] == "successful", (line["details"], line["explanation"])
        certificate: str = line["certificate"]
        return certificate

    def keys(self, device: int) -> list[dict[str, Any]]:
        """The device's keys, newest first."""
        answer: list[dict[str, Any]] = self.call("get", f"devices/{device}/keys/", status=200)["results"]
        return answer

    def restarts(self, device: int) -> list[dict[str, Any]]:
        """The device's last restarts, newest first."""
        answer: list[dict[str, Any]] = self.call("get", f"devices/{device}/restarts/", status=200)["results"]
        return answer

    def audit(self, device: int) -> list[dict[str, Any]]:
        """The audit events of the device, newest first."""
        answer: list[dict[str, Any]] = self.call("get", f"audit-events/?device={device}", status=200)[
            "results"
        ]
        return answer

    # --- the pages -------------------------------------------------------------------------------------

    def page(self, name: str, *args: int) -> Document:
        """A page as the administrator sees it."""
        response = self.pages.get(reverse(name, args=args))
        assert response.status_code == 200
        return Document(response)

    def device_page(self, device: int) -> Document:
        """The device's page."""
        return self.page("device-detail", device)

    def form(self, name: str, *args: int) -> Form:
        """A form to fill in."""
        return Form(self.pages, name, *args)

    # --- time and workers ------------------------------------------------------------------------------

    def work(self) -> int:
        """One tick of the dispatcher and the steps that it rings for; how many requests were due."""
        return work(self.clock, self._rings)

    def work_at(self, moment: datetime) -> int:
        """The same when it is `moment`."""
        self.clock.ahead = moment - datetime.now(UTC)
        return self.work()

    def work_on_restarts(self) -> int:
        """One step of every restart that is due; how many were."""
        lease, due = restart_dispatch.claim_due(self.clock())
        for restart in due:
            restart_runner.advance(restart, lease, clock=self.clock)
        return len(due)

    def work_on_deliveries(self) -> int:
        """Steps until no delivery is due; how many they were."""
        steps = 0
        while True:
            lease, due = restart_dispatch.claim_deployments(self.clock())
            for delivery in due:
                deployment_runner.advance(delivery, lease, clock=self.clock)
            if not due:
                return steps
            steps += len(due)

    def work_on_jobs(self) -> None:
        """Take every job that waits to its end."""
        for job, lease in jobs.claim_due(self.clock()):
            jobs.advance(job, lease, clock=self.clock)


def log_rows(page: Document) -> list[tuple[str, str, str, str]]:
    """The lines of the status log on a device's page: [Request Date/Time], [Status], [Details], trigger."""
    sections = [i for i, element in enumerate(page.elements) if element.tag == "section"]
    (begin,) = [i for i in sections if page.elements[i].get("aria-labelledby") == "log-title"]
    end = min((i for i in sections if i > begin), default=len(page.elements))
    cells = [element.text for element in page.elements[begin:end] if element.tag == "td"]
    return [(cells[i], cells[i + 1], cells[i + 2], cells[i + 3]) for i in range(0, len(cells), 4)]


def definitions(page: Document) -> dict[str, str]:
    """What stands beside each label of a device's page."""
    terms = [element.text for element in page.elements if element.tag == "dt"]
    values = [element.text for element in page.elements if element.tag == "dd"]
    return dict(zip(terms, values, strict=True))


def shown(moment: datetime) -> str:
    """A moment as pages write it, in the time zone that `moment` is in."""
    return f"{moment.day} {moment:%b %Y, %H:%M:%S}"


DAY = timedelta(days=1)
