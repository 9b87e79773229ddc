"""The profile of Brother's devices: the old certificate goes, the restart is waited for, an import is not done twice.

Built from public reports and not tried on hardware; `brother_pages.py` is a fake of what they describe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from devices.delivery.connectors import profiles
from devices.delivery.connectors.base import Capability, Material, Target
from devices.delivery.connectors.http_upload import HttpUploadConnector
from devices.delivery.deployment.texts import NOT_REMOVED, SETTLES
from devices.delivery.errors import (
    ConnectionLost,
    DeviceRefused,
    NotSupported,
    UnexpectedAnswer,
    WrongPassword,
)
from devices.models import Deployment, KeyAndCertificate
from devices.rules.deployment import LOOKS, MOST_REMOVALS
from tests.devices.delivery import web_forms as fake
from tests.devices.delivery.brother_pages import Brother, small_serial
from tests.devices.delivery.conftest import Bench
from tests.devices.delivery.materials import make_material
from tests.devices.delivery.test_http_upload import GENERIC
from tests.devices.delivery.web_forms import WebForms, web_forms
from tests.devices.factories import make_device


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebForms]:
    with web_forms(tmp_path_factory.mktemp("forms")) as running:
        yield running


@pytest.fixture
def device(server: WebForms) -> Brother:
    made = Brother()
    server.pages = made.brother
    return made


def connector(
    server: WebForms, *, profile: str = "brother", password: str = fake.PASSWORD
) -> HttpUploadConnector:
    plain = {"profile": profile, "port": server.port, "tls_fingerprint": server.fingerprint}
    return HttpUploadConnector(Target("127.0.0.1", plain, {"password": password}))


@pytest.fixture(scope="module")
def old() -> Material:
    return make_material("TLS", common_name="10.1.2.3")


@pytest.fixture(scope="module")
def new() -> Material:
    return make_material("TLS", common_name="10.1.2.3")


def on_the_device(device: Brother, material: Material) -> bool:
    return device.number_of(material.fingerprint_sha256) != ""


class TestRemoval:
    def test_the_old_one_goes_and_nothing_else(
        self, server: WebForms, device: Brother, old: Material, new: Material
    ) -> None:
        for material in (old, new):
            connector(server).install(material)
        before = set(device.certificates)
        number = device.number_of(old.fingerprint_sha256)
        server.requests.clear()
        connector(server).remove(old)
        assert set(device.certificates) == before - {number}
        assert on_the_device(device, new)
        # asked for on its page, confirmed on a second one, looked at afterwards
        deletions = [each for each in server.requests if "delete.html" in each.path]
        assert [each.method for each in deletions] == ["GET", "POST", "POST"]
        assert {each.value("hidden_certificate_idx") for each in deletions[1:]} == {number}
        assert deletions[2].headers["referer"].endswith("/delete.html")
        assert server.requests[-1].path.endswith("/certificate.html")
        # gone already: nothing happens
        connector(server).remove(old)
        assert set(device.certificates) == before - {number}

    def test_one_that_was_imported_twice_goes_twice(
        self, server: WebForms, device: Brother, old: Material, new: Material
    ) -> None:
        for material in (old, new):
            connector(server).install(material)
        device.certificates["90"] = old.certificate
        connector(server).remove(old)
        assert not on_the_device(device, old)

    def test_the_one_in_use_stays(self, server: WebForms, device: Brother, old: Material) -> None:
        connector(server).install(old)
        with pytest.raises(DeviceRefused, match="is still chosen for its web pages") as met:
            connector(server).remove(old)
        assert not met.value.worth_another_try
        assert on_the_device(device, old)

    def test_another_cas_certificate_with_the_same_small_number_stays(
        self, server: WebForms, device: Brother, old: Material
    ) -> None:
        ours, others = small_serial(5), small_serial(5, issuer="Branch CA")
        device.certificates |= {"20": others}
        with pytest.raises(DeviceRefused, match="serial number 5 and its issuer"):
            connector(server).remove(replace(old, certificate=ours))
        device.certificates["20"] = ours
        connector(server).remove(replace(old, certificate=ours))
        assert set(device.certificates) == {"1", "4"}

    def test_pages_in_another_language(
        self, server: WebForms, device: Brother, old: Material, new: Material
    ) -> None:
        device.serial_label = "Seriennummer"
        for material in (old, new):
            connector(server).install(material)  # the difference of the lists is enough
        assert device.chosen == device.number_of(new.fingerprint_sha256)
        with pytest.raises(DeviceRefused, match="Set the language of its pages to English"):
            connector(server).remove(old)
        assert on_the_device(device, old)

    def test_one_that_says_so_and_does_not(
        self, server: WebForms, device: Brother, old: Material, new: Material
    ) -> None:
        for material in (old, new):
            connector(server).install(material)
        device.keeps_deleted = True
        with pytest.raises(UnexpectedAnswer, match="it is still there") as met:
            connector(server).remove(old)
        assert met.value.worth_another_try

    def test_a_wrong_password_deletes_nothing(self, server: WebForms, device: Brother, old: Material) -> None:
        with pytest.raises(WrongPassword):
            connector(server, password="wrong-9932").remove(old)
        assert set(device.certificates) == {"1", "4"}

    def test_kinds_of_devices_that_have_one_place_leave_nothing(
        self, server: WebForms, old: Material
    ) -> None:
        assert Capability.REMOVE in HttpUploadConnector.capabilities
        assert connector(server).leaves("TLS", "TLS")
        for profile in set(profiles.built_in()) - {"brother"}:
            assert not connector(server, profile=profile).leaves("TLS", "TLS-2")
            with pytest.raises(NotSupported):
                connector(server, profile=profile).remove(old)


class TestInstalling:
    def test_an_import_whose_answer_was_lost_is_not_done_again(
        self, server: WebForms, device: Brother, new: Material
    ) -> None:
        device.breaks_after_import = True
        with pytest.raises(ConnectionLost):
            connector(server).install(new)
        assert (len(device.certificates), device.chosen) == (3, "1")
        device.breaks_after_import = False
        for _ in range(2):
            connector(server).install(new)
            assert len(device.certificates) == 3
            assert device.chosen == device.number_of(new.fingerprint_sha256)

    def test_how_long_the_restart_takes_is_told(self, server: WebForms) -> None:
        assert connector(server).settle_seconds == 90
        assert connector(server, profile="hp_ews").settle_seconds == 0


def waits(bench: Bench, row: Deployment, seconds: int) -> bool:
    """Whether it is due in so many seconds; the clock of the tests goes on while the device is talked to."""
    assert row.next_action_at is not None
    left = row.next_action_at - bench.clock()
    return timedelta(seconds=seconds - 20) < left <= timedelta(seconds=seconds)


@pytest.mark.django_db
class TestDelivery:
    @pytest.fixture(autouse=True)
    def connected(self, bench: Bench, server: WebForms) -> None:
        settings = {
            "profile": "brother",
            "port": server.port,
            "tls_fingerprint": server.fingerprint,
            "password": fake.PASSWORD,
        }
        bench.device = make_device(
            connector="http_upload", host="127.0.0.1", tls_ports=[server.port], connector_settings=settings
        )

    def delivered(self, bench: Bench, server: WebForms, device: Brother, folder: Path) -> KeyAndCertificate:
        """A key that the device takes, and serves when it has restarted."""
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, row.lease) == ("active", SETTLES, None)
        assert waits(bench, row, 90), "no worker waits, and nobody looks before"
        device.settle(server, folder)
        assert bench.delivery_step(key).state == "verified"
        return key

    def test_r14_the_old_one_is_deleted_when_the_new_one_was_seen_and_not_before(
        self, bench: Bench, server: WebForms, device: Brother, tmp_path: Path
    ) -> None:
        old = self.delivered(bench, server, device, tmp_path)
        assert Deployment.objects.get(key=old).next_action_at is None, "there is none to delete"
        new = self.delivered(bench, server, device, tmp_path)
        assert device.number_of(old.fingerprint_sha256), "it was verified just now"
        row = bench.delivery_step(new)
        assert (row.state, row.explanation, row.former, row.next_action_at) == ("verified", "", None, None)
        assert not device.number_of(old.fingerprint_sha256)
        assert device.number_of(new.fingerprint_sha256) == device.chosen
        assert {"1", "4"} < set(device.certificates), "what is not from here stays"

    def test_one_that_cannot_be_deleted_is_told_and_the_new_one_is_verified(
        self, bench: Bench, server: WebForms, device: Brother, tmp_path: Path
    ) -> None:
        self.delivered(bench, server, device, tmp_path)
        device.keeps_deleted = True
        row = bench.delivered_to_the_end(self.delivered(bench, server, device, tmp_path))
        assert (row.state, row.tries) == ("verified", MOST_REMOVALS - 1)
        assert row.explanation.startswith(NOT_REMOVED)
        assert "it is still there" in row.explanation

    def test_the_old_one_comes_back_without_a_second_import(
        self, bench: Bench, server: WebForms, device: Brother, tmp_path: Path
    ) -> None:
        old = self.delivered(bench, server, device, tmp_path)
        new = bench.issue()
        for _ in range(1 + len(LOOKS)):
            row = bench.delivery_step(new)
            assert row.state == "active", "it goes on serving the old one"
        assert bench.delivery_step(new).state == "rolling_back"
        server.present_factory()
        row = bench.delivery_step(new)
        assert (row.state, waits(bench, row, 90)) == ("rolling_back", True)
        assert (len(device.certificates), device.chosen) == (4, device.number_of(old.fingerprint_sha256))
        device.settle(server, tmp_path)
        asked = len(server.requests)
        assert bench.delivery_step(new).state == "rolled_back"
        assert len(server.requests) == asked, "it is looked at before anything is sent again"


@pytest.mark.django_db
def test_a_device_that_is_described_may_take_its_time_too(bench: Bench, server: WebForms) -> None:
    server.pages = fake.Device().generic
    settings = {
        **GENERIC,
        "port": server.port,
        "tls_fingerprint": server.fingerprint,
        "password": fake.PASSWORD,
        "settle_seconds": 45,
    }
    bench.device = make_device(
        connector="http_upload", host="127.0.0.1", tls_ports=[server.port], connector_settings=settings
    )
    row = bench.delivery_step(bench.issue())
    assert (row.explanation, waits(bench, row, 45)) == (SETTLES, True)
