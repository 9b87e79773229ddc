"""The SFTP connector against OpenSSH's sshd, with a TLS server and a real ippeveprinter behind it."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from django.core.exceptions import ValidationError

from devices.delivery.connectors import sftp, sftp_files
from devices.delivery.connectors.base import Target
from devices.delivery.connectors.settings import check
from devices.delivery.connectors.sftp import SftpConnector
from devices.delivery.errors import (
    DeviceRefused,
    NotConfirmed,
    NotConnected,
    UnexpectedAnswer,
    Unreachable,
    WrongFingerprint,
    WrongPassword,
)
from tests.devices.delivery.materials import make_material
from tests.peers.ipp_printer import ipp_printer
from tests.peers.process import free_port, wait_until
from tests.peers.ssh_host import SshHost, TlsServer, keygen, served_fingerprint, ssh_host, tls_server

PASSWORD = "s3cret-of-the-host"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    with ssh_host(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("tls")) as running:
        yield running


def connector(host: SshHost, key: Path, certificate: Path, **settings: Any) -> SftpConnector:
    """As a device is told of it; the secrets are taken out of `settings`."""
    secrets: dict[str, str] = {
        name: settings.pop(name) for name in ("password", "private_key") if name in settings
    }
    plain = {
        "port": host.port,
        "username": host.username,
        "host_key_fingerprint": host.fingerprint,
        "key_path": str(key),
        "certificate_path": str(certificate),
        **settings,
    }
    check(SftpConnector.schema, {**plain, **secrets})
    return SftpConnector(Target("127.0.0.1", plain, secrets or {"private_key": host.private_key}))


def left_over(folder: Path) -> list[str]:
    """What is in the folder besides key, certificate and log."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


class TestInstalling:
    def test_the_certificate_is_served_and_the_key_is_for_its_owner_alone(
        self, host: SshHost, server: TlsServer
    ) -> None:
        material = make_material()
        server.key.chmod(0o644)  # as somebody left it
        sftp_host = connector(host, server.key, server.certificate, reload_command=server.reload_command)
        sftp_host.install(material)
        wait_until(
            lambda: served_fingerprint(server.port) == material.fingerprint_sha256,
            timeout=60,
            what="the new certificate being served",
        )
        assert server.key.read_bytes() == material.private_key_pem()
        assert server.certificate.read_bytes() == material.certificate_pem() + material.chain_pem()
        assert stat.S_IMODE(server.key.stat().st_mode) == 0o640
        assert left_over(server.key.parent) == []
        # the same again does no harm
        sftp_host.install(material)
        assert served_fingerprint(server.port) == material.fingerprint_sha256

    def test_a_real_printer_serves_it_without_a_command(self, host: SshHost, tmp_path: Path) -> None:
        with ipp_printer(tmp_path) as printer:
            before = served_fingerprint(printer.port)
            material = make_material()
            connector(host, printer.keys / "localhost.key", printer.keys / "localhost.crt").install(material)
            assert before != material.fingerprint_sha256
            assert served_fingerprint(printer.port) == material.fingerprint_sha256

    def test_new_files_are_for_their_owner_alone(self, host: SshHost, tmp_path: Path) -> None:
        key, certificate = tmp_path / "new.key", tmp_path / "new.crt"
        connector(host, key, certificate).install(make_material())
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(certificate.stat().st_mode) == 0o644

    def test_a_key_is_staged_readable_for_its_owner_alone_and_goes_first(
        self, host: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[str, int]] = []
        rename = paramiko.SFTPClient.posix_rename

        def watched(client: paramiko.SFTPClient, old: str, new: str) -> None:
            seen.append((Path(new).name, stat.S_IMODE(Path(old).stat().st_mode)))
            rename(client, old, new)

        monkeypatch.setattr(paramiko.SFTPClient, "posix_rename", watched)
        connector(host, tmp_path / "a.key", tmp_path / "a.crt").install(make_material())
        assert seen == [("a.key", 0o600), ("a.crt", 0o644)]


class TestSelfTest:
    def test_it_looks_and_changes_nothing(self, host: SshHost, tmp_path: Path) -> None:
        (tmp_path / "a.key").write_text("the old key")
        findings = connector(
            host, tmp_path / "a.key", tmp_path / "a.crt", reload_command="touch x"
        ).self_test()
        assert [each.is_good for each in findings] == [True, True, True]
        assert ["replaced" in findings[1].message, "made" in findings[2].message] == [True, True]
        assert [path.name for path in tmp_path.iterdir()] == ["a.key"]

    def test_it_says_what_is_missing(self, host: SshHost, tmp_path: Path) -> None:
        found = connector(host, tmp_path / "missing" / "a.key", tmp_path / "a.crt").self_test()
        assert [each.is_good for each in found] == [True, False]
        assert "folder" in found[-1].message
        (refused,) = connector(host, tmp_path / "a.key", tmp_path / "a.crt", password=PASSWORD).self_test()
        assert not refused.is_good


