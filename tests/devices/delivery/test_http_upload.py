"""Profiles of the connector http_upload: each vendor's steps as reported, against a fake of their pages, and faults.

`web_forms.py` says what the fake is good for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from devices.delivery.connectors import profiles
from devices.delivery.connectors.base import Material, Target
from devices.delivery.connectors.http_upload import HttpUploadConnector
from devices.delivery.connectors.settings import check
from devices.delivery.errors import (
    ConnectionLost,
    DeliveryError,
    DeviceRefused,
    KeyStoreFull,
    NotConfirmed,
    NotConnected,
    UnexpectedAnswer,
    WrongFingerprint,
    WrongPassword,
)
from tests.devices.delivery import web_forms as fake
from tests.devices.delivery.brother_pages import Brother
from tests.devices.delivery.issued import certificate
from tests.devices.delivery.materials import make_material
from tests.devices.delivery.web_forms import Answer, Device, Request, WebForms, web_forms
from tests.peers.pappl import printer

VENDORS = ("hp_ews", "hp_futuresmart", "brother", "epson")
GENERIC = {
    "profile": "generic",
    "login": "form",
    "login_path": "/login",
    "form_path": "/import",
    "format": "pkcs12",
    "success_pattern": "stored",
    "error_pattern": "Error: (.*)",
}
P12_PASSWORD = "Pkcs12Password16"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebForms]:
    with web_forms(tmp_path_factory.mktemp("forms")) as running:
        yield running


@pytest.fixture(autouse=True)
def one_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpUploadConnector, "draw_password", lambda _self: P12_PASSWORD)


@pytest.fixture(scope="module")
def material() -> Material:
    return make_material("TLS", common_name="10.1.2.3")


def connector(server: WebForms, profile: str, **settings: Any) -> HttpUploadConnector:
    """As a device is told of it; `password` is the secret one."""
    password = settings.pop("password", fake.PASSWORD)
    described = GENERIC if profile == "generic" else {"profile": profile}
    plain = {**described, "port": server.port, "tls_fingerprint": server.fingerprint, **settings}
    check(HttpUploadConnector.schema, {**plain, "password": password})
    return HttpUploadConnector(Target("127.0.0.1", plain, {"password": password}))


def serve(server: WebForms, profile: str, **behavior: Any) -> Device:
    """Have the server be such a device."""
    device = Brother(**behavior) if profile == "brother" else Device(**behavior)
    server.pages = getattr(device, profile)
    server.requests.clear()
    return device


def opened(pkcs12: bytes, tmp_path: Path, *arguments: str, password: str = P12_PASSWORD) -> str:
    """What `openssl pkcs12` reads."""
    path = tmp_path / "sent.p12"
    path.write_bytes(pkcs12)
    done = subprocess.run(
        ["openssl", "pkcs12", "-in", str(path), "-nodes", "-passin", f"pass:{password}", "-info", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


class TestProfiles:
    def test_hp_ews_with_the_certificate_first(
        self, server: WebForms, material: Material, tmp_path: Path
    ) -> None:
        for sign_in in (fake.basic, fake.digest):
            device = serve(server, "hp_ews", sign_in=sign_in)
            connector(server, "hp_ews").install(material)
            assert device.installed is not None
            assert [name for name, _value in device.installed.fields] == ["certificate", "password"]
            assert device.installed.value("password") == P12_PASSWORD
            assert material.private_key_pem().decode() in opened(
                device.installed.file("certificate"), tmp_path
            )
            first = server.requests[0]
            assert "authorization" not in first.headers, "the password goes out when the device asks for it"

    def test_hp_futuresmart_with_3des_and_sha1(
        self, server: WebForms, material: Material, tmp_path: Path
    ) -> None:
        device = serve(server, "hp_futuresmart")
        connector(server, "hp_futuresmart").install(material)
        assert device.installed is not None
        names = [name for name, _value in device.installed.fields]
        assert names == ["CSRFToken", "SignedCertFile", "certPassword", "InstallButton"]
        info = opened(device.installed.file("SignedCertFile"), tmp_path, "-legacy")
        assert "pbeWithSHA1And3-KeyTripleDES-CBC" in info
        assert "MAC: sha1" in info

    def test_brother_finds_its_names_chooses_the_new_certificate_and_bears_the_restart(
        self, server: WebForms, material: Material, tmp_path: Path
    ) -> None:
        device = serve(server, "brother")
        assert isinstance(device, Brother)
        connector(server, "brother").install(material)
        assert device.installed is not None
        assert device.installed.value("hidden_certificate_process_control") == "1"
        assert device.installed.value("B821") == P12_PASSWORD
        info = opened(device.installed.file("B820"), tmp_path)
        assert info.count("BEGIN CERTIFICATE") == 1, "the leaf alone"
        assert device.chosen == "7"
        assert server.requests[-1].value("B900") == "4", "the page's own confirmation"
        assert server.requests[-1].headers["referer"].endswith("/net/net/certificate/http.html")

    def test_epson_with_pem_parts_in_order(self, server: WebForms, material: Material) -> None:
        device = serve(server, "epson")
        connector(server, "epson").install(material)
        assert device.installed is not None
        assert [name for name, _value in device.installed.fields] == [
            *("INPUTT_SETUPTOKEN", "format", "key", "cert0", "cert1"),
        ], "there is one CA certificate, so no cert2"
        assert device.installed.file("cert0") == material.certificate_pem()
        assert device.installed.file("cert1") == material.chain_pem()
        assert device.installed.file("key") == material.private_key_pem()

    @pytest.mark.parametrize("format_", ["pkcs12", "pkcs12_legacy"])
    def test_one_that_is_described(
        self, server: WebForms, material: Material, tmp_path: Path, format_: str
    ) -> None:
        device = serve(server, "generic")
        connector(server, "generic", format=format_, extra_fields="mode=import\nslot=2").install(material)
        assert device.installed is not None
        assert [name for name, _value in device.installed.fields] == ["csrf", "mode", "slot", "p12", "p12pw"]
        legacy = ["-legacy"] if format_ == "pkcs12_legacy" else []
        opened(device.installed.file("p12"), tmp_path, *legacy)

    def test_described_with_pem(self, server: WebForms, material: Material) -> None:
        device = serve(server, "generic")
        connector(
            server, "generic", format="pem", certificate_field="crt", key_field="key", extra_fields=""
        ).install(material)
        assert device.installed is not None
        assert device.installed.file("crt") == material.certificate_pem() + material.chain_pem()
        assert device.installed.file("key") == material.private_key_pem()

    def test_everybody_is_told_that_nobody_tried_them(self) -> None:
        assert set(profiles.built_in()) == set(VENDORS)
        labels = dict(HttpUploadConnector.schema[0].choices)
        for name in VENDORS:
            assert "not tried on hardware" in str(labels[name])
        assert "not tried" not in str(labels["generic"])


class TestRealServer:
    """A description of PAPPL's web page, walked on a real PAPPL printer application."""

    def test_what_is_described_is_uploaded_and_served(self, material: Material, tmp_path: Path) -> None:
        with printer(tmp_path) as pappl:
            plain = {
                "profile": "generic",
                "port": pappl.port,
                "username": "admin",
                "tls_fingerprint": pappl.served,
                "login": "http",
                "form_path": "/tls-install-crt",
                "format": "pem",
                "certificate_field": "certificate",
                "key_field": "privatekey",
                "success_pattern": "installed",
            }
            device = HttpUploadConnector(Target("127.0.0.1", plain, {"password": pappl.password}))
            findings = device.self_test()
            assert [each.message for each in findings if not each.is_good] == []
            assert "certificate, privatekey" in findings[-1].message
            before = pappl.served
            device.install(material)
            assert before != pappl.served == material.fingerprint_sha256


