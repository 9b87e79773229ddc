"""Deliveries to virtual MFPs with every fault, and by workers that die."""

from __future__ import annotations

from typing import Any

import pytest

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.deployment.texts import LOST, NEVER_ENDED
from devices.models import AuditEvent, Deployment, Device
from tests.devices.delivery.conftest import Bench
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db


class TestFaults:
    """Each with its own message, retried or not as it deserves, and none loses the key."""

    def test_wrong_password_is_not_retried_until_somebody_corrects_it(self, bench: Bench) -> None:
        bench.behave(password="right")
        bench.correct(password="wrong")
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator, row.next_action_at) == ("failed", True, None)
        assert "did not accept the administrator's password" in row.explanation
        assert "wrong" not in row.explanation
        bench.correct(password="right")
        assert bench.delivery_step(key).state == "verified"

    def test_the_password_of_the_group_is_used_and_tried_when_it_comes(self, bench: Bench) -> None:
        bench.behave(password="s3cret-of-the-group")
        group = inventory.create_group(SYSTEM, name="Office")
        inventory.update_device(SYSTEM, Device.objects.get(pk=bench.device.pk), group=group)
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator) == ("failed", True)
        inventory.update_group(
            SYSTEM, group, connector_settings={"virtual": {"password": "s3cret-of-the-group"}}
        )
        assert bench.delivery_step(key).state == "verified", "tried again by itself"

    def test_wrong_fingerprint_sends_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.correct(tls_fingerprint="AB:" * 31 + "AB")
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator) == ("failed", True)
        assert "Neither password nor key was sent." in row.explanation
        assert bench.mfps.factory_fingerprint[:2].upper() + ":" in row.explanation
        assert bench.mfps.keys(bench.number) == {}
        bench.correct(tls_fingerprint=bench.mfps.factory_fingerprint)
        assert bench.delivery_step(key).state == "verified"

    def test_one_that_nobody_confirmed_sends_nothing(self, bench: Bench) -> None:
        bench.correct(tls_fingerprint=None)
        row = bench.delivery_step(bench.issue())
        assert row.state == "failed"
        assert "has not been confirmed yet" in row.explanation
        assert bench.mfps.keys(bench.number) == {}

    def test_a_full_key_store_is_not_retried(self, bench: Bench) -> None:
        bench.behave(full=True)
        row = bench.delivery_step(bench.issue())
        assert (row.state, row.for_administrator) == ("failed", True)
        assert "The key store of the device is full." in row.explanation

    def test_the_connection_breaks_between_upload_and_answer(self, bench: Bench) -> None:
        bench.behave(drops="after")
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.tries) == ("issued", 1)
        assert row.explanation.startswith(LOST)
        assert bench.mfps.keys(bench.number) == {"TLS": []}, "it has taken it"
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, bench.served) == ("verified", "", key.fingerprint_sha256)

    def test_the_connection_breaks_after_it_was_told_to_use_it(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        activate = VirtualConnector.activate

        def then_lost(connector: VirtualConnector, material: Any) -> None:
            bench.behave(drops="after")
            activate(connector, material)

        monkeypatch.setattr(VirtualConnector, "activate", then_lost)
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.tries) == ("delivered", 1)
        monkeypatch.setattr(VirtualConnector, "activate", activate)
        assert bench.delivery_step(key).state == "verified"

    def test_a_device_that_is_switched_off_is_tried_for_a_week(self, bench: Bench) -> None:
        bench.correct(url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        key = bench.issue()
        row = bench.delivered_to_the_end(key)
        assert row.state == "failed"
        assert "Check that the device is switched on" in row.explanation
        assert 170 < row.tries < 190
        key.refresh_from_db()
        assert (key.delivered_at, key.verified_at) == (None, None)

    def test_it_is_tried_as_soon_as_its_address_was_corrected(self, bench: Bench) -> None:
        bench.correct(url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        key = bench.issue()
        for _ in range(12):
            bench.delivery_step(key)
        bench.correct(url=bench.mfps.url(bench.number))
        row = Deployment.objects.get(key=key)
        assert row.next_action_at
        assert row.next_action_at <= bench.clock()

    def test_no_row_and_no_event_holds_a_secret(self, bench: Bench) -> None:
        bench.behave(password="right")
        bench.correct(password="s3cret-pass")
        bench.delivery_step(bench.issue())
        events = str(list(AuditEvent.objects.values_list("changes", flat=True)))
        assert "s3cret-pass" not in events + Deployment.objects.get().explanation
        assert "PRIVATE" not in events


class TestCrashes:
    def test_a_worker_that_dies_after_the_key_was_sent(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = bench.issue()

        class Killed(BaseException):
            pass

        def die(_connector: VirtualConnector, _material: Any) -> None:
            raise Killed

        monkeypatch.setattr(VirtualConnector, "activate", die)
        with pytest.raises(Killed):
            bench.delivery_step(key)
        monkeypatch.undo()
        row = Deployment.objects.get(key=key)
        assert (row.state, row.lease is not None, row.takeovers) == ("delivered", True, 1)
        device = Device.objects.get(pk=bench.device.pk)
        assert device.installed_fingerprints == [key.fingerprint_sha256]

    def test_one_that_was_thought_dead_cannot_write(self, bench: Bench) -> None:
        key = bench.issue()
        install = VirtualConnector.install

        def slow(connector: VirtualConnector, material: Any) -> None:
            install(connector, material)
            Deployment.objects.update(lease=None)  # somebody else takes it over

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(VirtualConnector, "install", slow)
            row = bench.delivery_step(key)
        assert (row.state, row.sent_at is not None) == ("issued", True)
        key.refresh_from_db()
        assert key.delivered_at is None
        Deployment.objects.update(next_action_at=bench.clock())
        assert bench.delivery_step(key).state == "verified"

    def test_after_ten_of_them_it_is_given_up(self, bench: Bench) -> None:
        key = bench.issue()
        Deployment.objects.update(takeovers=10)
        row = bench.delivery_step(key)
        assert (row.state, row.explanation) == ("failed", NEVER_ENDED)
