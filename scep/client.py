"""Carries conversations over HTTP. With `scep.transport`, the only room that does I/O towards a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests
import urllib3
from cryptography import x509

from scep.ber import MAX_SIZE
from scep.conversation import Conversation, Failed, HttpReply, HttpRequest
from scep.errors import ConnectionFailed, HttpStatusError, NotScep, ScepError
from scep.transport import answer_by, thread_session

Result = TypeVar("Result")

_CHUNK = 64 * 1024


class ScepClient:
    """One SCEP server at `url`, its path included.

    `timeout` in seconds bounds the connecting and then each reply as a whole, slow headers and bodies included (R2).
    `ca_bundle` is a file with the PEM certificates of the authorities that may vouch for an HTTPS server, in
    place of the public ones. `proxy` is the URL of an HTTP proxy, a user and password in it allowed; nothing is
    taken from the environment. Raises ValueError for a bundle without certificates, and OSError for one that
    cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        session: requests.Session | None = None,
        ca_bundle: Path | None = None,
        proxy: str = "",
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._session = session or thread_session()
        self._verify: str | bool = True
        if ca_bundle is not None:
            _check_bundle(ca_bundle)
            self._verify = str(ca_bundle)
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}

    def run(
        self,
        conversation: Conversation[Result],
        *,
        before_send: Callable[[HttpRequest], None] | None = None,
        watch: Callable[[HttpRequest | HttpReply], None] | None = None,
    ) -> Result | Failed:
        """Carry `conversation` to its result. No ScepError escapes.

        `before_send` is called right before a pkiMessage goes out, not for GetCACaps, GetCACert and
        GetNextCACert; what it raises ends the run with nothing sent. `watch` sees every request before it goes out,
        and every reply that came, to tell somebody who waits.
        """
        step = conversation.start()
        while isinstance(step, HttpRequest):
            if before_send is not None and step.message_type is not None:
                before_send(step)
            if watch is not None:
                watch(step)
            try:
                reply = self._send(step)
            except ScepError as error:
                return conversation.lost(error)
            if watch is not None:
                watch(reply)
            step = conversation.receive(reply)
        return step

    def _send(self, request: HttpRequest) -> HttpReply:
        """One HTTP request. Raises ConnectionFailed, HttpStatusError for a redirect, NotScep for too much."""
        deadline = time.monotonic() + self._timeout
        answer_by(deadline)
        try:
            with self._session.request(
                request.method,
                self._url,
                params=request.params,
                data=request.body,
                headers={"Content-Type": request.content_type} if request.content_type else None,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                verify=self._verify,
                proxies=self._proxies,
            ) as response:
                if response.is_redirect:
                    raise HttpStatusError(
                        response.status_code,
                        f"The SCEP server redirects (HTTP status {response.status_code}) where an answer was "
                        "expected. Enter the URL that it redirects to, if you trust it.",
                    )
                body = self._read(response, deadline)
                return HttpReply(response.status_code, body, response.headers.get("Content-Type", ""))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionFailed(self._explain(error)) from error

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        # read1 returns what has come; iter_content would wait until its chunk is full, however slowly it fills
        while part := response.raw.read1(_CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > MAX_SIZE:
                raise NotScep(
                    f"A SCEP message was expected, more than {MAX_SIZE} bytes came. Check the SCEP server's URL.",
                    status=response.status_code,
                )
            if time.monotonic() > deadline:
                raise ConnectionFailed(
                    f"The SCEP server's answer was not complete within {self._timeout:g} s. "
                    "Check the server's load, or raise [Communication Timeout]."
                )
        return b"".join(parts)

    def _explain(self, error: Exception) -> str:
        match error:
            case requests.exceptions.SSLError():
                return (
                    f"The TLS connection to the SCEP server failed: {_reason(error)}. Check its certificate, and "
                    "which authorities are trusted for it."
                )
            case requests.exceptions.ProxyError():
                return f"No connection through the HTTP proxy: {_reason(error)}. Check the proxy's URL and its rules."
            case requests.exceptions.ConnectTimeout():
                return (
                    f"No connection to the SCEP server within {self._timeout:g} s. Check the address, the port and "
                    "firewalls in between."
                )
            case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError():
                return (
                    f"The SCEP server did not answer within {self._timeout:g} s. Check whether it runs, or raise "
                    "[Communication Timeout]."
                )
            case _:
                return f"No connection to the SCEP server: {_reason(error)}. Check the URL and the port."


def _check_bundle(path: Path) -> None:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} should hold certificates in PEM, and does not") from error
    if not found:
        raise ValueError(f"{path} should hold certificates in PEM, and holds none")


def _reason(error: BaseException) -> str:
    """The innermost reason, without Python's names for things."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    return (
        str(getattr(error, "strerror", None) or error).split("\n", 1)[0].rstrip(".") or type(error).__name__
    )