class TestBadInput:
    def test_a_key_that_is_not_confirmed_is_told_and_nothing_is_sent(
        self, host: SshHost, tmp_path: Path
    ) -> None:
        unpinned = connector(host, tmp_path / "a.key", tmp_path / "a.crt", host_key_fingerprint="")
        before = host.log.read_text().count("Accepted publickey")
        with pytest.raises(NotConfirmed) as met:
            unpinned.install(make_material())
        assert met.value.seen == host.fingerprint
        assert host.log.read_text().count("Accepted publickey") == before
        presented = unpinned.present()
        assert (presented.fingerprint, "ed25519" in presented.description) == (host.fingerprint, True)

    def test_another_key_than_the_pinned_one(self, host: SshHost, tmp_path: Path) -> None:
        other = "SHA256:" + "A" * 43
        before = host.log.read_text().count("Accepted publickey")
        with pytest.raises(WrongFingerprint, match="Nothing was sent") as met:
            connector(host, tmp_path / "a.key", tmp_path / "a.crt", host_key_fingerprint=other).install(
                make_material()
            )
        assert not isinstance(met.value, NotConfirmed)
        assert met.value.seen == host.fingerprint
        assert host.log.read_text().count("Accepted publickey") == before

    def test_a_wrong_password(self, host: SshHost, tmp_path: Path) -> None:
        with pytest.raises(WrongPassword) as met:
            connector(host, tmp_path / "a.key", tmp_path / "a.crt", password=PASSWORD).install(
                make_material()
            )
        assert not met.value.worth_another_try
        assert PASSWORD not in f"{met.value!r} {met.value.__context__!r}"

    def test_no_password_and_no_key(self, host: SshHost, tmp_path: Path) -> None:
        target = connector(host, tmp_path / "a.key", tmp_path / "a.crt").target
        with pytest.raises(NotConnected):
            SftpConnector(Target("127.0.0.1", target.settings)).install(make_material())

    def test_nobody_there(self, host: SshHost, tmp_path: Path) -> None:
        away = connector(host, tmp_path / "a.key", tmp_path / "a.crt", port=free_port())
        for call in (lambda: away.install(make_material()), away.present):
            with pytest.raises(Unreachable) as met:
                call()
            assert not met.value.may_have_arrived

    def test_a_folder_that_is_missing(self, host: SshHost, tmp_path: Path) -> None:
        with pytest.raises(DeviceRefused, match="folder"):
            connector(host, tmp_path / "missing" / "a.key", tmp_path / "a.crt").install(make_material())

    def test_a_certificate_that_cannot_be_staged_leaves_the_old_pair(
        self, host: SshHost, tmp_path: Path
    ) -> None:
        key = tmp_path / "a.key"
        key.write_text("the old key")
        with pytest.raises(DeviceRefused):
            connector(host, key, tmp_path / "missing" / "a.crt").install(make_material())
        assert key.read_text() == "the old key"
        assert left_over(tmp_path) == []

    def test_a_command_that_fails_is_quoted(self, host: SshHost, tmp_path: Path) -> None:
        failing = connector(
            host, tmp_path / "a.key", tmp_path / "a.crt", reload_command="echo no such unit >&2; exit 5"
        )
        with pytest.raises(UnexpectedAnswer, match="ended with 5: “no such unit”"):
            failing.install(make_material())

    def test_a_command_that_does_not_end_and_one_that_talks_without_end(
        self, host: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = sftp_files._output
        # the command is given half a second, and the host what it needs to begin it
        monkeypatch.setattr(
            sftp_files, "_output", lambda channel, _end: output(channel, time.monotonic() + 0.5)
        )
        for command in ("sleep 20", "yes"):
            endless = connector(host, tmp_path / "a.key", tmp_path / "a.crt", reload_command=command)
            with pytest.raises(UnexpectedAnswer, match="within 30 s"):
                endless.install(make_material())

    def test_a_host_without_sftp(self, tmp_path: Path) -> None:
        with ssh_host(tmp_path, sftp="/bin/false") as bare, pytest.raises(DeviceRefused, match="SFTP"):
            connector(bare, tmp_path / "a.key", tmp_path / "a.crt").install(make_material())


class TestSettings:
    @pytest.mark.parametrize("path", ["a.key", "/", "/etc/ssl/", "/etc/../a", "/etc//a"])
    def test_paths(self, path: str) -> None:
        with pytest.raises(ValidationError):
            sftp.validate_path(path)

    @pytest.mark.parametrize("value", ["SHA256:short", "MD5:aa:bb", "a" * 64])
    def test_fingerprints(self, value: str) -> None:
        with pytest.raises(ValidationError):
            sftp.validate_fingerprint(value)

    @pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
    def test_private_keys(self, kind: str, tmp_path: Path) -> None:
        keygen("-q", "-t", kind, "-N", "", "-f", str(tmp_path / "open"))
        sftp.validate_private_key((tmp_path / "open").read_text())
        keygen("-q", "-t", kind, "-N", "passphrase", "-f", str(tmp_path / "locked"))
        for text in ((tmp_path / "locked").read_text(), "nonsense"):
            with pytest.raises(ValidationError):
                sftp.validate_private_key(text)
