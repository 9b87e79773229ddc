"""`python -m fleet.demo.mfp`: virtual MFPs on 127.0.0.1, many in one process, for demos and tests.

    python -m fleet.demo.mfp --port 8100 --devices 60

plays the demo's devices, each under its serial number:

    GET  /mfp/<serial>/status     what it is and does; 503 while it restarts
    POST /mfp/<serial>/restart    202: it restarts; 409: it is busy; 403: it does not permit it
    PUT  /mfp/<serial>/behavior   how it misbehaves from now on: the fields of `Behavior`, as JSON

State is in memory: who ends the process has switched all of them off. Nothing of the product imports this.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from fleet.demo import names

HOST = "127.0.0.1"
MOST_DEVICES = 10_000
RESTART_SECONDS = (5.0, 25.0)
"""How long a restart takes, the shortest and the longest of the fleet."""

_PATH = re.compile(r"/mfp/([A-Za-z0-9._-]{1,100})/(status|restart|behavior)")
_LONGEST_BODY = 64 * 1024
_IDLE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Behavior:
    """How a virtual MFP misbehaves. The default is a good one."""

    restart_seconds: float | None = None
    """How long its restarts take; None: as long as this device's always do."""
    busy: bool = False
    """It works on a job, and does not restart meanwhile."""
    refuses: bool = False
    """It does not permit a restart from outside."""
    never_comes_back: bool = False
    """The next restart does not end."""
    drops: str = ""
    """What happens to the connection of a restart's request: "before": it breaks, and nothing is done; "after":
    the device restarts, and the connection breaks before the answer."""
    silent: bool = False
    """While it restarts it breaks connections, instead of answering 503."""

    @classmethod
    def of(cls, values: object) -> Behavior:
        """The behavior in a JSON object. Raises ValueError, naming what was expected."""
        if not isinstance(values, dict) or not values.keys() <= {each.name for each in fields(cls)}:
            raise ValueError(
                f"a JSON object was expected, with {', '.join(each.name for each in fields(cls))}"
            )
        made = cls(**values)
        flags = (made.busy, made.refuses, made.never_comes_back, made.silent)
        if not all(isinstance(flag, bool) for flag in flags) or made.drops not in ("", "before", "after"):
            raise ValueError('true or false was expected, for drops "before" or "after"')
        seconds = made.restart_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds <= 3600):
            raise ValueError("restart_seconds: 0 to 3600 was expected")
        return made


@dataclass(frozen=True, slots=True)
class Model:
    """What a device is, and how much it holds."""

    serial_number: str
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    key_limit: int = 10


@dataclass(slots=True)
class Mfp:
    """One virtual MFP. Its methods may be called from any thread; `clock` gives seconds that only grow."""

    model: Model
    restart_seconds: float
    clock: Callable[[], float] = time.monotonic
    behavior: Behavior = Behavior()
    keys: list[dict[str, Any]] = field(default_factory=list)
    """What its key store holds, `model.key_limit` at most."""
    functions: dict[str, bool] = field(
        default_factory=lambda: {"tls": True, "ieee_802_1x": False, "ipsec": False}
    )
    boot_count: int = 1
    _booted_at: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._booted_at = self.clock()

    @property
    def is_away(self) -> bool:
        """True while it restarts."""
        return self.clock() < self._booted_at

    def status(self) -> dict[str, Any]:
        """What it says of itself when it is not away."""
        with self._lock:
            return {
                **{name: value for name, value in asdict(self.model).items() if name != "key_limit"},
                "state": "busy" if self.behavior.busy else "idle",
                "boot_count": self.boot_count,
                "uptime_seconds": round(self.clock() - self._booted_at, 3),
                "functions": dict(self.functions),
                "key_store": {"limit": self.model.key_limit, "keys": list(self.keys)},
            }

    def restart(self) -> None:
        """Go away, and come back with one more on the boot counter. While it is away nothing changes."""
        with self._lock:
            if not self.is_away:
                self.boot_count += 1
                self._booted_at = self._back_at()

    def behave(self, behavior: Behavior) -> None:
        """From now on; one that is away comes back as `behavior` says, counted from now."""
        with self._lock:
            self.behavior = behavior
            if self.is_away:
                self._booted_at = self._back_at()

    def _back_at(self) -> float:
        if self.behavior.never_comes_back:
            return float("inf")
        seconds = self.behavior.restart_seconds
        return self.clock() + (self.restart_seconds if seconds is None else seconds)


