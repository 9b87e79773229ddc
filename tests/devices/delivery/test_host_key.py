"""The host key of a print server: seen, compared, confirmed on the page and over REST, against OpenSSH's own sshd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from devices import inventory
from devices.audit import SYSTEM, Actor
from devices.delivery import deploy, fingerprints
from devices.errors import Conflict
from devices.models import AuditEvent, Device
from tests.devices.delivery.conftest import Bench
from tests.devices.factories import make_device
from tests.fleet.dashboard.html import Document
from tests.peers.process import wait_until
from tests.peers.ssh_host import SshHost, TlsServer, keygen, served_fingerprint, ssh_host, tls_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    with ssh_host(tmp_path) as running:
        yield running


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture
def device(bench: Bench, host: SshHost, server: TlsServer) -> Device:
    """Whose host key nobody has confirmed."""
    bench.device = make_device(
        host="127.0.0.1",
        tls_ports=[server.port],
        connector="sftp",
        connector_settings={
            "port": host.port,
            "username": host.username,
            "private_key": host.private_key,
            "key_path": str(server.key),
            "certificate_path": str(server.certificate),
            "reload_command": server.reload_command,
        },
    )
    return bench.device


def swapped(text: str) -> str:
    """The same letters in the other case: another fingerprint in Base64."""
    head, colon, digest = text.partition(":")
    return head + colon + digest.swapcase()


class TestPage:
    def test_from_a_host_that_nobody_knows_to_a_served_certificate(
        self, operator_client: Client, bench: Bench, device: Device, host: SshHost, server: TlsServer
    ) -> None:
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator) == ("failed", True)
        assert f"It shows {host.fingerprint} (ssh-ed25519)" in row.explanation
        assert "Accepted" not in host.log.read_text(), "nobody signed in"

        address = reverse("device-fingerprint", args=[device.pk])
        page = Document(operator_client.get(address))
        command = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        # what OpenSSH's own tool prints for the key of this host
        (file,) = host.log.parent.glob("host_key.pub")
        assert keygen("-lf", str(file)).split()[1] in page.text
        assert command in page.text
        assert "ssh-ed25519, 256 bit" in page.text

        refused = operator_client.post(address, {"fingerprint": swapped(host.fingerprint)})
        assert (refused.status_code, "Compare it anew" in Document(refused).text) == (409, True)
        assert host.fingerprint in Document(refused).text
        device.refresh_from_db()
        assert "host_key_fingerprint" not in device.connector_settings

        confirmed = Document(operator_client.post(address, {"fingerprint": host.fingerprint}, follow=True))
        assert "Deliveries that waited for it go on." in confirmed.text
        assert host.fingerprint in confirmed.text, "as ssh-keygen prints it"
        device.refresh_from_db()
        assert device.connector_settings["host_key_fingerprint"] == host.fingerprint
        assert device.connector_secrets_set == ["private_key"]
        event = AuditEvent.objects.get(action="device.confirm_fingerprint")
        assert event.changes == {"fingerprint": host.fingerprint}
        assert "It is the one that was confirmed." in Document(operator_client.get(address)).text

        def is_verified() -> bool:
            return bench.delivery_step(key).state == "verified"

        wait_until(is_verified, timeout=60, what="the certificate being served")
        assert served_fingerprint(server.port) == key.fingerprint_sha256

    def test_a_host_key_that_changed_is_shown_beside_the_former_one(
        self, operator_client: Client, bench: Bench, device: Device, host: SshHost, tmp_path: Path
    ) -> None:
        address = reverse("device-fingerprint", args=[device.pk])
        operator_client.post(address, {"fingerprint": host.fingerprint})
        again = tmp_path / "again"
        again.mkdir()
        with ssh_host(again) as other:
            stored = Device.objects.get(pk=device.pk)
            inventory.update_device(
                SYSTEM, stored, connector_settings={**stored.connector_settings, "port": other.port}
            )
            row = bench.delivery_step(bench.issue())
            assert (
                f"expected to show the SSH key {host.fingerprint}; it shows {other.fingerprint}"
                in row.explanation
            )
            page = Document(operator_client.get(address))
            assert host.fingerprint in page.text
            assert other.fingerprint in page.text
            operator_client.post(address, {"fingerprint": other.fingerprint})
        device.refresh_from_db()
        assert device.connector_settings["host_key_fingerprint"] == other.fingerprint

    def test_viewers_do_not_confirm(self, viewer_client: Client, device: Device) -> None:
        assert viewer_client.get(reverse("device-fingerprint", args=[device.pk])).status_code == 403


def test_over_rest(administrator: User, device: Device, host: SshHost) -> None:
    client = APIClient()
    client.force_authenticate(administrator)
    address = f"/api/v1/devices/{device.pk}/fingerprint/"
    shown = client.get(address).json()
    assert (shown["fingerprint"], shown["is_confirmed"]) == (host.fingerprint, False)
    assert shown["shown_by"].startswith("ssh-keygen -lf ")
    refused = client.post(address, {"fingerprint": swapped(host.fingerprint)})
    assert (refused.status_code, refused.json()["code"]) == (409, "fingerprint_changed")
    assert client.post(address, {"fingerprint": host.fingerprint}).json()["is_confirmed"]
    assert client.get(address).json()["is_confirmed"]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_the_command_names_the_file_of_the_kind_that_came(
    kind: str, bench: Bench, device: Device, host: SshHost, tmp_path: Path
) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    with ssh_host(folder, kind=kind) as other:
        settings = {**device.connector_settings, "port": other.port}
        Device.objects.filter(pk=device.pk).update(connector_settings=settings)
        shown = Device.objects.get(pk=device.pk).connect(with_secrets=False).present()
    assert shown.fingerprint == other.fingerprint
    assert shown.shown_by == f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"


class TestSpelling:
    HEX, SSH = "ab" * 32, "SHA256:" + "aB" * 21 + "c"

    def test_certificates_in_any_case_with_and_without_colons(self) -> None:
        assert fingerprints.readable(self.HEX) == ":".join(["AB"] * 32)
        assert fingerprints.is_same(self.HEX, f" {fingerprints.readable(self.HEX)} ")
        assert not fingerprints.is_same(self.HEX, "ac" * 32)

    def test_host_keys_to_the_letter(self) -> None:
        assert fingerprints.readable(self.SSH) == self.SSH
        assert fingerprints.is_same(self.SSH, f" {self.SSH}=")
        assert not fingerprints.is_same(self.SSH, swapped(self.SSH))

    def test_none(self) -> None:
        assert fingerprints.readable("") == ""
        assert not fingerprints.is_same("", self.SSH)


def test_what_was_seen_at_one_address_confirms_nothing_at_another(
    actor: Actor, operator: User, device: Device, host: SshHost
) -> None:
    """An administrator confirms what the host shows, and an operator has just given the device another address."""
    seen = Device.objects.get(pk=device.pk)
    inventory.update_device(Actor.of(operator, AuditEvent.Source.DASHBOARD), device, host="10.6.6.6")
    with pytest.raises(Conflict) as refused:
        deploy.confirm(actor, seen, host.fingerprint)
    assert refused.value.code == "address_changed"
    found = Device.objects.get(pk=device.pk)
    assert "host_key_fingerprint" not in found.connector_settings
    assert found.secrets_held
