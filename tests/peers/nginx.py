"""Debian's `nginx` on 127.0.0.1, an ordinary web server with TLS: it reads its certificate when it is told to.

As on a print server with a web page: new files alone change nothing, `nginx -s reload` has them served.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import free_port, is_listening, running
from tests.peers.ssh_host import factory_certificate, served_fingerprint

_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        return 204;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A running nginx."""

    port: int
    key: Path
    certificate: Path
    command: str
    """Its command line, to which a signal is added."""

    @property
    def served(self) -> str:
        """SHA-256 of the certificate that it serves, as OpenSSL sees it."""
        return served_fingerprint(self.port)

    def signal(self, name: str) -> str:
        """A command that tells it to `reload`, or to `stop`."""
        return f"{self.command} -s {name}"


@contextlib.contextmanager
def web_server(directory: Path) -> Iterator[WebServer]:
    """Serves `server.crt` with `server.key` of `directory`, self-signed at first, until the block ends.

    Raises RuntimeError, naming the Debian package.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        raise RuntimeError(
            "the tests need a web server: apt-get install nginx-light (or scripts/install-debian-packages)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    key, certificate, port = directory / "server.key", directory / "server.crt", free_port()
    factory_certificate(key, certificate)
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=directory, port=port, key=key, certificate=certificate)
    )
    words = [program, "-e", str(directory / "nginx.log"), "-c", str(configuration), "-p", str(directory)]
    pid = directory / "nginx.pid"

    def can_be_told() -> bool:
        # it listens a moment before it has written down who is to be signaled
        return is_listening(port) and pid.exists() and pid.read_text().strip() != ""

    with running(words, ready=can_be_told, log=directory / "nginx.out"):
        yield WebServer(port, key, certificate, " ".join(words))
