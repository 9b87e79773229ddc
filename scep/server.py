"""`python -m scep.server`: the responder on 127.0.0.1, as the demo's CA and for trying clients.

    python -m scep.server --directory demo-ca --port 8080 --challenge-file challenge

The CA's certificate is demo-ca/ca.pem, what it issued demo-ca/issued/, which messages came
demo-ca/messages.jsonl.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from urllib.parse import parse_qsl

from scep.authority import Authority
from scep.behavior import Behavior
from scep.ber import MAX_SIZE
from scep.responder import Responder, Response
from scep.store import DirectoryStore

PATH = "/scep"
_IDLE_SECONDS = 30


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections kept open."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            # whatever body comes would be read as the next request
            self.close_connection = True
            self._send(Response(411, b"Content-Length was expected\n"))
            return
        if not 0 <= length <= MAX_SIZE:
            self.close_connection = True
            self._send(Response(413, b"too long\n"))
            return
        self._answer(self.rfile.read(length))

    def _answer(self, body: bytes) -> None:
        path, _, query_string = self.path.partition("?")
        if path.rstrip("/") != PATH:
            self._send(Response(404, b"SCEP is at /scep\n"))
            return
        query = dict(parse_qsl(query_string, keep_blank_values=True))
        if self.command == "GET" and query.get("operation") == "PKIOperation":
            try:
                body = base64.b64decode(query.get("message", ""), validate=True)
            except binascii.Error:
                self._send(Response(400, b"message should be base64\n"))
                return
        self._send(self.server.responder.handle(self.command, query, body))

    def _send(self, response: Response) -> None:
        if response.delay:
            time.sleep(response.delay)
        if response.drop:
            self.close_connection = True
            return
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the store logs messages."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, responder: Responder, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.responder = responder
        self._tls = tls
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection, and remember it."""
        connection, address = super().get_request()
        if self._tls is not None:
            # the handshake waits for the connection's own thread: a slow client must not hold up others
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """End a connection, and forget it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Also end the connections kept open: who closed the server gets no more answers from it."""
        super().server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | ssl.SSLError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Where SCEP is."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}{PATH}"


@contextlib.contextmanager
def serving(responder: Responder, port: int = 0, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve in a thread until the block ends, over HTTPS with `tls`; yields the URL."""
    server = _Server(responder, port, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _days(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    days = (int(low), int(high or low))
    if not 1 <= days[0] <= days[1]:
        raise ValueError
    return days


def _challenge(options: argparse.Namespace) -> str | None:
    """The challenge password, None where everybody may enroll. Raises OSError, KeyError, ValueError."""
    if options.challenge_file:
        challenge = str(options.challenge_file.read_text()).strip()
    elif options.challenge_env:
        challenge = os.environ[options.challenge_env]
    else:
        return None
    if not challenge.strip():
        raise ValueError("the challenge password is empty; leave the option out to enroll everybody")
    return challenge


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scep.server",
        description="A SCEP server on 127.0.0.1 for demos and tests; not a CA for production.",
    )
    parser.add_argument("--directory", type=Path, required=True, help="where the CA lives; made when missing")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--name", default="Fleetseal Demo CA", help="the CA's common name")
    parser.add_argument(
        "--days", type=_days, default=(365, 365), metavar="N[-M]", help="lifetime of certificates"
    )
    challenge = parser.add_mutually_exclusive_group()
    challenge.add_argument("--challenge-file", type=Path, help="file with the challenge password")
    challenge.add_argument("--challenge-env", metavar="NAME", help="environment variable with it")
    parser.add_argument("--pending", type=int, default=0, metavar="N", help="answer PENDING N times first")
    parser.add_argument("--fail-info", type=int, choices=range(5), help="refuse every request")
    parser.add_argument(
        "--delay", type=float, default=0, metavar="SECONDS", help="wait before each answer to a message"
    )
    return parser.parse_args()


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Exit code 2 when it cannot start."""
    options = _arguments()
    try:
        challenge = _challenge(options)
        options.directory.mkdir(parents=True, exist_ok=True)
        authority = Authority.kept_in(
            options.directory, options.name, now=datetime.now(UTC), validity_days=options.days
        )
        behavior = Behavior(pending=options.pending, fail_info=options.fail_info, delay=options.delay)
        store = DirectoryStore(options.directory)
        responder = Responder(authority, store=store, challenge=challenge, behavior=behavior)
        server = _Server(responder, options.port)
    except KeyError as error:
        print(f"scep.server: the environment variable {error} is not set", file=sys.stderr)  # noqa: T201
        return 2
    except (OSError, ValueError) as error:
        print(f"scep.server: {error}", file=sys.stderr)  # noqa: T201
        return 2

    def end(_signal: int, _frame: FrameType | None) -> None:
        # shutdown waits for the loop that this very thread runs
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print(f"SCEP at {server.url}, its CA certificate is {options.directory / 'ca.pem'}", flush=True)  # noqa: T201
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
