"""R1 Only an Administrator may send a certificate issuance request or change SCEP settings. Everyone else who signs
in can look. Nobody sees anything without signing in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from tests.conftest import member_of
from tests.devices.conftest import client_of
from tests.fleet.dashboard.html import Document
from tests.manual.office import Office
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

WITHOUT_SIGNING_IN = {"/api/v1/auth/token/"}
LOOKS_ONLY = ["Operator", "Viewer", ""]
"""Groups whose members leave SCEP alone; "" stands for an account in no group."""


def documented(office: Office, verbs: set[str]) -> list[tuple[str, str]]:
    """Verb and address of everything that the OpenAPI document lists, with the id of something that is there."""
    document = office.api.get("/api/v1/schema/?format=json").json()
    device = office.add_device()
    found = []
    for path, operations in document["paths"].items():
        address = re.sub(r"\{\w*id\}", str(device), path)
        found += [(verb, address) for verb in verbs & set(operations) if path not in WITHOUT_SIGNING_IN]
    return found


def scep_changes(office: Office, server: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Everything by which SCEP settings change or a request is sent, over REST."""
    device = office.add_device(server)
    return [
        ("patch", f"devices/{device}/scep-settings/", {"organization": "Changed"}),
        ("put", f"devices/{device}/scep-settings/", {"timer_enabled": False}),
        ("post", f"devices/{device}/issuance-requests/", {"challenge_password": "guess"}),
        ("post", "jobs/", {"kind": "manual_request", "devices": [device], "parameters": {}}),
        ("post", "scep-servers/", {"name": "New", "url": "http://ca.example.com/scep"}),
        ("patch", f"scep-servers/{server}/", {"timeout": 7}),
        ("delete", f"scep-servers/{server}/", {}),
    ]


def test_nobody_sees_anything_over_rest_without_signing_in(office: Office) -> None:
    addresses = documented(office, {"get", "post", "put", "patch", "delete"})
    assert len(addresses) > 20
    for verb, address in addresses:
        response = getattr(APIClient(), verb)(address)
        assert response.status_code == 401, (verb, address)


def test_nobody_sees_a_page_without_signing_in(office: Office) -> None:
    device = office.add_device(name="the-secret-printer")
    for name in ("start", "device-list", "server-list", "group-list", "job-list", "audit-trail"):
        response = Client().get(reverse(name), follow=True)
        assert response.redirect_chain[0][0].startswith(reverse("sign-in")), name
        assert "the-secret-printer" not in response.content.decode()
    assert Client().get(reverse("device-detail", args=[device])).status_code == 302


@pytest.mark.parametrize("group", LOOKS_ONLY)
def test_everyone_who_signs_in_can_look(office: Office, group: str) -> None:
    device, user = office.add_device(name="mfp-in-the-lobby"), member_of(group)
    answer = client_of(user).get(f"/api/v1/devices/{device}/scep-settings/")
    assert (answer.status_code, answer.json()["timer_enabled"]) == (200, False)
    pages = Client()
    pages.force_login(user)
    page = Document(pages.get(reverse("device-detail", args=[device])))
    assert "mfp-in-the-lobby" in page.text
    assert "Settings for Certificate Issuance Auto Request" in page.text


@pytest.mark.parametrize("group", LOOKS_ONLY)
def test_only_an_administrator_changes_scep_settings_or_sends_a_request(
    office: Office, scepserver: RealCa, group: str
) -> None:
    api, before = client_of(member_of(group)), scepserver.messages()
    for verb, path, body in scep_changes(office, scepserver.id):
        response = getattr(api, verb)(f"/api/v1/{path}", body)
        assert response.status_code == 403, (verb, path)
        assert response.json()["detail"] == "Only an administrator may change this."
    office.work_on_jobs()
    assert office.work() == 0
    assert scepserver.messages() == before, "the SCEP server was asked nothing"


@pytest.mark.parametrize("group", LOOKS_ONLY)
def test_the_pages_offer_it_to_nobody_else_and_refuse_who_tries(office: Office, group: str) -> None:
    device = office.add_device(office.add_server("http://127.0.0.1:1/scep"))
    pages = Client()
    pages.force_login(member_of(group))
    page = Document(pages.get(reverse("device-detail", args=[device])))
    assert not {"Send Request", "Settings"} & {
        element.text for element in [*page.all("a"), *page.all("button")]
    }
    for name in ("device-settings", "device-request"):
        address = reverse(name, args=[device])
        assert address not in page.links
        refused = pages.post(address, {"key_name": "K", "organization": "Changed"})
        assert refused.status_code == 403
        assert "You may look, but not change this." in Document(refused).text
        assert "Only an administrator may change this." in Document(refused).text
    assert office.settings(device)["organization"] == ""
    assert office.log(device) == []


def test_an_administrator_sends_a_request_and_changes_settings(office: Office, scepserver: RealCa) -> None:
    device, before = office.add_device(scepserver.id), scepserver.messages()
    office.save(device, organization="Changed")
    office.send_request(device)
    assert office.work() == 1
    assert scepserver.messages() == before + 1
    events = office.audit(device)
    assert [event["action"] for event in events] == [
        "issuance_request.successful",
        "issuance_request.create",
        "scep_settings.update",
        "scep_settings.update",
        "device.create",
    ]
    assert [event["actor_name"] for event in events] == ["system", *["administrator"] * 4]


def test_who_is_no_longer_an_administrator_changes_nothing_any_more(
    office: Office, administrator: User
) -> None:
    device = office.add_device()
    administrator.groups.clear()
    office.save(device, status=403, organization="Changed")
    assert office.settings(device)["organization"] == ""
