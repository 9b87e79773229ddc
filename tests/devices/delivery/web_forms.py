"""Web pages as the vendors' are reported to be, over HTTPS: a fake, for no real device of theirs can be had here.

It proves that the steps of the profiles go out as they were reported, and shows faults. It proves nothing about real
devices. What a real server takes is shown with PAPPL.
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import hashlib
import http.server
import re
import ssl
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

USERNAME, PASSWORD = "admin", "s3cret-of-the-printer"


@dataclass
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    fields: list[tuple[str, bytes]]
    """Of a form, in order."""

    def value(self, name: str) -> str:
        """Of the first field of that name; empty when it is missing."""
        return next((value.decode("utf-8", "replace") for key, value in self.fields if key == name), "")

    def file(self, name: str) -> bytes:
        """The same in bytes."""
        return next((value for key, value in self.fields if key == name), b"")


@dataclass
class Answer:
    """What goes back."""

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Pages = Callable[[Request], Answer]


@dataclass
class WebForms:
    """A running server."""

    port: int
    fingerprint: str
    """Of its certificate."""
    pages: Pages
    context: ssl.SSLContext = field(repr=False)
    factory: Path
    """Its first certificate with the key."""
    requests: list[Request] = field(default_factory=list)

    def present(self, path: Path) -> None:
        """Serve the certificate and key in `path` (PEM) from the next handshake on."""
        self.context.load_cert_chain(path)
        self.fingerprint = _fingerprint(path)

    def present_factory(self) -> None:
        """Serve the certificate of the beginning again."""
        self.present(self.factory)

    def sent(self) -> list[str]:
        """Method and path of everything that came."""
        return [f"{each.method} {each.path}" for each in self.requests]


@contextlib.contextmanager
def web_forms(directory: Path) -> Iterator[WebForms]:
    """A server on 127.0.0.1 until the block ends; set its `pages`."""
    certificate, key = directory / "forms.crt", directory / "forms.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=factory", "-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    factory = directory / "forms.pem"
    factory.write_text(certificate.read_text() + key.read_text())
    running = WebForms(0, _fingerprint(certificate), lambda _request: Answer(status=404), context, factory)

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 60

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            request = Request(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                _fields(self.headers.get("Content-Type", ""), body),
            )
            running.requests.append(request)
            answer = running.pages(request)
            if answer.status == 0:  # the connection breaks
                return
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
            connection, address = self.socket.accept()
            connection.settimeout(60)
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    running.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _fingerprint(path: Path) -> str:
    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex()


def _fields(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    if content_type.startswith("application/x-www-form-urlencoded"):
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)
        return [(name, value.encode()) for name, value in pairs]
    if not content_type.startswith("multipart/form-data"):
        return []
    message = email.message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        found.append((str(name), content if isinstance(content, bytes) else b""))
    return found


# --- the vendors' pages, as reported ----------------------------------------------------------------------------


def basic(request: Request) -> Answer | None:
    """The refusal of a request without the right Basic credentials, or None."""
    wanted = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    if request.headers.get("authorization") == wanted:
        return None
    return Answer("no", 401, {"WWW-Authenticate": 'Basic realm="device"'})


def digest(request: Request) -> Answer | None:
    """The same with Digest, MD5 and qop=auth (RFC 7616)."""
    header = request.headers.get("authorization", "")
    told = dict(re.findall(r'(\w+)="?([^",]+)"?', header.removeprefix("Digest ")))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    first = md5(f"{USERNAME}:device:{PASSWORD}")
    second = md5(f"{request.method}:{request.path}")
    nonce = told.get("nonce"), told.get("nc"), told.get("cnonce"), told.get("qop")
    wanted = md5(":".join([first, *map(str, nonce), second]))
    if told.get("response") == wanted:
        return None
    return Answer("no", 401, {"WWW-Authenticate": 'Digest realm="device", nonce="n0nce", qop="auth"'})


@dataclass
class Device:
    """What was installed, and how the device behaves."""

    sign_in: Callable[[Request], Answer | None] = basic
    error: str = ""
    """Shown in place of success."""
    installed: Request | None = None
    signed_in: bool = False

    def hp_ews(self, request: Request) -> Answer:
        """HP's current EWS."""
        if refused := self.sign_in(request):
            return refused
        if request.path == "/Security/DeviceCertificates/1/Info":
            return Answer("<Info/>")
        if request.path == "/Security/DeviceCertificates/NewCertWithPassword/Upload?fixed_response=true":
            if self.error:
                return Answer(
                    f"<err:Error><err:HttpCode>400</err:HttpCode><err:Text>{self.error}</err:Text></err:Error>"
                )
            self.installed = request
            return Answer("<err:Error><err:HttpCode>201</err:HttpCode></err:Error>")
        return Answer(status=404)

    def hp_futuresmart(self, request: Request) -> Answer:
        """HP FutureSmart."""
        token = '<form><input type="hidden" name="CSRFToken" value="t0ken-%s"></form>'
        match request.method, request.path:
            case "GET", "/hp/device/SignIn/Index":
                return Answer(token % "1" + '<input type="password" name="PasswordTextBox">')
            case "POST", "/hp/device/SignIn/Index":
                right = (
                    request.value("PasswordTextBox") == PASSWORD and request.value("CSRFToken") == "t0ken-1"
                )
                if not right:
                    return Answer('<div class="message message-error"><p>Sign in failed.</p></div>')
                self.signed_in = True
                return Answer("", 302, {"Location": "/hp/device/CertificatesTabs/Index"})
            case "GET", "/hp/device/CertificatesTabs/Index" if self.signed_in:
                return Answer(token % "2")
            case "POST", "/hp/device/CertificatesTabs/Save" if request.value("CSRFToken") == "t0ken-2":
                if self.error:
                    return Answer(f'<div class="message-error">{self.error}</div>')
                self.installed = request
                return Answer("done")
        return Answer(status=404)

    def epson(self, request: Request) -> Answer:
        """Epson."""
        match request.method, request.path:
            case "POST", "/PRESENTATION/ADVANCED/PASSWORD/SET":
                self.signed_in = request.value("INPUTT_PASSWORD") == PASSWORD
                return Answer("" if self.signed_in else '<input type="password" name="INPUTT_PASSWORD">')
            case "GET", "/PRESENTATION/ADVANCED/NWS_CERT_SSLTLS/CA_IMPORT" if self.signed_in:
                return Answer('<form><input type="hidden" name="INPUTT_SETUPTOKEN" value="setup-1"></form>')
            case "POST", "/PRESENTATIONEX/CERT/IMPORT_CHAIN" if (
                request.value("INPUTT_SETUPTOKEN") == "setup-1"
            ):
                if self.error:
                    return Answer(self.error)
                self.installed = request
                return Answer("<p>Shutting down</p>")
        return Answer(status=404)

    def generic(self, request: Request) -> Answer:
        """A device that nobody has heard of, with a sign-in form."""
        match request.method, request.path:
            case "GET", "/login":
                return Answer(
                    "<form><input type=hidden name=csrf value=a1><input name=who><input type=password "
                    "name=pw></form>"
                )
            case "POST", "/login":
                right = (request.value("csrf"), request.value("who"), request.value("pw"))
                self.signed_in = right == ("a1", USERNAME, PASSWORD)
                return Answer("ok" if self.signed_in else "<input type=password name=pw>")
            case "GET", "/import" if self.signed_in:
                return Answer(
                    "<form><input type=hidden name=csrf value=b2><input type=file name=p12><input type=password "
                    "name=p12pw></form>"
                )
            case "POST", "/import" if self.signed_in and request.value("csrf") == "b2":
                if self.error:
                    return Answer(f"Error: {self.error}.")
                self.installed = request
                return Answer("Certificate stored")
        return Answer(status=404)
