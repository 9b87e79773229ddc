"""The network of a simulated year: SCEP servers behind host names, and what can happen on the way.

The product's own HTTP client runs as it is; only its transport is another one. So a timeout costs simulated
seconds, and what a server really saw and said is known. Loopback HTTP would add threads and a second clock.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter

from scep.responder import Behavior, Responder, Response
from scep.store import Logged, MemoryStore
from scep.transport import thread_session
from tests.simulation.records import Message


class Clock:
    """Simulated time; it moves when told to, and never back."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, seconds: float) -> None:
        """So much later."""
        self.at += timedelta(seconds=seconds)

    def wait_until(self, at: datetime) -> None:
        """Not before `at`."""
        self.at = max(self.at, at)


class Killed(BaseException):
    """The worker is gone: no line of it runs any more. Not an Exception: nothing may handle it."""


class Fault(StrEnum):
    """What can befall one step of one request."""

    NONE = "none"
    NO_CONNECTION = "no connection"
    REPLY_LOST = "reply lost"
    """The server handled the message; nobody learns of it."""
    HTTP_STATUS = "http status"
    FAILURE = "failure"
    """A CertRep FAILURE with a failInfo of 0 to 4."""
    PAGE = "page"
    EMPTY = "empty"
    FORGED = "forged"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"


FAULTS: Mapping[Fault, float] = {
    Fault.NO_CONNECTION: 2.5,
    Fault.REPLY_LOST: 1.5,
    Fault.HTTP_STATUS: 1.5,
    Fault.FAILURE: 2.0,
    Fault.PAGE: 0.3,
    Fault.EMPTY: 0.2,
    Fault.FORGED: 0.3,
    Fault.KILLED_BEFORE: 0.4,
    Fault.KILLED_AFTER: 0.4,
}
"""Of each hundred steps so many meet the fault."""

