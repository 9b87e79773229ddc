"""A cable to a device on 127.0.0.1 that can be pulled at the worst moment: when an upload has arrived, and before its
answer has."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

UPLOAD = 3500
"""Bytes from the client in one connection, TLS included, from which it is an upload: a request without a key and a
certificate has about 1,200, from OpenSSL 3.5 on with its post-quantum key share 2,400; one with both 5,000."""

_IDLE_SECONDS = 120
_AT_ONCE = struct.pack("ii", 1, 0)


class Cable:
    """What goes into `port` comes out at the device."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pulled = threading.Event()
        self._before: Callable[[], object] = lambda: None
        self.uploads = 0
        """Connections that carried one."""
        self.cut = 0
        """Uploads that the device answered, and whose answer nobody got."""
        threading.Thread(target=self._accept, daemon=True).start()

    def pull_at_next_upload(self, before: Callable[[], object] = lambda: None) -> None:
        """The device gets the whole of it and answers; of the answer nothing arrives, and the connection breaks.

        `before` happens after the answer and before the break, in another thread.
        """
        self._before = before
        self._pulled.set()

    def close(self) -> None:
        """Take it away."""
        # wakes the thread that waits in accept
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._device)) as far:
            sent = 0
            while ready := select.select([near, far], [], [], _IDLE_SECONDS)[0]:
                for source in ready:
                    data = source.recv(65_536)
                    if not data:
                        self._ended(near, source is far and sent > UPLOAD)
                        return
                    if source is near:
                        self.uploads += sent <= UPLOAD < sent + len(data)
                        sent += len(data)
                        far.sendall(data)
                    elif not (self._pulled.is_set() and sent > UPLOAD):
                        near.sendall(data)

    def _ended(self, near: socket.socket, was_answered: bool) -> None:
        if was_answered and self._pulled.is_set():
            self._pulled.clear()
            self._before()
            self.cut += 1
            # a reset, not an orderly end
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


@contextlib.contextmanager
def cable(device: int) -> Iterator[Cable]:
    """One to port `device`, until the block ends."""
    made = Cable(device)
    try:
        yield made
    finally:
        made.close()
