"""The probe against real TLS servers: OpenSSL's own, old and new, and virtual MFPs (F5)."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from devices.delivery import probe, tls
from devices.delivery.connectors.base import Endpoint
from devices.delivery.errors import NotConfirmed, Unreachable, WrongFingerprint
from fleet.demo.device import factory_identity, fingerprint
from scep.transport import answer_by
from tests.peers.mfps import Mfps
from tests.peers.process import free_port, is_listening, running


@contextmanager
def openssl_server(directory: Path, *options: str) -> Iterator[tuple[int, str]]:
    """`openssl s_server` with a certificate of its own: its port, and the certificate's fingerprint."""
    port, file = free_port(), directory / "server.pem"
    file.write_text(factory_identity())
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(file), "-www", *options]
    with running(command, ready=lambda: is_listening(port), log=directory / "s_server.log"):
        yield port, fingerprint(file.read_text())


def sha256(leaf: bytes) -> str:
    return hashlib.sha256(leaf).hexdigest()


def test_it_sees_what_openssl_serves(tmp_path: Path) -> None:
    with openssl_server(tmp_path) as (port, expected):
        assert sha256(probe.served_leaf("127.0.0.1", port)) == expected


def test_old_firmware_with_tls_1_0_is_seen_where_that_is_permitted(tmp_path: Path) -> None:
    with openssl_server(tmp_path, "-tls1", "-cipher", "ALL:@SECLEVEL=0") as (port, expected):
        assert sha256(probe.served_leaf("127.0.0.1", port)) == expected
        with pytest.raises(Unreachable, match="No TLS handshake"):
            probe.served_leaf("127.0.0.1", port, allow_old_tls=False)


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        probe.served_leaf("127.0.0.1", free_port())


def test_somebody_who_takes_the_connection_and_says_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(Unreachable, match="no answer in time"):
            probe.served_leaf("127.0.0.1", listener.getsockname()[1], 0.3)


def test_many_at_once_in_their_order(mfps: Mfps) -> None:
    dead = Endpoint("127.0.0.1", free_port())
    endpoints = [Endpoint("127.0.0.1", mfps.port, mfps.serial(number)) for number in range(12)]
    looks = list(probe.look_at([*endpoints, dead], at_once=64))
    assert [look.endpoint for look in looks] == [*endpoints, dead]
    assert {sha256(look.leaf) for look in looks if look.leaf} == {mfps.factory_fingerprint}
    assert (looks[-1].leaf, "connection refused" in looks[-1].problem) == (None, True)


class TestPin:
    """Whom we talk to is settled before anything is sent."""

    @pytest.fixture(autouse=True)
    def in_time(self) -> None:
        """Answers have until then, whatever this thread waited for before."""
        answer_by(time.monotonic() + 120)

    def test_every_connection_of_the_session_shows_the_certificate(self, tmp_path: Path) -> None:
        with openssl_server(tmp_path) as (port, expected):
            endpoint = Endpoint("127.0.0.1", port)
            written = tls.readable(expected)
            for pinned in (expected, written, f" {written.lower()} "):
                with tls.pinned_session(endpoint, pinned=pinned, timeout=60) as session:
                    assert session.get(f"https://127.0.0.1:{port}/", timeout=60).status_code == 200

    def test_one_that_changes_afterwards_gets_nothing(self, tmp_path: Path) -> None:
        with openssl_server(tmp_path) as (port, expected):
            session = tls.pinned_session(Endpoint("127.0.0.1", port), pinned=expected, timeout=60)
        file = tmp_path / "server.pem"
        file.write_text(factory_identity())
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(file), "-www"]
        with (
            running(command, ready=lambda: is_listening(port), log=tmp_path / "second.log"),
            pytest.raises(requests.exceptions.SSLError, match="ingerprint"),
        ):
            session.post(f"https://127.0.0.1:{port}/", data=b"a secret", timeout=60)
        assert b"a secret" not in (tmp_path / "second.log").read_bytes()

    def test_wrong_and_missing_pins(self, mfps: Mfps) -> None:
        endpoint = Endpoint("127.0.0.1", mfps.port, mfps.serial(3))
        with pytest.raises(WrongFingerprint) as wrong:
            tls.pinned_session(endpoint, pinned="ab" * 32, timeout=60)
        with pytest.raises(NotConfirmed) as missing:
            tls.pinned_session(endpoint, pinned="", timeout=60)
        assert wrong.value.seen == missing.value.seen == mfps.factory_fingerprint

    def test_what_was_installed_counts_without_a_pin(self, mfps: Mfps) -> None:
        endpoint = Endpoint("127.0.0.1", mfps.port, mfps.serial(3))
        tls.pinned_session(endpoint, pinned="", installed={mfps.factory_fingerprint}, timeout=60).close()


def test_the_probe_verifies_nothing() -> None:
    context = probe.new_context(allow_old_tls=True)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
