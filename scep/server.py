"""The responder over HTTP on 127.0.0.1, as the demo's CA and for trying clients.

    python -m scep serve --directory demo-ca --port 8080 --challenge-file challenge

is the program (`scep.command.serve`): the CA's certificate is demo-ca/ca.pem, what it issued demo-ca/issued/, which
messages came demo-ca/messages.jsonl.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from scep.ber import MAX_SIZE
from scep.responder import Responder, Response

PATH = "/scep"
_IDLE_SECONDS = 30


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections kept open."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

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
            except ValueError:  # binascii.Error, and characters that no base64 has
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


class Server(ThreadingHTTPServer):
    """Answers for a responder at `url`, in a thread for each connection; `port` 0 takes a free one."""

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
    server = Server(responder, port, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
