"""The connector `pappl` against real PAPPL printer applications, and `openssl s_client` as the judge (F5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.connectors.base import Material, Target
from devices.delivery.connectors.pappl import PapplConnector, _judge, _Page
from devices.delivery.errors import (
    DeviceRefused,
    KeyStoreFull,
    NotConfirmed,
    UnexpectedAnswer,
    Unreachable,
    WrongFingerprint,
    WrongPassword,
)
from devices.models import Deployment, Device, KeyAndCertificate
from devices.rules.keys import KeyUse
from scep import keys
from tests.devices.delivery.conftest import Bench
from tests.devices.delivery.issued import authority, certificate, issue, pkcs8
from tests.devices.delivery.web_forms import Answer, web_forms
from tests.devices.factories import make_device
from tests.peers.pappl import Pappl, printer
from tests.peers.process import free_port


@pytest.fixture(scope="module")
def pappl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pappl]:
    with printer(tmp_path_factory.mktemp("pappl")) as running:
        yield running


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pappl]:
    """One whose web pages ask for the password by a form."""
    with printer(tmp_path_factory.mktemp("form"), form=True) as running:
        yield running


def material() -> Material:
    key = keys.generate_rsa()
    return Material(
        *("TLS", KeyUse.TLS, "", pkcs8(key), certificate("127.0.0.1", key)),
        chain=(certificate("Office CA", authority()),),
    )


def connector(
    pappl: Pappl, *, password: str | None = None, installed: str = "", **settings: object
) -> PapplConnector:
    values = {"port": pappl.port, "tls_fingerprint": pappl.served, **settings}
    return PapplConnector(
        Target(
            "127.0.0.1",
            values,
            {"password": pappl.password if password is None else password},
            tls_ports=(pappl.port,),
            installed_fingerprints=frozenset({installed} if installed else ()),
        )
    )


class TestInstall:
    def test_the_certificate_is_served_from_the_next_handshake_on(self, pappl: Pappl) -> None:
        for _ in range(2):  # idempotent, and the second time under the first certificate
            made = material()
            connector(pappl).install(made)
            assert pappl.served == made.fingerprint_sha256
        connector(pappl).install(made)
        assert pappl.served == made.fingerprint_sha256

    def test_a_device_is_recognized_by_what_was_installed(self, pappl: Pappl) -> None:
        first, made = pappl.served, material()
        connector(pappl, tls_fingerprint="ab" * 32, installed=first).install(made)
        assert pappl.served == made.fingerprint_sha256

    def test_wrong_password(self, pappl: Pappl) -> None:
        before = pappl.served
        with pytest.raises(WrongPassword, match="did not accept the user name and password"):
            connector(pappl, password="wrong").install(material())
        assert pappl.served == before

    def test_wrong_fingerprint(self, pappl: Pappl) -> None:
        with pytest.raises(WrongFingerprint, match="Neither password nor key was sent") as caught:
            connector(pappl, tls_fingerprint="ab" * 32).install(material())
        assert caught.value.seen == pappl.served

    def test_a_fingerprint_that_nobody_confirmed(self, pappl: Pappl) -> None:
        with pytest.raises(NotConfirmed, match="has not been confirmed yet") as caught:
            connector(pappl, tls_fingerprint=None).install(material())
        assert caught.value.seen == pappl.served

    def test_what_is_to_be_confirmed(self, pappl: Pappl) -> None:
        shown = connector(pappl).present()
        assert shown.fingerprint == pappl.served
        assert "CN=" in shown.description

    def test_a_key_that_does_not_fit_its_certificate_is_refused_in_its_own_words(self, pappl: Pappl) -> None:
        before, one, other = pappl.served, material(), material()
        mixed = Material("TLS", KeyUse.TLS, "", other.private_key, one.certificate)
        with pytest.raises(DeviceRefused, match="Invalid certificate or private key"):
            connector(pappl).install(mixed)
        assert pappl.served == before

    def test_nobody_there(self) -> None:
        nobody = PapplConnector(Target("127.0.0.1", {"port": free_port(), "tls_fingerprint": "ab" * 32}))
        with pytest.raises(Unreachable, match="Check that the device is switched on"):
            nobody.install(material())


def test_one_that_asks_for_no_password(tmp_path_factory: pytest.TempPathFactory) -> None:
    with printer(tmp_path_factory.mktemp("open"), password="") as pappl:
        made = material()
        connector(pappl).install(made)
        assert pappl.served == made.fingerprint_sha256


class TestLoginForm:
    """A password that was set for the application's web pages is asked for by a form."""

    def test_right_password(self, asking: Pappl) -> None:
        for _ in range(2):
            made = material()
            connector(asking).install(made)
            assert asking.served == made.fingerprint_sha256

    def test_no_password_sends_nothing(self, asking: Pappl) -> None:
        before = asking.served
        with pytest.raises(WrongPassword, match="there is none in its connector's settings") as met:
            connector(asking, password="").install(material())
        assert (met.value.worth_another_try, met.value.for_administrator) == (False, True)
        assert asking.served == before

    def test_wrong_password(self, tmp_path: Path) -> None:
        """A fake: the form of the real one here, 1.3.1, takes any password. Newer ones show it again."""
        with web_forms(tmp_path) as server:
            again = (
                '<div class="banner">Password incorrect.</div><form><input type="hidden" name="session" value="ab">'
                '<input type="password" name="password"><input type="submit" value="Login"></form>'
            )
            server.pages = lambda _request: Answer(again)
            asking = Pappl(server.port, "right")
            with pytest.raises(WrongPassword, match="did not accept the user name and password") as met:
                connector(asking, password="wrong-9932").install(material())
            assert (met.value.worth_another_try, met.value.for_administrator) == (False, True)
            assert "wrong-9932" not in f"{met.value!r}"
            sent = [sorted(name for name, _value in each.fields) for each in server.requests]
            assert sent == [[], ["password", "session"], []], "the key was not sent"


