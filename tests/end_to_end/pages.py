"""The product's pages as somebody reads them who has signed in."""

from __future__ import annotations

import re
import threading
from html.parser import HTMLParser

import requests

_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Reader:
    """Signed in at the pages under `root`; may be used by several threads."""

    def __init__(self, root: str, username: str, password: str) -> None:
        self._root, self._lock = root, threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False
        token = _FIELD.search(self._get("sign-in/"))
        if token is None:
            raise AssertionError("the sign-in page has no form")
        form = {"csrfmiddlewaretoken": token[1], "username": username, "password": password}
        answer = self._session.post(f"{root}sign-in/", data=form, timeout=120)
        if "sign-in" in answer.url:
            raise AssertionError(f"{username} was not let in: {answer.status_code}")

    def device(self, pk: int) -> Page:
        """The device's page, read."""
        return Page(self._get(f"devices/{pk}/"))

    def _get(self, path: str) -> str:
        with self._lock:
            response = self._session.get(self._root + path, timeout=120)
        response.raise_for_status()
        return response.text


class Page(HTMLParser):
    """What stands on a page, less its markup."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._within = False
        self.explanations: list[str] = []
        """What the deliveries of its keys say, in their order, lines parted by a space."""
        self.feed(html)
        self.text = " ".join(" ".join(self._parts).split())
        self.explanations = [" ".join(each.split()) for each in self.explanations]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notice where an explanation begins."""
        if tag == "p" and "explanation" in (dict(attrs).get("class") or "").split():
            self._within = True
            self.explanations.append("")
        elif tag == "br" and self._within:
            self.explanations[-1] += " "

    def handle_endtag(self, tag: str) -> None:
        """And where it ends."""
        if tag == "p":
            self._within = False

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self._parts.append(data)
        if self._within:
            self.explanations[-1] += data
