"""From an issued key to a verified one over the connectors sftp, http_upload and download (F5), with real servers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from devices import doorbell, inventory
from devices.audit import SYSTEM
from devices.delivery import dispatch, download
from devices.delivery.connectors.sftp import SftpConnector
from devices.delivery.deployment import runner as deployment_runner
from devices.delivery.deployment.texts import SETTLES
from devices.models import Deployment, Device, KeyAndCertificate
from tests.devices.delivery.issued import issue
from tests.devices.enrollment.steps import Clock
from tests.devices.factories import make_device
from tests.peers.nginx import WebServer, web_server
from tests.peers.pappl import Pappl, printer
from tests.peers.process import wait_until
from tests.peers.ssh_host import SshHost, TlsServer, served_fingerprint, ssh_host, tls_server

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_deployment_dispatcher", lambda: True)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    with ssh_host(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(scope="module")
def pappl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pappl]:
    with printer(tmp_path_factory.mktemp("pappl")) as running:
        yield running


def step(key: KeyAndCertificate, clock: Clock) -> Deployment:
    """Go on to when the delivery is due, and take one step."""
    row = Deployment.objects.get(key=key)
    assert row.next_action_at is not None, f"it has ended: {row.state} {row.explanation}"
    clock.ahead += max(row.next_action_at - clock(), timedelta(0))
    lease, ids = dispatch.claim_deployments(clock())
    assert ids == [row.pk]
    deployment_runner.advance(row.pk, lease, clock=clock)
    return Deployment.objects.get(key=key)


def until_it_ends(key: KeyAndCertificate, *, most: int = 12) -> Deployment:
    """Step after step."""
    clock = Clock()
    for _step in range(most):
        row = step(key, clock)
        if row.completed_at is not None:
            return row
    raise AssertionError(f"it did not end: {row.state} {row.explanation}")


def sftp_device(host: SshHost, server: TlsServer | WebServer, **settings: Any) -> Device:
    return make_device(
        host="127.0.0.1",
        tls_ports=[server.port],
        connector="sftp",
        connector_settings={
            "port": host.port,
            "username": host.username,
            "private_key": host.private_key,
            "host_key_fingerprint": host.fingerprint,
            "key_path": str(server.key),
            "certificate_path": str(server.certificate),
            "reload_command": server.reload_command
            if isinstance(server, TlsServer)
            else server.signal("reload"),
            **settings,
        },
    )


def test_sftp_to_an_openssh_host_with_a_tls_server_behind_it(host: SshHost, server: TlsServer) -> None:
    key = issue(sftp_device(host, server))
    row = until_it_ends(key)
    assert (row.state, row.explanation) == ("verified", "")
    assert served_fingerprint(server.port) == key.fingerprint_sha256


def test_a_web_server_that_hands_over_is_looked_at_afterwards(host: SshHost, tmp_path: Path) -> None:
    """For 0.1 s after its reload nginx answers with either certificate."""
    clock = Clock()
    with web_server(tmp_path / "web") as nginx:
        key = issue(sftp_device(host, nginx))
        row = step(key, clock)
        assert (row.state, row.explanation, row.lease) == ("active", SETTLES, None)
        assert row.next_action_at
        assert row.sent_at
        assert row.next_action_at - row.sent_at >= timedelta(seconds=SftpConnector.hand_over_seconds)
        time.sleep(SftpConnector.hand_over_seconds)  # the server's own clock cannot be set forward

        def has_handed_over() -> bool:
            return {nginx.served for _look in range(20)} == {key.fingerprint_sha256}

        wait_until(has_handed_over, timeout=120, what="nginx serving the new certificate alone")
        assert step(key, clock).state == "verified"


def test_a_host_that_does_not_reload_gets_the_old_key_back(host: SshHost, server: TlsServer) -> None:
    device = sftp_device(host, server)
    first = issue(device)
    assert until_it_ends(first).state == "verified"
    settings = device.connector_settings | {"reload_command": "true"}
    inventory.update_device(SYSTEM, device, connector_settings=settings)
    second = issue(device)
    row = until_it_ends(second, most=40)
    assert row.state == "rolled_back"
    assert served_fingerprint(server.port) == first.fingerprint_sha256
    assert first.certificate in server.certificate.read_text()


def test_a_host_key_that_changed_stops_it_and_says_so(host: SshHost, server: TlsServer) -> None:
    key = issue(sftp_device(host, server, host_key_fingerprint="SHA256:" + "A" * 43))
    row = until_it_ends(key)
    assert (row.state, row.for_administrator) == ("failed", True)
    assert "Nothing was sent" in row.explanation
    assert KeyAndCertificate.objects.filter(pk=key.pk).exists()


def test_http_upload_as_described_to_a_real_printer_application(pappl: Pappl) -> None:
    device = make_device(
        host="127.0.0.1",
        tls_ports=[pappl.port],
        connector="http_upload",
        connector_settings={
            "profile": "generic",
            "port": pappl.port,
            "password": pappl.password,
            "tls_fingerprint": pappl.served,
            "form_path": "/tls-install-crt",
            "certificate_field": "certificate",
            "key_field": "privatekey",
            "success_pattern": "installed",
        },
    )
    for _time in range(2):  # the second time it is recognized by the certificate that was installed
        key = issue(device)
        row = until_it_ends(key)
        assert (row.state, row.explanation) == ("verified", "")
        assert pappl.served == key.fingerprint_sha256


def test_download_waits_for_a_person_and_ends_when_the_device_is_seen(
    server: TlsServer, tmp_path: Path
) -> None:
    device = make_device(host="127.0.0.1", tls_ports=[server.port], connector="download")
    key, clock = issue(device), Clock()
    row = step(key, clock)
    assert row.state == "issued"
    assert "Waiting for you" in row.explanation
    fetched = download.fetch(SYSTEM, KeyAndCertificate.objects.get(pk=key.pk))
    assert step(key, clock).state == "issued"
    # the person imports it
    private_key, certificate, _chain = pkcs12.load_key_and_certificates(
        fetched.pkcs12, fetched.password.encode()
    )
    assert private_key is not None
    assert certificate is not None
    server.key.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    os.kill(server.pid, signal.SIGHUP)
    row = step(key, clock)
    assert row.state == "verified"
    assert fetched.password not in row.explanation