_STATUSES = (400, 403, 404, 500, 500, 502, 503)
_PENDING = (0,) * 20 + (1, 1, 2, 3, 5, 30)
"""How often a new transaction is put off, drawn from these; 30 is more often than anybody polls."""


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when a server cannot be reached; `status` is what it answers instead, 0 for nothing."""

    begins: datetime
    ends: datetime
    status: int = 0


class Books(MemoryStore):
    """A store that knows what the responder wrote down last."""

    last: Logged | None = None

    def log(self, message: Logged) -> None:
        """Append to the log of messages."""
        super().log(message)
        self.last = message


@dataclass(slots=True)
class Ca:
    """One SCEP server: who answers for it, and when it is away."""

    name: str
    responder: Responder
    books: Books
    outages: list[Outage] = field(default_factory=list)

    def outage(self, at: datetime) -> Outage | None:
        """The outage that it has at `at`."""
        return next((outage for outage in self.outages if outage.begins <= at < outage.ends), None)


@dataclass(slots=True)
class _Step:
    """What the wire knows of the step that a worker is taking."""

    device: str
    sequence: int
    fault: Fault
    number: int
    """A failInfo or an HTTP status, by `fault`."""


class Wire(BaseAdapter):
    """A transport of `requests` that leads to the CAs: `http://<name>.example.com/scep`."""

    def __init__(
        self,
        clock: Clock,
        dice: random.Random,
        record: Callable[[Message], None],
        meanwhile: Callable[[], None],
    ) -> None:
        """`meanwhile` lets others act while a message is on its way."""
        super().__init__()
        self.cas: dict[str, Ca] = {}
        self.calm = False
        """No more faults, and nothing is put off."""
        self._clock = clock
        self._dice = dice
        self._record = record
        self._meanwhile = meanwhile
        self._step = _Step("", 0, Fault.NONE, 0)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block this thread's SCEP client sends through here."""
        session = thread_session()
        before = session.adapters
        session.adapters = {"http://": self}
        try:
            yield
        finally:
            session.adapters = before

    def begin_step(self, device: str, sequence: int) -> None:
        """What is sent from now on belongs to this request; draw what befalls it."""
        fault = Fault.NONE
        if not self.calm:
            faultless = 100 - sum(FAULTS.values())
            (fault,) = self._dice.choices([Fault.NONE, *FAULTS], [faultless, *FAULTS.values()])
        number = self._dice.choice(_STATUSES) if fault is Fault.HTTP_STATUS else self._dice.randint(0, 4)
        self._step = _Step(device, sequence, fault, number)

    def close(self) -> None:
        """Nothing is open."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Carry one HTTP request to its CA. Raises ConnectionError, ConnectTimeout, and Killed."""
        parts = urlsplit(str(request.url))
        ca = self.cas[str(parts.hostname).removesuffix(".example.com")]
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        operation = query.get("operation", "")
        sent_at, fault = self._clock(), self._step.fault
        self._clock.pass_by(self._dice.uniform(0.02, 0.4))
        self._meanwhile()
        outage = ca.outage(sent_at)
        if fault is Fault.NO_CONNECTION or (outage and not outage.status):
            self._clock.pass_by(float(timeout))
            self._note(sent_at, ca, operation, "unreachable")
            raise requests.exceptions.ConnectTimeout("no connection within the timeout")
        if fault is Fault.KILLED_BEFORE:
            self._note(sent_at, ca, operation, "killed")
            raise Killed
        ca.responder.behavior = self._behavior(outage.status if outage else 0)
        ca.books.last = None
        response = ca.responder.handle(str(request.method), query, _body(request))
        seen = ca.books.last
        kind = seen.message_type if seen else operation
        transaction = seen.transaction_id if seen else ""
        if operation == "PKIOperation" and fault in (Fault.REPLY_LOST, Fault.KILLED_AFTER):
            answer = "unreachable" if fault is Fault.REPLY_LOST else "killed"
            self._note(sent_at, ca, kind, answer, transaction)
            if fault is Fault.KILLED_AFTER:
                raise Killed
            raise requests.exceptions.ConnectionError("the connection was closed without an answer")
        self._note(sent_at, ca, kind, self._answer(response, seen), transaction)
        return _as_requests(request, response)

    def _behavior(self, status: int) -> Behavior:
        if self.calm:
            return Behavior()
        fault, number = self._step.fault, self._step.number
        return Behavior(
            pending=self._dice.choice(_PENDING),
            fail_info=number if fault is Fault.FAILURE else None,
            html=fault is Fault.PAGE,
            empty=fault is Fault.EMPTY,
            http_status=status or (number if fault is Fault.HTTP_STATUS else None),
            reply_for_somebody_else=fault is Fault.FORGED,
        )

    def _answer(self, response: Response, seen: Logged | None) -> str:
        """What the client made of it, as far as one can tell from outside."""
        if response.status != 200 or self._step.fault in (Fault.PAGE, Fault.EMPTY):
            return f"http {response.status}"
        if seen is None:
            return "ok"
        # a refusal is never forged: the responder signs it for whom it refuses
        forged = self._step.fault is Fault.FORGED and not seen.outcome.startswith("failure")
        return "forged" if forged else seen.outcome

    def _note(self, sent_at: datetime, ca: Ca, kind: str, answer: str, transaction: str = "") -> None:
        step = self._step
        self._record(
            Message(self._clock(), sent_at, step.device, step.sequence, ca.name, kind, answer, transaction)
        )


def _body(request: requests.PreparedRequest) -> bytes:
    return request.body if isinstance(request.body, bytes) else b""


def _as_requests(request: requests.PreparedRequest, response: Response) -> requests.Response:
    made = requests.Response()
    made.status_code = response.status
    made.url = str(request.url)
    made.request = request
    made.headers["Content-Type"] = response.content_type
    made.raw = urllib3.HTTPResponse(
        body=io.BytesIO(response.body), status=response.status, preload_content=False
    )
    return made