class TestSelfTest:
    @pytest.mark.parametrize("profile", [*VENDORS, "generic"])
    def test_it_walks_up_to_the_upload_and_changes_nothing(self, server: WebForms, profile: str) -> None:
        device = serve(server, profile)
        findings = connector(server, profile).self_test()
        assert [each.message for each in findings if not each.is_good] == []
        assert findings[-1].message.startswith("Not sent")
        assert device.installed is None
        assert not any("Upload" in path or "IMPORT_CHAIN" in path or "Save" in path for path in server.sent())
        assert all(fake.PASSWORD not in each.message for each in findings)

    def test_the_names_that_were_discovered_are_told(self, server: WebForms) -> None:
        serve(server, "brother")
        assert "B820" in connector(server, "brother").self_test()[-1].message

    @pytest.mark.parametrize("profile", [*VENDORS, "generic"])
    def test_a_wrong_password_is_found(self, server: WebForms, profile: str) -> None:
        serve(server, profile)
        last = connector(server, profile, password="wrong-9932").self_test()[-1]
        assert not last.is_good
        assert "password" in last.message
        assert "wrong-9932" not in last.message

    def test_another_kind_of_device_is_found(self, server: WebForms) -> None:
        serve(server, "epson")
        last = connector(server, "hp_futuresmart").self_test()[-1]
        assert (last.is_good, last.step) == (False, "sign-in page")
        assert "404" in last.message

    def test_what_is_missing_on_a_page_is_named(self, server: WebForms) -> None:
        serve(server, "epson")
        server.pages = lambda request: Answer("<form></form>")
        last = connector(server, "epson").self_test()[-1]
        assert "INPUTT_SETUPTOKEN" in last.message

    def test_a_description_that_is_not_complete(self, server: WebForms) -> None:
        (finding,) = connector(server, "generic", login_path="").self_test()
        assert not finding.is_good
        assert "sign-in page" in finding.message

    def test_another_certificate(self, server: WebForms) -> None:
        serve(server, "epson")
        (finding,) = connector(server, "epson", tls_fingerprint="00" * 32).self_test()
        assert not finding.is_good
        assert server.sent() == []


