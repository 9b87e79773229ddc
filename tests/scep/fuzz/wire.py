"""HTTP answers that were changed, over a real loopback connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from scep.client import ScepClient
from scep.conversation import Failed
from scep.profile import ServerPolicy
from scep.queries import GetCaCert
from scep.transport import new_scep_session
from tests.scep.fuzz.corpus import Corpus
from tests.scep.fuzz.outcomes import came_to

_TIMEOUT = 60.0
"""Seconds. Nobody waits so long but who waits for ever."""


def answers(corpus: Corpus) -> list[bytes]:
    """Ordinary HTTP answers with what was captured, in the forms that HTTP has."""
    found = []
    for body in corpus.kinds["ca_certificates"] + corpus.kinds["capabilities"]:
        length = b"Content-Length: %d\r\n" % len(body)
        chunks = b"%x\r\n%b\r\n0\r\nX-Trailer: x\r\n\r\n" % (len(body), body)
        found += [
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-x509-ca-cert\r\n" + length + b"\r\n" + body,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n" + chunks,
            b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + body,
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/scep?a=b\r\nSet-Cookie: a=b\r\n"
            + length
            + b"\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n" + length + b"\r\n" + body,
        ]
    return found


class Wire:
    """A server that answers each request with the message that is to be tried, and closes the connection."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._url = f"http://127.0.0.1:{listener.getsockname()[1]}/scep"
        self._session = new_scep_session()
        self._answer = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def run(self, answer: bytes) -> str:
        """What GetCACaps and GetCACert come to when both are answered so."""
        self._answer = answer
        client = ScepClient(self._url, timeout=_TIMEOUT, session=self._session)
        outcome = client.run(GetCaCert(policy=ServerPolicy()))
        assert not (isinstance(outcome, Failed) and "did not answer" in str(outcome.error)), "it hangs"
        return came_to(outcome)

    def close(self) -> None:
        # the thread waits for the end of the connection that the session keeps
        self._session.close()
        # closing alone would not wake it where it waits for the next one
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_TIMEOUT)
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                # an RST would take away what the client has not read yet
                while connection.recv(65536):
                    pass


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """A server on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        made = Wire(listener)
        try:
            yield made
        finally:
            made.close()
