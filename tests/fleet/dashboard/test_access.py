"""R1: nobody sees anything without signing in, everyone who signs in looks, the roles change what is theirs."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from devices.models import AuditEvent, Device, IssuanceRequest, ScepServer
from fleet.dashboard.urls import urlpatterns
from tests.conftest import PASSWORD
from tests.devices.factories import make_device, make_server
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

PUBLIC = {"sign-in", "sign-out", "set_language"}
CHANGING = {
    "device-add",
    "device-edit",
    "device-delete",
    "device-settings",
    "device-request",
    "manual-requests",
    "job-cancel",
    "device-restart",
    "device-connector-test",
    "device-identify",
    "device-restart-settings",
    "key-fetch",
    "found-add",
    "search-add",
    "search-cancel",
    "device-fingerprint",
    "key-deliver",
    "key-default",
    "restart-devices",
    "deliver-again",
    "import-add",
    "import-apply",
    "export-secrets",
    "server-add",
    "server-edit",
    "server-delete",
    "group-add",
    "group-edit",
    "group-delete",
    "group-spread",
    "template-add",
    "template-edit",
    "template-delete",
    "template-apply",
    "webhook-add",
    "webhook-edit",
    "webhook-delete",
}
LOOKING = {
    *(
        "start",
        "device-connection",
        "found-list",
        "found-state",
        "overview",
        "device-list",
        "device-detail",
        "device-state",
        "server-list",
        "group-list",
    ),
    *("job-list", "job-detail", "job-state", "audit-trail", "template-list", "load"),
    *("import-detail", "import-state", "export"),
}
FILES = {"certificate", "import-template", "import-report", "export-file"}
"""What is downloaded by whoever may look."""
OWN = {"token-list", "token-add", "token-revoke"}
"""Pages about what belongs to whoever asks; test_tokens.py has more about them."""
OF_ADMINISTRATORS = {"webhook-list", "webhook-detail", "webhook-test"}
"""Pages that nobody else sees; test_webhooks.py has more about them."""
SELECTED = {"manual-requests", "template-apply", "restart-devices", "deliver-again"}
"""Pages about the devices that the query names."""


@pytest.fixture
def device(fleet: dict[str, Any]) -> Device:
    found: Device = fleet["device"]
    return found


def address(name: str, fleet: dict[str, Any]) -> str:
    """The address of the page `name` for the objects of `fleet`."""
    (pattern,) = [pattern for pattern in urlpatterns if pattern.name == name]
    wanted = pattern.pattern.converters
    arguments: dict[str, Any] = {f"{kind}_id": thing.pk for kind, thing in fleet.items()}
    arguments |= {"file_format": "csv", "name": "devices.csv"}
    query = f"?device={fleet['device'].pk}" if name in SELECTED else ""
    return reverse(name, kwargs={argument: arguments[argument] for argument in wanted}) + query


def test_every_page_is_accounted_for() -> None:
    # a page that is added is either for everyone, for looking or for changing: it belongs in a list above
    known = PUBLIC | CHANGING | LOOKING | OWN | OF_ADMINISTRATORS | FILES
    assert {pattern.name for pattern in urlpatterns} == known


@pytest.mark.parametrize("name", sorted(CHANGING | LOOKING | FILES))
def test_a_stranger_is_sent_to_the_sign_in(name: str, fleet: dict[str, Any], client: Client) -> None:
    for method in (client.get, client.post):
        response = method(address(name, fleet))
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("sign-in"))


@pytest.mark.parametrize("name", sorted(CHANGING))
def test_a_viewer_changes_nothing(name: str, fleet: dict[str, Any], viewer_client: Client) -> None:
    events = AuditEvent.objects.count()
    data = {"name": "changed", "host": "10.9.9.9", "url": "http://10.9.9.9/scep", "key_name": "K"}
    assert viewer_client.post(address(name, fleet), data).status_code == 403
    assert viewer_client.get(address(name, fleet)).status_code == 403
    assert AuditEvent.objects.count() == events
    assert Device.objects.filter(pk=fleet["device"].pk).exists()
    assert not IssuanceRequest.objects.exists()


OF_OPERATORS = {
    *("device-connector-test", "device-identify", "device-restart-settings", "found-add"),
    *("device-add", "device-edit", "device-restart", "restart-devices", "group-add", "group-edit"),
    *("import-add", "import-apply", "key-deliver", "deliver-again", "device-fingerprint"),
}


@pytest.mark.parametrize("name", sorted(CHANGING))
def test_an_operator_cares_for_devices_and_leaves_scep_alone(
    name: str, fleet: dict[str, Any], operator_client: Client
) -> None:
    expected = 200 if name in OF_OPERATORS else 403
    assert operator_client.get(address(name, fleet)).status_code == expected


@pytest.mark.parametrize("name", sorted(LOOKING))
def test_an_operator_is_offered_what_an_operator_may_do(
    name: str, fleet: dict[str, Any], operator_client: Client
) -> None:
    page = Document(operator_client.get(address(name, fleet)))
    assert not page.links & {address(change, fleet) for change in CHANGING - OF_OPERATORS}


@pytest.mark.parametrize("name", sorted(LOOKING))
def test_a_viewer_looks_and_sees_no_way_to_change(
    name: str, fleet: dict[str, Any], viewer_client: Client
) -> None:
    response = viewer_client.get(address(name, fleet))
    assert response.status_code == 200
    page = Document(response)
    offered = {address(change, fleet) for change in CHANGING}
    assert not page.links & offered
    assert page.posts <= {reverse("sign-out"), reverse("set_language")}


@pytest.mark.parametrize("name", sorted(CHANGING | LOOKING))
def test_an_administrator_gets_every_page(
    name: str, fleet: dict[str, Any], administrator_client: Client
) -> None:
    assert administrator_client.get(address(name, fleet)).status_code == 200


@pytest.mark.parametrize("name", sorted(LOOKING))
def test_looking_changes_nothing_by_post(
    name: str, fleet: dict[str, Any], administrator_client: Client
) -> None:
    assert administrator_client.post(address(name, fleet)).status_code == 405


def test_every_change_needs_its_csrf_token(fleet: dict[str, Any], administrator: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(administrator)
    for name in CHANGING:
        assert strict.post(address(name, fleet), {"name": "x"}).status_code == 403


def test_signing_in_and_out(administrator: User, client: Client) -> None:
    response = client.post(
        f"{reverse('sign-in')}?next={reverse('device-list')}",
        {"username": "administrator", "password": PASSWORD},
    )
    assert response["Location"] == reverse("device-list")
    assert client.get(reverse("start")).status_code == 200
    client.post(reverse("sign-out"))
    assert client.get(reverse("start")).status_code == 302


def test_a_wrong_password_says_so_and_keeps_the_name(administrator: User, client: Client) -> None:
    page = Document(
        client.post(reverse("sign-in"), {"username": "administrator", "password": "wrong-password-1"})
    )
    assert "correct username and password" in page.text
    assert page.control("username").get("value") == "administrator"
    assert "wrong-password-1" not in page.source


def test_what_an_administrator_does_is_on_record(administrator_client: Client) -> None:
    server = make_server()
    device = make_device(server)
    administrator_client.post(
        reverse("device-request", args=[device.pk]),
        {"key_name": "K1", "signature_algorithm": "SHA-256", "key_length": "2048", "key_use": "none"},
        REMOTE_ADDR="192.0.2.7",
    )
    event = AuditEvent.objects.filter(action="issuance_request.create").get()
    assert (event.actor_name, event.source, event.address) == ("administrator", "dashboard", "192.0.2.7")


def test_nothing_but_our_own_files_may_run(administrator_client: Client, fleet: dict[str, Any]) -> None:
    response = administrator_client.get(reverse("start"))
    policy = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'none'"
    for name in sorted(LOOKING | CHANGING):
        page = Document(administrator_client.get(address(name, fleet)))
        scripts = [script for script in page.all("script") if not script.get("src")]
        assert all(script.get("type") == "application/json" for script in scripts), name
        assert not [e for e in page.elements if any(key.startswith("on") for key in e.attributes)], name
        loaded = [script.get("src") for script in page.all("script") if script.get("src")]
        loaded += [link.get("href") for link in page.all("link")]
        assert all(source.startswith(("/", "data:")) for source in loaded), (name, loaded)


def test_a_server_in_use_is_not_deleted(administrator_client: Client, fleet: dict[str, Any]) -> None:
    response = administrator_client.post(reverse("server-delete", args=[fleet["server"].pk]))
    assert response.status_code == 409
    assert "Choose another server in their settings first." in Document(response).text
    assert ScepServer.objects.filter(pk=fleet["server"].pk).exists()
