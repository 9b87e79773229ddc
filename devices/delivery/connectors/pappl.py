"""The connector to PAPPL printer applications (pappl.org), by the web page on which they take a certificate.

What was met, with PAPPL 1.3.1: the form wants a session field from the page, and answers 200 whatever became of it;
what happened stands in a banner. Where a password is set for the web pages a login form comes first; that of 1.3.1
takes any. The certificate is served from the next handshake on. It is the only one that the device has, so only keys
for TLS are installed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, ClassVar

import requests
from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors import http
from devices.delivery.connectors.base import Capability, Endpoint, Material
from devices.delivery.connectors.settings import Kind, Setting, tls_fingerprint
from devices.delivery.connectors.web import WebConnector
from devices.delivery.errors import (
    DeviceBusy,
    DeviceRefused,
    KeyStoreFull,
    UnexpectedAnswer,
    WrongPassword,
)
from devices.rules.keys import KeyUse
from devices.texts import Sentence

_PAGE = "/tls-install-crt"
_DONE = re.compile(r"certificate installed|installed successfully", re.IGNORECASE)
_FULL = re.compile(r"no space|disk full|unable to (?:create|write|store)", re.IGNORECASE)

_BUSY = gettext_noop("The device is busy (HTTP status 503) and did not take the key. It is tried again.")
_NO_PAGE = Sentence(
    gettext_noop(
        "The web page %(path)s of a PAPPL printer application was expected; the device answered with HTTP status "
        "%(status)s. Check the port in its connector's settings."
    )
)
_WRONG_PASSWORD = gettext_noop(
    "The device did not accept the user name and password in its connector's settings. Correct them in the device's "
    "data; the key is sent again then."
)
_NO_PASSWORD = gettext_noop(
    "The device asks for a password; there is none in its connector's settings, so the key was not sent. Enter it in "
    "the device's data."
)
_NO_FORM = Sentence(
    gettext_noop(
        "The form of a PAPPL printer application was expected, with its field “%(field)s”; the page has none. Check "
        "the port in its connector's settings, and whether its page for TLS certificates is on."
    )
)
_NO_ROOM = Sentence(
    gettext_noop(
        "The device could not store the key: “%(said)s”. Make room at the device, then deliver it again."
    )
)
_SAYS_NOTHING = gettext_noop(
    "The device was expected to say in a banner what became of the key; its page says nothing. It is looked at "
    "whether it serves the certificate."
)
_NOT_TAKEN = Sentence(
    gettext_noop(
        "The device was expected to take the key; it said: “%(said)s”. Look at the device whether it takes this kind "
        "of key, then deliver it again."
    )
)


class PapplConnector(WebConnector):
    """Talks to the device's own web pages over HTTPS."""

    label = gettext_lazy("PAPPL printer application")
    schema = (
        Setting(
            name="port",
            label=gettext_lazy("HTTPS port of the device"),
            kind=Kind.NUMBER,
            default=443,
            minimum=1,
            maximum=65535,
            help_text=gettext_lazy(
                "Where its web pages are: 443, or 8000 and more for an application of its own."
            ),
        ),
        Setting(
            name="username",
            label=gettext_lazy("User name"),
            default="admin",
            max_length=100,
        ),
        Setting(
            name="password",
            label=gettext_lazy("Password"),
            is_secret=True,
            help_text=gettext_lazy("Leave empty where the device asks for none."),
        ),
        tls_fingerprint(),
        Setting(
            name="allow_old_tls",
            label=gettext_lazy("Permit TLS 1.0 and 1.1 to the device"),
            kind=Kind.FLAG,
            default=False,
            help_text=gettext_lazy("For firmware that knows nothing newer."),
        ),
    )
    capabilities = frozenset({Capability.INSTALL})
    installs = frozenset({KeyUse.TLS})
    read_timeout: ClassVar[float] = 10.0
    # a look at the certificate, the page, the login, the page again, the upload
    patience = 5 * (WebConnector.connect_timeout + read_timeout)

    def install(self, material: Material) -> None:
        """GET the page for its session field, POST the form, read the banner."""
        with self._session() as session:
            page = self._page(session)
            reply = self._ask(
                session,
                "POST",
                _PAGE,
                # as a form with files is sent; PAPPL reads the session first
                files=[
                    ("session", (None, page.value("session"))),
                    ("certificate", ("certificate.pem", material.certificate_pem() + material.chain_pem())),
                    ("privatekey", ("privatekey.pem", material.private_key_pem())),
                ],
            )
        _judge(_read(reply))

    def endpoints(self) -> Sequence[Endpoint]:
        """The TLS ports in the device's data, or the application's own where that is none of them.

        An application serves all over one port; on the host's other ports other programs may listen.
        """
        port = self.setting("port")
        ports = self.target.tls_ports if port in self.target.tls_ports else (port,)
        return [Endpoint(self.target.host, each) for each in ports]

    def _page(self, session: requests.Session) -> _Page:
        """The page with the form, after its login form where it has one. Raises WrongPassword, UnexpectedAnswer."""
        page = _read(self._ask(session, "GET", _PAGE))
        if page.asks_for_password:
            password = self.target.secrets.get("password", "")
            if not password:
                raise WrongPassword(_NO_PASSWORD)
            data = {"session": page.value("session"), "password": password}
            self._ask(session, "POST", _PAGE, data=data)
            page = _read(self._ask(session, "GET", _PAGE))
            if page.asks_for_password:
                raise WrongPassword(_WRONG_PASSWORD)
        return page

    def _ask(self, session: requests.Session, method: str, path: str, **content: Any) -> http.Reply:
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        password = self.target.secrets.get("password", "")
        reply = http.ask(
            method,
            f"https://{host}:{self.setting('port')}{path}",
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            session=session,
            headers={"Accept-Language": "en"},  # the banner is read
            auth=(self.setting("username") or "admin", password) if password else None,
            **content,
        )
        match reply.status:
            case 200 | 302 | 303:
                return reply
            case 401 | 403:
                raise WrongPassword(_WRONG_PASSWORD)
            case 503:
                raise DeviceBusy(_BUSY)
            case status:
                raise UnexpectedAnswer(_NO_PAGE(path=path, status=status))


class _Page(HTMLParser):
    """What is looked for in a page: the values of its fields, and the text of its banner."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.asks_for_password = False
        self.banner = ""
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "input":
            self.fields[attributes.get("name", "")] = attributes.get("value", "")
            self.asks_for_password |= attributes.get("type") == "password"
        elif tag == "div" and (self._depth or "banner" in attributes.get("class", "").split()):
            self._depth += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._depth:
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.banner = f"{self.banner} {data.strip()}".strip()

    def value(self, name: str) -> str:
        """The value of a field. Raises UnexpectedAnswer when the page lacks it."""
        if name not in self.fields:
            raise UnexpectedAnswer(_NO_FORM(field=name))
        return self.fields[name]


def _read(reply: http.Reply) -> _Page:
    return _Page(reply.body.decode(errors="replace"))


def _judge(page: _Page) -> None:
    """What the banner says of an upload."""
    said = html.unescape(page.banner)[:300]
    if _DONE.search(said):
        return
    if _FULL.search(said):
        raise KeyStoreFull(_NO_ROOM(said=said))
    if not said:
        raise UnexpectedAnswer(_SAYS_NOTHING)
    raise DeviceRefused(_NOT_TAKEN(said=said))
