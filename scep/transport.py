"""HTTP connections whose answers have a deadline as a whole: a server that drips its headers holds nobody up.

Sockets time out per read, so one byte at a time could last for ever (quirk 29). Here each read gets what is left.
In SCEP's own sessions an answer with all that is around its body also has a size that it cannot exceed, and what
SCEP has no use for is not even looked at: cookies, and where a redirect leads.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager

from scep.ber import MAX_SIZE
from scep.errors import NotScep

__all__ = ["Adapter", "TimedResponse", "answer_by", "new_scep_session", "new_session", "thread_session"]

_MOST_OCTETS = 2 * MAX_SIZE
"""Of one answer to SCEP as it comes: status, headers, and the body in its chunks."""

_local = threading.local()


def answer_by(deadline: float) -> None:
    """Until when (time.monotonic) the answers to this thread's next requests must be complete."""
    _local.deadline = deadline


def thread_session() -> requests.Session:
    """This thread's session for SCEP: connections are kept open, and nothing is shared between threads."""
    session: requests.Session | None = getattr(_local, "session", None)
    if session is None:
        session = _local.session = new_scep_session()
    return session


def new_session(adapter: Adapter | None = None) -> requests.Session:
    """A session whose answers obey `answer_by` of the thread that uses it; its connections are the adapter's."""
    return _set_up(requests.Session(), adapter or Adapter(pool_connections=4, pool_maxsize=4))


def new_scep_session() -> requests.Session:
    """As `new_session`, for SCEP: no cookies, no redirects, and NotScep for an answer that is far too large."""
    return _set_up(_ScepSession(), _ScepAdapter(pool_connections=4, pool_maxsize=4))


def _set_up(session: requests.Session, adapter: Adapter) -> requests.Session:
    # neither proxies nor .netrc of whoever started the worker
    session.trust_env = False
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    session.headers.update({"User-Agent": "Fleetseal", "Accept-Encoding": "identity"})
    return session


class _ScepSession(requests.Session):
    """Looks at no redirect: requests would read all of its body, and stumble over what stands in Location."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Raw(io.RawIOBase):
    """A socket's stream for one answer, in which no read waits beyond the thread's deadline."""

    def __init__(self, connection: socket.socket, most_octets: int | None) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb", buffering=0)
        self._left = most_octets

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        deadline: float | None = getattr(_local, "deadline", None)
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer was not complete in time")
            self._socket.settimeout(left)
        if self._left is not None and self._left <= 0:
            raise NotScep(
                f"A SCEP message was expected, more than {_MOST_OCTETS} bytes of HTTP came. "
                "Check the SCEP server's URL."
            )
        count = self._stream.readinto(buffer)
        if self._left is not None:
            self._left -= count or 0
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class TimedResponse(http.client.HTTPResponse):
    """An answer that obeys `answer_by`, its headers included."""

    most_octets: ClassVar[int | None] = None

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Raw(sock, self.most_octets))


class _ScepResponse(TimedResponse):
    most_octets = _MOST_OCTETS

    def begin(self) -> None:
        super().begin()
        # requests would parse them, for minutes where a server wants that, and keep them for ever
        for name in ("Set-Cookie", "Set-Cookie2"):
            del self.headers[name]


class _Connection(HTTPConnection):
    response_class = TimedResponse


class _TlsConnection(HTTPSConnection):
    response_class = TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _ScepConnection(HTTPConnection):
    response_class = _ScepResponse


class _ScepTlsConnection(HTTPSConnection):
    response_class = _ScepResponse


class _ScepPool(HTTPConnectionPool):
    ConnectionCls = _ScepConnection


class _ScepTlsPool(HTTPSConnectionPool):
    ConnectionCls = _ScepTlsConnection


class Adapter(HTTPAdapter):
    """Makes every connection, through a proxy too, one of ours."""

    pools: ClassVar[Mapping[str, Any]] = {"http": _Pool, "https": _TlsPool}
    poolmanager: PoolManager

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(self.pools)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = dict(self.pools)
        return manager


class _ScepAdapter(Adapter):
    pools = {"http": _ScepPool, "https": _ScepTlsPool}