class TestBadInput:
    @pytest.mark.parametrize("profile", [*VENDORS, "generic"])
    def test_a_wrong_password(self, server: WebForms, material: Material, profile: str) -> None:
        device = serve(server, profile)
        with pytest.raises(WrongPassword) as met:
            connector(server, profile, password="wrong-9932").install(material)
        assert not met.value.worth_another_try
        assert device.installed is None
        assert "wrong-9932" not in f"{met.value!r} {met.value}"

    @pytest.mark.parametrize("profile", ["hp_ews", "hp_futuresmart", "brother", "generic"])
    @pytest.mark.parametrize(
        ("said_", "error"),
        [("The certificate store is full", KeyStoreFull), ("Unsupported key size", DeviceRefused)],
    )
    def test_the_devices_own_words(
        self, server: WebForms, material: Material, profile: str, said_: str, error: type[DeliveryError]
    ) -> None:
        serve(server, profile, error=said_)
        with pytest.raises(error, match=said_) as met:
            connector(server, profile).install(material)
        assert type(met.value) is error
        assert not met.value.worth_another_try

    def test_success_that_is_not_said(self, server: WebForms, material: Material) -> None:
        serve(server, "epson", error="<h1>Please wait</h1>")
        with pytest.raises(UnexpectedAnswer, match="Please wait") as met:
            connector(server, "epson").install(material)
        assert met.value.may_have_arrived

    @pytest.mark.parametrize(
        ("pin", "error"), [("", NotConfirmed), ("ab" * 32, WrongFingerprint)], ids=["none", "another"]
    )
    def test_nothing_goes_to_a_device_that_is_not_known(
        self, server: WebForms, material: Material, pin: str, error: type[WrongFingerprint]
    ) -> None:
        serve(server, "epson")
        with pytest.raises(error) as met:
            connector(server, "epson", tls_fingerprint=pin).install(material)
        assert met.value.seen == server.fingerprint
        assert server.sent() == []
        assert connector(server, "epson", tls_fingerprint=pin).present().fingerprint == server.fingerprint

    def test_a_connection_that_breaks_after_the_upload(self, server: WebForms, material: Material) -> None:
        device = serve(server, "epson")

        def breaks(request: Request) -> Answer:
            answer = device.epson(request)
            return Answer(status=0) if device.installed else answer

        server.pages = breaks
        with pytest.raises(ConnectionLost) as met:
            connector(server, "epson").install(material)
        assert met.value.may_have_arrived
        assert met.value.worth_another_try
        # the same again does no harm
        server.pages = device.epson
        connector(server, "epson").install(material)

    def test_a_redirect_to_somebody_else_is_not_followed(self, server: WebForms, material: Material) -> None:
        serve(server, "epson")
        server.pages = lambda _request: Answer("", 302, {"Location": "https://example.com/"})
        with pytest.raises(UnexpectedAnswer, match="another address"):
            connector(server, "epson").install(material)

    def test_a_key_that_the_device_does_not_take(self, server: WebForms, material: Material) -> None:
        serve(server, "hp_ews")
        key = ec.generate_private_key(ec.SECP256R1())
        other = replace(
            material,
            certificate=certificate("x", key),  # type: ignore[arg-type]
        )
        with pytest.raises(DeviceRefused, match="RSA"):
            connector(server, "hp_ews").install(other)
        assert server.sent() == []

    def test_a_file_that_is_too_long(
        self, server: WebForms, material: Material, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short = replace(profiles.built_in()["brother"], most_bytes=1000)
        monkeypatch.setattr(profiles, "built_in", lambda: {"brother": short})
        device = serve(server, "brother")
        with pytest.raises(DeviceRefused, match="at most 1000 bytes"):
            connector(server, "brother").install(material)
        assert device.installed is None

    def test_pem_wants_a_field_for_the_key(self, server: WebForms, material: Material) -> None:
        with pytest.raises(NotConnected, match="field for the key"):
            connector(server, "generic", format="pem").install(material)
