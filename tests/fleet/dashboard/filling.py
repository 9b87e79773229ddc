"""Filling in the forms of the pages as a browser does, and reading what is said at their fields."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client
from django.urls import reverse


def entered(page: str) -> dict[str, str]:
    """What a browser would send from the form on `page`, unchanged."""
    form = page[page.index('<form method="post" class="card"') :]
    data = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and not ('type="checkbox"' in tag and "checked" not in tag) and "disabled" not in tag:
            data[name[1]] = value[1] if value else ("on" if "checkbox" in tag else "")
    for name, body in re.findall(
        r'<select[^>]*name="([^"]*)"(?![^>]*disabled)[^>]*>(.*?)</select>', form, re.DOTALL
    ):
        chosen = re.search(r'<option value="([^"]*)" selected', body)
        data[name] = chosen[1] if chosen else ""
    for name, body in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        data[name] = body.strip()
    del data["csrfmiddlewaretoken"]
    return data


class Form:
    """One form page, as an administrator uses it."""

    def __init__(self, client: Client, name: str, *args: Any) -> None:
        self.client, self.address = client, reverse(name, args=args)

    def submit(self, status: int = 302, **changes: Any) -> str:
        """Open the page, change some fields, send; returns the page that comes back."""
        page = self.client.get(self.address)
        assert page.status_code == 200
        response = self.client.post(self.address, entered(page.content.decode()) | changes)
        assert response.status_code == status, response.content.decode()[-3000:]
        return response.content.decode()


def errors_at(page: str) -> dict[str, str]:
    """Field and message, as they stand in the page."""
    found = re.findall(r'id="id_(\w+)_error">(.*?)</div></div>', page, re.DOTALL)
    return {name: re.sub(r"<[^>]*>|\s+", " ", text).strip() for name, text in found}
