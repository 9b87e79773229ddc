"""Redirects of a device's web pages: followed on the device, however it writes its own address, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from devices.delivery.connectors import http, profiles
from devices.delivery.connectors.http import Reply
from devices.delivery.connectors.upload_texts import LEADS_AWAY
from devices.delivery.connectors.upload_walk import Visit, Walk
from devices.delivery.errors import UnexpectedAnswer


class Asked(list[str]):
    """A device whose page /start leads to `location`, and the addresses at which it was asked."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location

    def __call__(self, _method: str, url: str, **_how: Any) -> Reply:
        self.append(url)
        return Reply(302, b"", {"location": self._location}) if url.endswith("/start") else Reply(200, b"")


def walk(port: int) -> Walk:
    visit = Visit(
        origin=f"https://mfp.example.com:{port}",
        username="",
        password="",
        pkcs12_password="",
        connect_timeout=1,
        read_timeout=1,
        patience=60,
    )
    return Walk(visit, profiles.built_in()["brother"], requests.Session(), None)


@pytest.mark.parametrize(
    ("port", "location", "path"),
    [
        (443, "/next?a=b", "/next?a=b"),
        (443, "next", "/next"),
        (443, "https://mfp.example.com/next", "/next"),
        (443, "https://MFP.example.com:443/next", "/next"),
        (443, "https://mfp.example.com", "/"),
        (443, "https://mfp.example.com//next", "//next"),
        (8443, "https://mfp.example.com:8443/next#top", "/next"),
    ],
)
def test_on_the_device_it_is_followed(
    monkeypatch: pytest.MonkeyPatch, port: int, location: str, path: str
) -> None:
    asked = Asked(location)
    # a real one on port 443 takes rights that tests do not have
    monkeypatch.setattr(http, "ask", asked)
    walk(port).get("/start")
    assert asked == [f"https://mfp.example.com:{port}{each}" for each in ("/start", path)]


@pytest.mark.parametrize(
    "location",
    [
        "https://mfp.example.com:8443/next",
        "http://mfp.example.com/next",
        "https://other.example.com/next",
        "https://mfp.example.com@other.example.com/next",
        "https://mfp.example.com:https/next",
        "//other.example.com/next",
    ],
)
def test_elsewhere_it_is_not(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    asked = Asked(location)
    monkeypatch.setattr(http, "ask", asked)
    with pytest.raises(UnexpectedAnswer) as refused:
        walk(443).get("/start")
    assert str(refused.value) == LEADS_AWAY
    assert asked == ["https://mfp.example.com:443/start"]