class TestBanner:
    """What a real one cannot be made to say."""

    @pytest.mark.parametrize(
        ("banner", "error"),
        [
            ("No space left on device", KeyStoreFull),
            ("Unable to create certificate.", KeyStoreFull),
            ("", UnexpectedAnswer),
            ("Something else", DeviceRefused),
        ],
    )
    def test_what_it_says_is_judged(self, banner: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            _judge(_Page(f'<div class="content"><div class="banner">{banner}</div></div>'))

    def test_a_page_without_the_form(self) -> None:
        with pytest.raises(UnexpectedAnswer, match="field “session”"):
            _Page("<html>Welcome").value("session")

    def test_a_login_form_is_recognized(self) -> None:
        page = _Page(
            '<form><input type="hidden" name="session" value="ab"><input type="password" name="password">'
        )
        assert (page.asks_for_password, page.value("session")) == (True, "ab")


def test_where_the_probe_looks() -> None:
    def ports(*tls_ports: int, port: int) -> list[int]:
        target = Target("10.1.1.1", {"port": port}, tls_ports=tls_ports)
        return [endpoint.port for endpoint in PapplConnector(target).endpoints()]

    assert ports(443, 631, port=443) == [443, 631]
    assert ports(443, 631, port=8000) == [8000]


@pytest.mark.django_db
class TestDelivery:
    def device(self, pappl: Pappl, **settings: object) -> Device:
        return make_device(**pappl.connector(**settings))

    def test_from_the_factory_certificate_to_verified_and_renewed(self, pappl: Pappl, bench: Bench) -> None:
        bench.device = self.device(pappl)
        for _ in range(2):
            key = bench.issue()
            row = bench.delivery_step(key)
            assert (row.state, row.explanation) == ("verified", "")
            assert pappl.served == key.fingerprint_sha256
        device = Device.objects.get(pk=bench.device.pk)
        assert device.probe_due_at
        assert (device.drift, device.connector_secrets_set) == ("", ["password"])

    def test_a_key_for_another_use_is_left_alone(self, pappl: Pappl, bench: Bench) -> None:
        bench.device = self.device(pappl)
        before = pappl.served
        bench.issue(key_use="ieee_802_1x")
        assert not Deployment.objects.exists()
        assert pappl.served == before

    def test_wrong_password_on_the_devices_page_and_no_second_try(self, pappl: Pappl, bench: Bench) -> None:
        bench.device = self.device(pappl, password="wrong")
        key = issue(bench.device)
        row = bench.delivery_step(key)
        assert (row.state, row.next_action_at, row.for_administrator) == ("failed", None, True)
        assert "did not accept the user name and password" in row.explanation
        assert KeyAndCertificate.objects.filter(pk=key.pk).exists()
        settings = {"port": pappl.port, "tls_fingerprint": pappl.served, "password": pappl.password}
        inventory.update_device(SYSTEM, Device.objects.get(pk=bench.device.pk), connector_settings=settings)
        assert bench.delivery_step(key).state == "verified"
