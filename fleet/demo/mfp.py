"""`python -m fleet.demo.mfp`: virtual MFPs on 127.0.0.1, many in one process, for demos and tests.

    python -m fleet.demo.mfp --port 8100 --devices 60

plays the demo's devices, each under its serial number, over HTTP and over HTTPS on one port:

    GET    /mfp/<serial>/status      what it is and does; 503 while it restarts
    POST   /mfp/<serial>/restart     202: it restarts; 409: it is busy; 403: it does not permit it
    PUT    /mfp/<serial>/keys/NAME   take a key: PEM of private key, certificate and chain; 507: no room
    POST   /mfp/<serial>/keys/NAME   use it for the function that the body names
    DELETE /mfp/<serial>/keys/NAME   delete it
    PUT    /mfp/<serial>/behavior    how it misbehaves from now on: the fields of `Behavior`, as JSON

Keys are taken over HTTPS only. Over TLS the server name (SNI) says which MFP is meant, and its certificate is served:

    openssl s_client -connect 127.0.0.1:8100 -servername SERIAL

With `--directory` it keeps keys and the factory's certificate there; else ending the process is a factory reset of
all of them. Nothing of the product imports this.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import re
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote

from fleet.demo import names
from fleet.demo.device import Behavior, Mfp, Model, Refused, factory_identity, fingerprint, server_context

HOST = "127.0.0.1"
MOST_DEVICES = 10_000
RESTART_SECONDS = (5.0, 25.0)
"""How long a restart takes, the shortest and the longest of the fleet."""

_PATH = re.compile(
    r"/mfp/([A-Za-z0-9._-]{1,100})/(status|restart|behavior|keys)(?:/([A-Za-z0-9._~%-]{1,200}))?"
)
_LONGEST_BODY = 64 * 1024
_IDLE_SECONDS = 30


def restart_seconds(serial_number: str, shortest: float, longest: float) -> float:
    """How long this device's restarts take: always the same, and not the same for all."""
    share = sum(serial_number.encode()) % 100 / 99
    return shortest + share * (longest - shortest)


def fleet(
    devices: int, between: tuple[float, float] = RESTART_SECONDS, directory: Path | None = None
) -> dict[str, Mfp]:
    """The demo's devices number 0 to `devices` - 1 by their serial numbers, some of them with their quirks.

    Their keys are kept in `directory`, where there is one.
    """
    made = {
        row["serial_number"]: Mfp(
            Model(row["serial_number"], row["vendor"], row["model"], row["firmware"]),
            restart_seconds(row["serial_number"], *between),
            memory=directory and directory / f"{row['serial_number']}.json",
        )
        for row in names.devices(0, devices)
    }
    in_order = list(made.values())
    for number, behavior in names.QUIRKS.items():
        if number < devices:
            in_order[number].behavior = Behavior.of(dict(behavior))
    return made


_METHODS = {
    "status": {"GET"},
    "restart": {"POST"},
    "behavior": {"PUT"},
    "keys": {"PUT", "POST", "DELETE"},
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self._body()
        found = _PATH.fullmatch(self.path)
        mfp = self.server.mfps.get(found[1]) if found else None
        if body is None:
            self._answer(413, {"error": "a body of at most 64 KiB with Content-Length was expected"})
        elif found is None or mfp is None or (found[2] == "keys") != (found[3] is not None):
            self._answer(404, {"error": "there is no such virtual MFP, or no such address on it"})
        elif self.command not in _METHODS[found[2]]:
            self._answer(405, {"error": f"{self.command} is not for {found[2]}"})
        elif found[2] == "behavior":
            self._behave(mfp, body)
        elif mfp.is_away:
            self._drop() if mfp.behavior.silent else self._answer(503, {"state": "restarting"})
        elif found[2] == "status":
            self._answer(200, mfp.status() | {"factory_fingerprint": self.server.factory_fingerprint})
        elif found[2] == "restart":
            self._restart(mfp)
        else:
            self._key(mfp, unquote(found[3]), body.decode(errors="replace"))

    def _key(self, mfp: Mfp, name: str, content: str) -> None:
        """Take, use or delete a key."""
        if not isinstance(self.connection, ssl.SSLSocket):
            self._answer(426, {"error": "keys are taken over HTTPS only"})
            return
        if not self._is_signed_in(mfp):
            self._answer(401, {"error": "wrong user name or password"})
            return
        drops = mfp.behavior.drops
        if drops:
            mfp.behave(replace(mfp.behavior, drops=""))
        if drops == "before":
            self._drop()
            return
        status, said = 200, {"state": "done"}
        try:
            if self.command == "PUT":
                mfp.install(name, content)
            elif self.command == "POST":
                mfp.use(name, content)
            else:
                mfp.remove(name)
        except Refused as refusal:
            status, said = refusal.status, {"error": str(refusal)}
        if drops == "after":
            self._drop()
        else:
            self._answer(status, said)

    def _is_signed_in(self, mfp: Mfp) -> bool:
        if not mfp.behavior.password:
            return True
        expected = base64.b64encode(f"admin:{mfp.behavior.password}".encode()).decode()
        return hmac.compare_digest(
            self.headers.get("Authorization", "").encode(), f"Basic {expected}".encode()
        )

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
        # without a word of TLS, as when a cable is pulled
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

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

    def __init__(self, mfps: Mapping[str, Mfp], port: int, identity: str) -> None:
        self.mfps = mfps
        self.factory_fingerprint = fingerprint(identity)
        self._by_name = {serial.lower(): mfp for serial, mfp in mfps.items()}
        self._tls = server_context(identity)
        self._tls.sni_callback = self._choose
        super().__init__((HOST, port), _Handler)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        """Serve the certificate of the MFP that is meant; one that is away breaks the handshake off."""
        mfp = self._by_name.get((name or "").lower())
        if mfp is not None and mfp.is_away:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        context = mfp.context if mfp is not None else None
        if context is not None:
            connection.context = context
        return None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Tell TLS by its first byte (22, a handshake record: RFC 8446, section 5.1) from HTTP."""
        request.settimeout(_IDLE_SECONDS)
        if request.recv(1, socket.MSG_PEEK) != b"\x16":
            super().finish_request(request, client_address)
            return
        with self._tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | ssl.SSLError):
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
    parser.add_argument(
        "--directory", type=Path, help="where keys and the factory's certificate are kept (default: nowhere)"
    )
    return parser.parse_args()


def kept_identity(directory: Path | None) -> str:
    """The factory's key and certificate, made once; without a `directory` new ones."""
    if directory is None:
        return factory_identity()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / "factory.pem"
    if not file.exists():
        new = file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(factory_identity())
        new.replace(file)
    return file.read_text()


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Exit code 2 when it cannot start."""
    options = _arguments()
    devices = min(max(options.devices, 0), MOST_DEVICES)
    try:
        identity = kept_identity(options.directory)
        mfps = fleet(devices, tuple(options.restart_seconds), options.directory)
        server = Server(mfps, options.port, identity)
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
