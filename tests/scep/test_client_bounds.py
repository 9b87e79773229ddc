"""What a hostile server can send over HTTP: nothing of it costs more than the limit says (quirk 29)."""

from __future__ import annotations

import functools
import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from scep.ber import MAX_SIZE
from scep.capabilities import Capabilities
from scep.client import ScepClient
from scep.conversation import Failed
from scep.errors import ConnectionFailed, HttpStatusError, NotScep, ScepError
from scep.profile import ServerPolicy, ServerProfile
from scep.queries import GetCaCaps, GetCaCert
from scep.transport import new_scep_session
from tests.scep.enrolling import PATIENCE
from tests.scep.raw import http, raw_server

MOST_MEMORY = 16 * 1024 * 1024
"""Octets that one answer may occupy at once, unpacked or not, while it is read."""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def ask(url: str) -> ScepError:
    """The error that GetCACert ends in; the memory that it takes is bounded."""
    tracemalloc.start()
    try:
        with new_scep_session() as session:
            client = ScepClient(url, timeout=PATIENCE, session=session)
            outcome: ServerProfile | Failed = client.run(GetCaCert(policy=ServerPolicy()))
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Failed)
    return outcome.error


def sending(*pieces: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def without_end(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """`head`, and then `piece` until the client has had enough, or 64 MB have gone."""
    return sending(head, *[piece] * (64 * 1024 * 1024 // len(piece)))


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n\r\nHTTP/1.1 100 Continue\r\n"),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
        (CHUNKED, b"1;" + b"x" * 60_000 + b"\r\ny\r\n"),
        (OK + b"\r\n", b"x" * 65536),
        (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    ],
    ids=["statuses", "trailers", "extensions of chunks", "a body", "chunks"],
)
def test_quirk_29_an_answer_without_end_is_left(head: bytes, piece: bytes) -> None:
    with raw_server(without_end(head, piece)) as url:
        error = ask(url)
    assert isinstance(error, NotScep)
    assert str(MAX_SIZE) in str(error) or str(2 * MAX_SIZE) in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        without_end(b"HTTP/1.1 ", b"x" * 65536),
        without_end(OK, b"X: y\r\n" * 10_000),
        without_end(OK + b"X: ", b"x" * 65536),
        without_end(CHUNKED, b"0" * 65536),
        sending(CHUNKED, b"-5\r\nabc\r\n"),
        sending(CHUNKED, b"many\r\nabc\r\n"),
        sending(CHUNKED, b"ffffffffffffffff\r\nabc\r\n"),
        sending(OK, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"),
        sending(OK, b"Content-Length: 99999999999999999999\r\n\r\nabc"),
        sending(OK, b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogzi"),
        sending(OK, b"Content-Encoding: ", b", ".join([b"gzip"] * 50), b"\r\nContent-Length: 1\r\n\r\nx"),
        sending(b"HTTP/1.1 many OK\r\n\r\n"),
        sending(b"HTTP/7.3 200 OK\r\n\r\n"),
        sending(b"\0" * 100),
    ],
)
def test_quirk_29_what_is_hardly_http_is_a_failed_connection(answer: Callable[[socket.socket], None]) -> None:
    with raw_server(answer) as url:
        assert isinstance(ask(url), ConnectionFailed)


@functools.cache
def bomb(levels: int) -> bytes:
    """256 MB of NULs, compressed so many times."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    for _ in range(levels - 1):
        packed = gzip.compress(packed)
    return packed


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_quirk_29_what_unpacks_to_more_than_the_limit_is_not_unpacked(levels: int) -> None:
    encoding = ", ".join(["gzip"] * levels)
    with raw_server(http("200 OK", bomb(levels), f"Content-Encoding: {encoding}")) as url:
        error = ask(url)
    assert isinstance(error, NotScep)
    assert str(MAX_SIZE) in str(error)


@pytest.mark.parametrize("location", [b"/other", b"http://[", b"\xff\xfe", b"http://" + b"x" * 60_000, b""])
def test_a_redirect_is_not_looked_at_whatever_it_holds(location: bytes) -> None:
    """requests itself would read all of the body, unpacked, and trip over what is no URL."""
    packed = bomb(1)
    head = b"HTTP/1.1 302 Found\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    with raw_server(sending(head, b"Location: " + location + b"\r\n\r\n", packed)) as url:
        error = ask(url)
    assert isinstance(error, HttpStatusError)
    assert "redirects" in str(error)


def test_cookies_are_neither_read_nor_kept() -> None:
    """http.cookiejar takes time that grows with the square of a header: two megabytes took seconds."""
    cookies = [f"Set-Cookie: {'a=b;' * 15_000}"] * 20 + ["Set-Cookie2: a=b; Version=1", "Set-Cookie: kept=no"]
    with raw_server(http("200 OK", b"AES\n", *cookies)) as url, new_scep_session() as session:
        capabilities = ScepClient(url, timeout=PATIENCE, session=session).run(
            GetCaCaps(policy=ServerPolicy())
        )
        assert len(session.cookies) == 0
    assert capabilities == Capabilities.of(["AES"])
