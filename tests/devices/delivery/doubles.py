"""A connector with a setting of each kind, and a web server that gives one answer to everything."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from devices.delivery.connectors.base import Connector
from devices.delivery.connectors.settings import Kind, Setting

URL = "http://127.0.0.1:8100/mfp/X1"
"""Of a virtual MFP that nobody asks."""
PASSWORD = "s3cret-of-the-device"


class Secretive(Connector):
    """With one setting of each kind."""

    label = "Secretive"
    schema = (
        Setting("port", "Port", Kind.NUMBER, minimum=1, maximum=65535, default=443),
        Setting("pinned", "Pinned", Kind.FLAG),
        Setting("username", "User name", max_length=8),
        Setting("password", "Password", required=True, is_secret=True),
    )


@contextmanager
def answering(status: int, body: bytes, *, one_by_one: float = 0, slow_head: bool = False) -> Iterator[str]:
    """A web server that gives this answer to everything; yields the address of a virtual MFP there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if slow_head:
                self.flush_headers()  # and the body drips as a header that does not end
            else:
                self.end_headers()
            try:
                for byte in body if one_by_one else ():
                    if done.wait(one_by_one):
                        return
                    self.wfile.write(bytes([byte]))
                if not one_by_one:
                    self.wfile.write(body)
            except OSError:
                return

        def log_message(self, *_args: object) -> None:
            pass

    done = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mfp/X1"
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()
