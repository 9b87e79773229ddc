"""A small TLS server: `python reloading_tls_server.py PORT CERTIFICATE KEY`. SIGHUP has it read its files again."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import sys
from pathlib import Path


def main(port: int, certificate: Path, key: Path) -> None:
    """Accept, shake hands, close; for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    signal.signal(signal.SIGHUP, lambda *_: context.load_cert_chain(certificate, key))
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _address = server.accept()
            connection.settimeout(60)
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
