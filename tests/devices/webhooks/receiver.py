"""A receiver on loopback that checks signatures with an implementation that this project did not write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import standardwebhooks


class Receiver:
    """What was received and found to be genuine; `statuses` are answered in turn, the last one for ever."""

    def __init__(self, secret: str) -> None:
        self._checker = standardwebhooks.Webhook(secret)
        self.received: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.forged = 0
        self.statuses = [204]
        self.headers: dict[str, str] = {}
        self.body = b""
        self.hang = threading.Event()
        """Set, it lets a hanging receiver answer."""
        self.hangs = False
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            payload: dict[str, Any] = self._checker.verify(body, headers)
        except standardwebhooks.WebhookVerificationError:
            self.forged += 1
            return 401
        self.received.append(payload)
        self.ids.append(headers["webhook-id"])
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """A receiver that knows `secret`, listening until the block ends."""
    receiver = Receiver(secret)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
            if receiver.hangs:
                receiver.hang.wait(timeout=30)
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(receiver.body)))
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.hang.set()
            server.shutdown()
            thread.join()
