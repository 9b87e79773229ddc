"""The client over HTTP: what a server can do wrong before it says anything in SCEP (R2, R17)."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime

import pytest

from scep.authority import Authority
from scep.ber import MAX_SIZE
from scep.client import ScepClient
from scep.csr import CertificateParameters, SignatureAlgorithm
from scep.errors import ConnectionFailed, HttpStatusError, NotScep
from scep.exchange import Exchange, Failed, HttpReply, HttpRequest, Issued, Outcome, ServerPolicy, Step
from scep.responder import Behavior, Responder
from scep.server import serving
from scep.transaction import Transaction, new_transaction
from scep.transport import thread_session
from tests.peers.process import free_port
from tests.scep.enrolling import PATIENCE
from tests.scep.raw import http, raw_server

NOW = datetime.now(UTC)

DRIPS = 200
"""Pieces, one every 0.2 s, of an answer that is never whole: 40 s, unless the client has had enough."""
LONG_BEFORE_THE_END = 30
"""Seconds. A client that goes by each piece stays to the end, also on a machine that is slow."""


@pytest.fixture(scope="module")
def transaction() -> Transaction:
    parameters = CertificateParameters("mfp.example.com", "", 2048, SignatureAlgorithm.SHA256, "")
    return new_transaction(parameters, now=NOW)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Client CA", now=NOW)


def run(url: str, transaction: Transaction, *, timeout: float = PATIENCE) -> Outcome:
    exchange = Exchange(transaction, Step.REQUEST, now=NOW, policy=ServerPolicy())
    return ScepClient(url, timeout=timeout).run(exchange)


def error_of(outcome: Outcome) -> Exception:
    assert isinstance(outcome, Failed)
    return outcome.error


class TestConnection:
    def test_nobody_listens(self, transaction: Transaction) -> None:
        error = error_of(run(f"http://127.0.0.1:{free_port()}/scep", transaction))
        assert isinstance(error, ConnectionFailed)
        assert (error.details, error.worth_polling) == ("Communication Error (TOP ERROR)", True)
        assert "Connection refused" in str(error)

    def test_no_such_host(self, transaction: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_arguments: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        # resolvers of some networks know an address for every name, and others take their time
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = error_of(run("http://no-such-host.invalid/scep", transaction))
        assert isinstance(error, ConnectionFailed)
        assert "Check the URL" in str(error)

    def test_r2_no_answer_within_the_timeout(self, transaction: Transaction) -> None:
        def wait_for_the_client_to_go(connection: socket.socket) -> None:
            connection.recv(1)

        with raw_server(wait_for_the_client_to_go) as url:
            error = error_of(run(url, transaction, timeout=0.5))
        assert isinstance(error, ConnectionFailed)
        assert "did not answer within 0.5 s" in str(error)

    def test_quirk_29_a_slow_body_counts(self, transaction: Transaction) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
            for _ in range(DRIPS):
                time.sleep(0.2)  # each piece is in time, the whole is not
                connection.sendall(b"x")

        with raw_server(drip) as url:
            began = time.monotonic()
            error = error_of(run(url, transaction, timeout=0.6))
            assert time.monotonic() - began < LONG_BEFORE_THE_END
        assert isinstance(error, ConnectionFailed)

    @pytest.mark.parametrize(
        "head",
        [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 ", b"HTTP/1.1 100 Continue\r\n"],
        ids=["a header", "the status", "one more status"],
    )
    def test_quirk_29_slow_headers_count(self, transaction: Transaction, head: bytes) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(head)
            for _ in range(DRIPS):
                time.sleep(0.2)
                connection.sendall(head if head.endswith(b"\n") else b"x")

        with raw_server(drip) as url:
            began = time.monotonic()
            error = error_of(run(url, transaction, timeout=0.6))
            assert time.monotonic() - began < LONG_BEFORE_THE_END
        assert isinstance(error, ConnectionFailed)
        assert "did not answer within 0.6 s" in str(error)

    def test_a_connection_that_is_dropped(self, transaction: Transaction) -> None:
        with raw_server(lambda connection: connection.shutdown(socket.SHUT_RDWR)) as url:
            assert isinstance(error_of(run(url, transaction)), ConnectionFailed)

    def test_a_body_that_breaks_off(self, transaction: Transaction) -> None:
        def half(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        with raw_server(half) as url:
            assert isinstance(error_of(run(url, transaction)), ConnectionFailed)

    def test_what_is_no_http(self, transaction: Transaction) -> None:
        with raw_server(lambda connection: connection.sendall(b"220 mail.example.com ESMTP\r\n")) as url:
            assert isinstance(error_of(run(url, transaction)), ConnectionFailed)

    def test_tls_that_fails(self, transaction: Transaction) -> None:
        with raw_server(http("200 OK")) as url:
            error = error_of(run(url.replace("http:", "https:"), transaction))
        assert isinstance(error, ConnectionFailed)
        assert "TLS" in str(error)


class TestAnswers:
    @pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "500 Oops", "503 Busy"])
    def test_r17_the_http_status_is_in_the_details(self, transaction: Transaction, status: str) -> None:
        with raw_server(http(status, b"<html>no</html>")) as url:
            error = error_of(run(url, transaction))
        assert isinstance(error, HttpStatusError)
        assert error.details == f"Communication Error (TOP ERROR {status[:3]})"
        assert not error.worth_polling

    def test_a_redirect_is_said_and_not_followed(self, transaction: Transaction) -> None:
        with raw_server(http("302 Found", b"", "Location: http://127.0.0.1:1/elsewhere")) as url:
            error = error_of(run(url, transaction))
        assert isinstance(error, HttpStatusError)
        assert error.status == 302
        assert "redirects" in str(error)

    @pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b"garbage", b"0\x80\x00\x00"])
    def test_quirk_25_200_without_scep(self, transaction: Transaction, body: bytes) -> None:
        with raw_server(http("200 OK", body)) as url:
            error = error_of(run(url, transaction))
        assert isinstance(error, NotScep)
        assert error.details == "Communication Error (TOP ERROR 200)"

    def test_quirk_29_more_than_the_limit(self, transaction: Transaction) -> None:
        with raw_server(http("200 OK", b"0" * (MAX_SIZE + 70_000))) as url:
            error = error_of(run(url, transaction))
        assert isinstance(error, NotScep)
        assert str(MAX_SIZE) in str(error)

    def test_quirk_03_the_content_type_is_not_believed(
        self, transaction: Transaction, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        responder = Responder(authority)
        monkeypatch.setattr(Authority, "media_type", "text/html; charset=utf-8")
        with serving(responder) as url:
            assert isinstance(run(url, transaction), Issued)


class TestSending:
    def test_quirk_23_post_has_its_type_and_its_length(
        self, transaction: Transaction, authority: Authority
    ) -> None:
        seen: list[dict[str, str]] = []
        with serving(Responder(authority)) as url:
            session = thread_session()
            adapter = session.get_adapter(url)
            send = adapter.send

            def watched(request: object, **kwargs: object) -> object:
                seen.append({"method": request.method, **request.headers})  # type: ignore[attr-defined]
                return send(request, **kwargs)  # type: ignore[arg-type]

            adapter.send = watched  # type: ignore[assignment, method-assign]
            try:
                assert isinstance(run(url, transaction), Issued)
            finally:
                adapter.send = send  # type: ignore[method-assign]
        (post,) = [headers for headers in seen if headers["method"] == "POST"]
        assert post["Content-Type"] == "application/x-pki-message"
        assert int(post["Content-Length"]) > 1000
        assert "Transfer-Encoding" not in post

    def test_before_send_comes_before_messages_only_and_can_stop_them(
        self, transaction: Transaction, authority: Authority
    ) -> None:
        class Stopped(Exception):
            pass

        seen: list[HttpRequest] = []

        def stop(request: HttpRequest) -> None:
            seen.append(request)
            raise Stopped

        responder = Responder(authority, behavior=Behavior())
        exchange = Exchange(transaction, Step.REQUEST, now=NOW, policy=ServerPolicy())
        with serving(responder) as url, pytest.raises(Stopped):
            ScepClient(url, timeout=PATIENCE).run(exchange, before_send=stop)
        assert [request.message_type for request in seen] == ["PKCSReq"]
        assert responder.messages == []

    def test_who_watches_sees_every_request_and_reply(
        self, transaction: Transaction, authority: Authority
    ) -> None:
        seen: list[str | int] = []

        def watch(event: HttpRequest | HttpReply) -> None:
            seen.append(event.operation if isinstance(event, HttpRequest) else event.status)

        responder = Responder(authority, behavior=Behavior(drop=True))
        exchange = Exchange(transaction, Step.REQUEST, now=NOW, policy=ServerPolicy())
        with serving(responder) as url:
            outcome = ScepClient(url, timeout=PATIENCE).run(exchange, watch=watch)
        assert isinstance(error_of(outcome), ConnectionFailed)
        assert seen == ["GetCACaps", 200, "GetCACert", 200, "PKIOperation"], "no reply came to the last"

    def test_each_thread_has_its_session(self) -> None:
        sessions = [thread_session(), thread_session()]
        thread = threading.Thread(target=lambda: sessions.append(thread_session()))
        thread.start()
        thread.join()
        assert sessions[0] is sessions[1]
        assert sessions[0] is not sessions[2]
        assert not sessions[0].trust_env, "neither proxies nor .netrc of whoever started the worker"
