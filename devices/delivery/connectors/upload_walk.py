"""Walking a device's web pages by a profile: pages are got, fields discovered, forms sent, answers judged."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from devices.delivery.connectors import http, http_login, pages, upload_listing, upload_texts
from devices.delivery.connectors.http import Reply
from devices.delivery.connectors.material import Material
from devices.delivery.connectors.pages import Field, Page
from devices.delivery.connectors.profiles import FILES, Part, Profile, Step, Value
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceRefused,
    KeyStoreFull,
    UnexpectedAnswer,
    WrongPassword,
)

_FULL = re.compile(
    r"\b(?:full|no (?:more )?room|maximum number|limit|insufficient (?:memory|space))\b", re.IGNORECASE
)
_MOST_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class Visit:
    """Whom a walk visits, and as whom."""

    origin: str
    """`https://host:port`."""
    username: str
    password: str = field(repr=False)
    pkcs12_password: str = field(repr=False)
    """Of the PKCS #12 that is sent on this visit."""
    connect_timeout: float
    read_timeout: float
    patience: float
    """Seconds for all steps together."""


class Walk:
    """One visit to the device's web pages."""

    def __init__(
        self, visit: Visit, profile: Profile, session: requests.Session, material: Material | None
    ) -> None:
        self._visit, self._profile, self._session = visit, profile, session
        self._material = material
        self._deadline = time.monotonic() + visit.patience
        self._login = (
            http_login.HttpLogin(visit.username, visit.password) if profile.login == "http" else None
        )
        self._page = Page("")
        self._referer = ""
        self._captured: dict[str, list[str]] = {}
        self._number = ""
        self._there: str | None = None

    def begin(self) -> None:
        """With Basic or Digest: get a page, so that the device asks for the password before it gets a key."""
        if self._login is not None and self._profile.login_page:
            self._ask("GET", self._profile.login_page)

    def take(self, step: Step, *, number: str = "") -> None:
        """One step, with `number` where the step names one. Raises DeliveryError."""
        if step.unless_there and self._is_listed():
            return
        if number:
            self._number = number
            step = replace(step, path=step.path.replace("{number}", number))
        content = self._content(step) if step.method == "POST" else {}
        try:
            reply = self._ask(step.method, step.path, **content)
            self._judge(step, reply)
        except DeliveryError:
            if step.optional:
                return
            raise

    def summary(self) -> str:
        """What the last page has, without any value."""
        names = [each.name for each in self._page.fields()][:20]
        return _("Found the fields: %s.") % ", ".join(names) if names else _("Answered.")

    def names_for(self, step: Step) -> list[str]:
        """The names under which `step` would send its parts. Raises UnexpectedAnswer for one that is missing."""
        hidden = [each.name for each in self._page.hidden()] if step.hidden else []
        return hidden + [self._name(step, part) for part in step.parts if self._is_there(step, part)]

    def get(self, path: str) -> Page:
        """A page as it is. Raises UnexpectedAnswer for an error of HTTP, and what `http.ask` does."""
        self.take(Step(name=gettext_noop("list of certificates"), path=path))
        return self._page

    def _is_listed(self) -> bool:
        """Whether the device has the certificate: an earlier try imported it, and its answer was lost."""
        listing, material = self._profile.listing, self._material
        if self._there is None:
            found = (
                upload_listing.numbers_of(
                    upload_listing.look(self, listing, material.certificate), material.certificate
                )
                if listing is not None and material is not None
                else []
            )
            self._there = found[-1] if found else ""
        return self._there != ""

    # --- what is sent -----------------------------------------------------------------------------------------

    def _content(self, step: Step) -> dict[str, Any]:
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, tuple[str | None, Any, str] | tuple[None, Any]]] = []
        own = {part.name for part in step.parts}
        for each in self._page.hidden() if step.hidden else ():
            if each.name not in own:
                fields.append((each.name, each.value))
                files.append((each.name, (None, each.value)))
        for part in step.parts:
            if not self._is_there(step, part):
                continue
            name, value = self._name(step, part), self._value(step, part)
            if part.value in FILES:
                self._check_size(value)
                files.append((name, (part.file_name or part.value, value, _content_type(part.value))))
            else:
                fields.append((name, value))
                files.append((name, (None, value)))
        return {"data": fields} if step.encoding == "form" else {"files": files}

    def _name(self, step: Step, part: Part) -> str:
        return part.name or self._field_of_type(step, part.name_of).name

    def _field_of_type(self, step: Step, kind: str) -> Field:
        found = self._page.of_type(kind)
        if kind == "select" and (new := self._new()):
            having = (each for each in self._page.fields() if each.type == "select" and new in each.options)
            found = next(having, found)
        if found is None:
            raise self._missing(step, [kind])
        return found

    def _is_there(self, step: Step, part: Part) -> bool:
        """False for a CA certificate that there is not, and for a user name that the page does not ask for."""
        if part.value is Value.USERNAME and part.name_of:
            return self._page.of_type(part.name_of) is not None
        if self._material is not None and part.value in (Value.CHAIN_1, Value.CHAIN_2):
            return len(self._material.chain) >= (1 if part.value is Value.CHAIN_1 else 2)
        return True

    def _value(self, step: Step, part: Part) -> Any:
        visit, material = self._visit, self._material
        match part.value:
            case Value.TEXT:
                return part.text
            case Value.PAGE:
                found = self._page.named(part.name)
                if found is None:
                    raise self._missing(step, [part.name])
                return found.value
            case Value.USERNAME:
                return visit.username
            case Value.PASSWORD:
                return visit.password
            case Value.NEW:
                return self._new(step)
            case Value.NUMBER:
                return self._number
            case Value.PKCS12_PASSWORD:
                return visit.pkcs12_password
        if material is None:
            raise AssertionError("a self-test sends no key")
        return self._file(part.value, material)

    def _file(self, value: Value, material: Material) -> bytes:
        match value:
            case Value.CERTIFICATE:
                return material.certificate_pem()
            case Value.CERTIFICATE_AND_CHAIN:
                return material.certificate_pem() + material.chain_pem()
            case Value.KEY:
                return material.private_key_pem()
            case Value.CHAIN_1 | Value.CHAIN_2:
                link = material.chain[0 if value is Value.CHAIN_1 else 1]
                return link.public_bytes(Encoding.PEM)
        if self._profile.leaf_only:
            material = replace(material, chain=())
        return material.pkcs12(self._visit.pkcs12_password, legacy=value is Value.PKCS12_LEGACY)

    def _check_size(self, content: bytes) -> None:
        if self._profile.most_bytes and len(content) > self._profile.most_bytes:
            kind, most = self._profile.label, self._profile.most_bytes
            raise DeviceRefused(upload_texts.TOO_LARGE(kind=kind, most=most, size=len(content)))

    def _new(self, step: Step | None = None) -> str:
        """The number that is in the second list and not in the first, or the one that was there already; empty before
        there are two lists."""
        if self._there:
            return self._there
        if "after" in self._captured:
            new = set(self._captured["after"]) - set(self._captured.get("before", ()))
            if len(new) == 1:
                return new.pop()
        if step is None:
            return ""
        raise UnexpectedAnswer(upload_texts.NO_NEW_ONE(step=step.name))

    # --- what comes back --------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, **content: Any) -> Reply:
        """One request, with redirects on the same device followed. Raises WrongPassword and what `http.ask` does."""
        reply = self._send(method, path, **content)
        for _redirect in range(_MOST_REDIRECTS):
            target = self._same_device(reply)
            if target is None:
                break
            reply = self._send("GET", target)
        self._page = Page(reply.body.decode("utf-8", "replace"))
        return reply

    def _send(self, method: str, path: str, **content: Any) -> Reply:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ConnectionLost(upload_texts.TOOK_TOO_LONG)
        url = f"{self._visit.origin}{path}"
        headers = {"Referer": self._referer} if self._referer else {}
        self._referer = url

        def once(more: dict[str, str]) -> Reply:
            return http.ask(
                method,
                url,
                connect_timeout=min(self._visit.connect_timeout, left),
                read_timeout=min(self._visit.read_timeout, left),
                session=self._session,
                headers=headers | more,
                **content,
            )

        if self._login is None:
            return once({})
        return self._login.send(method, url, once)

    def _same_device(self, reply: Reply) -> str | None:
        """The path that a redirect leads to; None without one. Raises UnexpectedAnswer for one that leads away."""
        if reply.status not in (301, 302, 303, 307, 308):
            return None
        to = urljoin(self._referer, reply.headers.get("location", ""))
        if _origin(to) != _origin(self._visit.origin):
            raise UnexpectedAnswer(upload_texts.LEADS_AWAY)
        parts = urlsplit(to)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _judge(self, step: Step, reply: Reply) -> None:
        if step.error and (found := re.search(step.error, self._page.text)):
            raise self._refusal(step, pages.said(found[1]))
        self._judge_success(step, reply)
        if step.needs_cookie and step.needs_cookie not in self._session.cookies:
            raise _not_signed_in(step)
        if step.signs_in and not step.needs_cookie and self._page.of_type("password"):
            raise _not_signed_in(step)
        missing = [name for name in step.needs if self._page.named(name) is None]
        missing += [kind for kind in step.needs_type if self._page.of_type(kind) is None]
        if missing:
            if self._profile.login == "form" and self._page.of_type("password") and step.method == "GET":
                # only a page before the sign-in is expected to ask for the password
                raise _not_signed_in(step)
            raise self._missing(step, missing)
        if step.capture_as:
            self._captured[step.capture_as] = re.findall(step.capture, self._page.text)

    def _judge_success(self, step: Step, reply: Reply) -> None:
        if step.success and re.search(step.success, self._page.text):
            return
        if reply.status in step.success_status:
            return
        if not step.success and not step.success_status and reply.status < 400:
            return
        if step.signs_in and reply.status in (401, 403):
            raise _not_signed_in(step)
        said = pages.said(self._page.text)
        raise UnexpectedAnswer(upload_texts.NOT_SAID(step=step.name, status=reply.status, said=said))

    def _refusal(self, step: Step, said: str) -> DeliveryError:
        if step.signs_in:
            return _not_signed_in(step, said)
        if _FULL.search(said):
            return KeyStoreFull(upload_texts.NO_ROOM(said=said))
        return DeviceRefused(upload_texts.NOT_TAKEN(step=step.name, said=said))

    def _missing(self, step: Step, names: list[str]) -> UnexpectedAnswer:
        text = upload_texts.NO_FIELDS(step=step.name, path=step.path, fields=", ".join(names))
        return UnexpectedAnswer(text)


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port, as RFC 6454 compares them: devices leave the port of HTTPS out. None for no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else None)
    except ValueError:
        return None


def _content_type(value: Value) -> str:
    is_pkcs12 = value in (Value.PKCS12, Value.PKCS12_LEGACY)
    return "application/x-pkcs12" if is_pkcs12 else "application/x-pem-file"


def _not_signed_in(step: Step, said: str = "") -> WrongPassword:
    if said:
        return WrongPassword(upload_texts.NOT_SIGNED_IN_SAYING(step=step.name, said=said))
    return WrongPassword(upload_texts.NOT_SIGNED_IN(step=step.name))
