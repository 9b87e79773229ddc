"""What stands between a client and its SCEP server in tests: TLS with a private CA, and an HTTP proxy."""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scep.authority import Authority
from tests.scep.enrolling import NOW, PATIENCE, transaction


def server_context(directory: Path, authority: Authority, address: str) -> ssl.SSLContext:
    """A TLS server's context with a certificate for `address`, and its authority in DIRECTORY/ca.pem."""
    own = transaction(address)
    certificate = authority.issue(x509.load_der_x509_csr(own.csr), now=NOW)
    key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = directory / "server.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + key)
    (directory / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class Proxy(ThreadingHTTPServer):
    """A forward proxy for HTTP on loopback that writes down what it is asked for."""

    daemon_threads = True

    def __init__(self, password: str = "") -> None:
        self.asked: list[str] = []
        self.password = password
        super().__init__(("127.0.0.1", 0), _ProxyHandler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self._forward(b"")

    def do_POST(self) -> None:
        self._forward(self.rfile.read(int(self.headers["Content-Length"])))

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path}")
        self.send_error(403, "Tunnels are not permitted")

    def _forward(self, body: bytes) -> None:
        self.server.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        expected = "Basic " + base64.b64encode(self.server.password.encode()).decode()
        if self.server.password and self.headers.get("Proxy-Authorization") != expected:
            self.send_error(407)
            return
        _scheme, _, rest = self.path.partition("://")
        host, _, path = rest.partition("/")
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        connection.request(
            self.command, f"/{path}", body, {"Content-Type": self.headers.get("Content-Type", "")}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `asked` is the record."""


@contextmanager
def proxying(password: str = "") -> Iterator[Proxy]:
    with Proxy(password) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