def restart_seconds(serial_number: str, shortest: float, longest: float) -> float:
    """How long this device's restarts take: always the same, and not the same for all."""
    share = sum(serial_number.encode()) % 100 / 99
    return shortest + share * (longest - shortest)


def fleet(devices: int, between: tuple[float, float] = RESTART_SECONDS) -> dict[str, Mfp]:
    """The demo's devices number 0 to `devices` - 1 by their serial numbers, two of them with their quirks."""
    made = {
        row["serial_number"]: Mfp(
            Model(row["serial_number"], row["vendor"], row["model"], row["firmware"]),
            restart_seconds(row["serial_number"], *between),
        )
        for row in names.devices(0, devices)
    }
    in_order = list(made.values())
    for number, behavior in names.QUIRKS.items():
        if number < devices:
            in_order[number].behavior = Behavior.of(dict(behavior))
    return made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._handle("status")

    def do_POST(self) -> None:
        self._handle("restart")

    def do_PUT(self) -> None:
        self._handle("behavior")

    def _handle(self, expected: str) -> None:
        body = self._body()
        found = _PATH.fullmatch(self.path)
        mfp = self.server.mfps.get(found[1]) if found else None
        if body is None:
            self._answer(413, {"error": "a body of at most 64 KiB with Content-Length was expected"})
        elif found is None or mfp is None:
            self._answer(404, {"error": "there is no such virtual MFP"})
        elif found[2] != expected:
            self._answer(405, {"error": f"{self.command} is for {expected}"})
        elif expected == "behavior":
            self._behave(mfp, body)
        elif mfp.is_away:
            self._drop() if mfp.behavior.silent else self._answer(503, {"state": "restarting"})
        elif expected == "status":
            self._answer(200, mfp.status())
        else:
            self._restart(mfp)

    def _body(self) -> bytes | None:
        """What came with the request; None when it is too long or does not say how long it is."""
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if "Transfer-Encoding" in self.headers or not 0 <= length <= _LONGEST_BODY:
            self.close_connection = True
            return None
        return self.rfile.read(length)

    def _behave(self, mfp: Mfp, body: bytes) -> None:
        try:
            mfp.behave(Behavior.of(json.loads(body)))
        except ValueError as error:
            self._answer(400, {"error": str(error)})
        else:
            self._answer(200, asdict(mfp.behavior))

    def _restart(self, mfp: Mfp) -> None:
        behavior = mfp.behavior
        if behavior.drops == "before":
            mfp.behave(replace(behavior, drops=""))
            self._drop()
        elif behavior.refuses:
            self._answer(403, {"error": "restarting from outside is not permitted"})
        elif behavior.busy:
            self._answer(409, {"error": "a job is being printed"})
        else:
            mfp.restart()
            self._drop() if behavior.drops == "after" else self._answer(202, {"state": "restarting"})

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: whoever talks to the devices logs it."""


class Server(ThreadingHTTPServer):
    """Many virtual MFPs behind one port of 127.0.0.1; port 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, mfps: Mapping[str, Mfp], port: int) -> None:
        self.mfps = mfps
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fleet.demo.mfp", description="Virtual MFPs on 127.0.0.1, for demos and tests."
    )
    parser.add_argument("--port", type=int, default=8100, help="default: %(default)s")
    parser.add_argument(
        "--devices", type=int, default=60, help="how many of the demo's (default: %(default)s)"
    )
    parser.add_argument(
        "--restart-seconds",
        type=float,
        nargs=2,
        default=RESTART_SECONDS,
        metavar=("SHORTEST", "LONGEST"),
        help="how long a restart takes",
    )
    return parser.parse_args()


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Exit code 2 when it cannot start."""
    options = _arguments()
    devices = min(max(options.devices, 0), MOST_DEVICES)
    try:
        server = Server(fleet(devices, tuple(options.restart_seconds)), options.port)
    except OSError as error:
        print(f"fleet.demo.mfp: port {options.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 2

    def end(_signal: int, _frame: FrameType | None) -> None:
        # shutdown waits for the loop that this very thread runs
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
