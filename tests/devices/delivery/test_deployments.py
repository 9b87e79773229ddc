"""Deliveries to real virtual MFPs (F5): proven by a handshake, brought back, late, and with every fault."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from devices import inventory, restarts
from devices.audit import SYSTEM
from devices.delivery import deploy_texts
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.deploy_texts import (
    AWAY_SINCE,
    BROUGHT_BACK,
    LOST,
    NEVER_SEEN_AGAIN,
    NO_FORMER,
    NOT_SERVED,
    OUTSIDE_WINDOW,
    RESTARTING,
    SERVES_ANOTHER,
)
from devices.models import AuditEvent, Deployment, Device, DeviceGroup, KeyAndCertificate, Restart
from devices.rules.deployment import LOOKS, WITHIN
from tests.devices.delivery.conftest import Bench
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db


def change(bench: Bench, **settings: Any) -> None:
    """The connector's settings, as somebody corrects them."""
    device = Device.objects.get(pk=bench.device.pk)
    values = {**device.connector_settings, **settings}
    inventory.update_device(
        SYSTEM, device, connector_settings={k: v for k, v in values.items() if v is not None}
    )


class TestOrdinary:
    def test_a_key_is_delivered_and_verified_by_a_handshake(self, bench: Bench) -> None:
        key = bench.issue()
        assert bench.served == bench.mfps.factory_fingerprint
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, row.next_action_at, row.lease) == ("verified", "", None, None)
        key.refresh_from_db()
        assert key.delivered_at
        assert key.verified_at
        assert key.issued_at <= key.delivered_at <= key.verified_at
        assert bench.served == key.fingerprint_sha256
        assert bench.mfps.keys(bench.number) == {"TLS": ["tls"]}
        events = AuditEvent.objects.filter(action__startswith="deployment.").order_by("pk")
        assert [event.action for event in events] == ["deployment.delivered", "deployment.verified"]
        assert events[0].changes == {"key": "TLS", "certificate": key.fingerprint_sha256}

    def test_the_next_one_is_delivered_under_the_certificate_that_was_installed(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue())
        key = bench.issue()
        assert bench.delivered_to_the_end(key).state == "verified"
        assert bench.served == key.fingerprint_sha256
        assert KeyAndCertificate.objects.get(device=bench.device).pk == key.pk, "R14"

    def test_a_key_for_another_use_is_delivered_and_not_verifiable(self, bench: Bench) -> None:
        key = bench.issue(key_use="ieee_802_1x")
        row = bench.delivery_step(key)
        assert (row.state, row.next_action_at) == ("not_verifiable", None)
        key.refresh_from_db()
        assert (bool(key.delivered_at), key.verified_at) == (True, None)
        assert bench.mfps.keys(bench.number) == {"TLS": ["ieee_802_1x"]}
        assert bench.served == bench.mfps.factory_fingerprint

    def test_a_device_without_a_connector_has_no_delivery(self, bench: Bench) -> None:
        inventory.update_device(SYSTEM, bench.device, connector="none")
        bench.issue()
        assert not Deployment.objects.exists()

    def test_no_transaction_spans_the_network(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        depth, calls = len(connection.savepoint_ids), []
        for name in ("install", "activate"):
            original = getattr(VirtualConnector, name)

            def watched(
                self: VirtualConnector, material: Any, original: Any = original, name: str = name
            ) -> None:
                assert len(connection.savepoint_ids) == depth
                calls.append(name)
                original(self, material)

            monkeypatch.setattr(VirtualConnector, name, watched)
        bench.delivery_step(bench.issue())
        assert calls == ["install", "activate"]

    def test_one_delivery_at_a_time_per_device(self, bench: Bench) -> None:
        bench.issue()
        bench.issue(name="802.1X", key_use="ieee_802_1x")
        assert [bench.deliver(), bench.deliver(), bench.deliver()] == [1, 1, 0]


class TestR13:
    """[Automatically Restart Device After Acquiring Certificate]: delivered, restarted, then verified."""

    def test_r13_the_device_restarts_when_it_has_the_key_and_is_looked_at_when_it_is_back(
        self, bench: Bench
    ) -> None:
        bench.behave(needs_restart=True)
        boots = bench.boots
        key = bench.issue(restart_wanted=True)
        row = bench.delivery_step(key)
        assert (row.state, row.explanation) == ("delivered", RESTARTING)
        assert Restart.objects.get().trigger == "automatic"
        assert bench.step().state == "coming_back"
        bench.until_back()
        assert bench.step().state == "done"
        assert bench.deliver() == 1, "woken by the end of the restart"
        row.refresh_from_db()
        assert (row.state, bench.boots) == ("verified", boots + 1)

    def test_r13_one_that_never_comes_back_is_said_and_verified_when_it_does(self, bench: Bench) -> None:
        bench.behave(never_comes_back=True)
        key = bench.issue(restart_wanted=True)
        bench.delivery_step(key)
        while bench.step().state == "coming_back":
            pass
        row = bench.delivery_step(key)
        assert row.state == "active"
        assert row.explanation.startswith(AWAY_SINCE)
        bench.behave()
        bench.mfps.behave(bench.number, restart_seconds=0)
        assert bench.delivery_step(key).state == "verified"

    def test_r13_and_after_a_week_it_is_given_up_and_the_key_is_kept(self, bench: Bench) -> None:
        bench.behave(never_comes_back=True)
        key = bench.issue(restart_wanted=True)
        bench.delivery_step(key)
        while bench.step().state == "coming_back":
            pass
        row = bench.delivered_to_the_end(key)
        assert row.state == "failed"
        assert row.explanation.startswith(NEVER_SEEN_AGAIN)
        assert row.completed_at
        assert row.completed_at - row.since >= WITHIN
        assert KeyAndCertificate.objects.filter(pk=key.pk).exists()


class TestNotServed:
    """The device says "installed" and goes on serving the old certificate."""

    def test_the_old_key_comes_back_and_it_is_said(self, bench: Bench) -> None:
        old = bench.issue()
        bench.delivered_to_the_end(old)
        bench.behave(keeps_old=True)
        new = bench.issue(days=700)
        assert not KeyAndCertificate.objects.filter(pk=old.pk).exists(), "R14"
        for number in range(1, len(LOOKS) + 1):
            row = bench.delivery_step(new)
            assert (row.state, row.explanation, row.looks) == ("active", SERVES_ANOTHER, number)
        row = bench.delivery_step(new)
        assert (row.state, row.explanation) == ("rolling_back", NOT_SERVED)
        assert row.former
        row = bench.delivery_step(new)
        assert (row.state, row.explanation, row.next_action_at) == ("rolled_back", BROUGHT_BACK, None)
        assert (row.former, row.former_private_key_encrypted) == (None, None)
        assert bench.served == old.fingerprint_sha256
        stored = {
            key.fingerprint_sha256: key for key in KeyAndCertificate.objects.filter(device=bench.device)
        }
        back, kept = stored[old.fingerprint_sha256], stored[new.fingerprint_sha256]
        assert (back.key_use, back.name, kept.key_use, kept.name) == ("tls", "TLS-2", "none", "TLS")
        device = Device.objects.get(pk=bench.device.pk)
        assert device.expires_at == old.not_after, "what is in use counts"
        assert AuditEvent.objects.get(action="deployment.rolled_back").changes["explanation"] == BROUGHT_BACK

    def test_without_an_old_key_it_is_told(self, bench: Bench) -> None:
        bench.behave(keeps_old=True)
        key = bench.issue()
        row = bench.delivered_to_the_end(key)
        assert (row.state, row.explanation) == ("failed", NO_FORMER)
        key.refresh_from_db()
        assert (bool(key.delivered_at), key.verified_at) == (True, None)

    def test_what_was_last_verified_comes_back_although_another_key_lay_between(self, bench: Bench) -> None:
        old = bench.issue()
        bench.delivered_to_the_end(old)
        bench.behave(keeps_old=True)
        between = bench.issue()
        bench.delivery_step(between)
        new = bench.issue()
        assert not Deployment.objects.filter(key_id=between.pk).exists()
        row = bench.delivered_to_the_end(new)
        assert (row.state, bench.served) == ("rolled_back", old.fingerprint_sha256)

    def test_one_that_serves_it_a_little_later_is_verified(self, bench: Bench) -> None:
        bench.behave(needs_restart=True)
        key = bench.issue()
        assert bench.delivery_step(key).explanation == SERVES_ANOTHER
        bench.mfps.restart(bench.number)
        bench.until_back()
        assert bench.delivery_step(key).state == "verified"


class TestFaults:
    """Each with its own message, retried or not as it deserves, and none loses the key."""

    def test_wrong_password_is_not_retried_until_somebody_corrects_it(self, bench: Bench) -> None:
        bench.behave(password="right")
        change(bench, password="wrong")
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator, row.next_action_at) == ("failed", True, None)
        assert "did not accept the administrator's password" in row.explanation
        assert "wrong" not in row.explanation
        change(bench, password="right")
        assert bench.delivery_step(key).state == "verified"

    def test_wrong_fingerprint_sends_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        change(bench, tls_fingerprint="AB:" * 31 + "AB")
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.for_administrator) == ("failed", True)
        assert "Neither password nor key was sent." in row.explanation
        assert bench.mfps.factory_fingerprint[:2].upper() + ":" in row.explanation
        assert bench.mfps.keys(bench.number) == {}
        change(bench, tls_fingerprint=bench.mfps.factory_fingerprint)
        assert bench.delivery_step(key).state == "verified"

    def test_one_that_nobody_confirmed_sends_nothing(self, bench: Bench) -> None:
        change(bench, tls_fingerprint=None)
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
        change(bench, url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        key = bench.issue()
        row = bench.delivered_to_the_end(key)
        assert row.state == "failed"
        assert "Check that the device is switched on" in row.explanation
        assert 170 < row.tries < 190
        key.refresh_from_db()
        assert (key.delivered_at, key.verified_at) == (None, None)

    def test_it_is_tried_as_soon_as_its_address_was_corrected(self, bench: Bench) -> None:
        change(bench, url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        key = bench.issue()
        for _ in range(12):
            bench.delivery_step(key)
        change(bench, url=bench.mfps.url(bench.number))
        row = Deployment.objects.get(key=key)
        assert row.next_action_at
        assert row.next_action_at <= bench.clock()

    def test_no_row_and_no_event_holds_a_secret(self, bench: Bench) -> None:
        bench.behave(password="right")
        change(bench, password="s3cret-pass")
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
        assert (row.state, row.explanation) == ("failed", deploy_texts.NEVER_ENDED)


class TestOldKey:
    """R14 on the device: the old key goes after the new one was verified, and not before."""

    def test_r14_it_is_deleted_from_the_device_after_verification(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue(name="first"))
        new = bench.issue(name="second")
        row = bench.delivery_step(new)
        assert (row.state, row.former is not None) == ("verified", True)
        assert set(bench.mfps.keys(bench.number)) == {"first", "second"}
        row = bench.delivery_step(new)
        assert (row.state, row.former, row.former_private_key_encrypted) == ("verified", None, None)
        assert set(bench.mfps.keys(bench.number)) == {"second"}

    def test_r14_off_it_stays_there_too(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue(name="first"))
        new = bench.issue(name="second", delete_old_key=False)
        assert bench.delivery_step(new).next_action_at is None
        assert set(bench.mfps.keys(bench.number)) == {"first", "second"}

    def test_r14_one_that_cannot_be_deleted_is_left_to_people(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.delivered_to_the_end(bench.issue(name="first"))
        new = bench.issue(name="second")
        bench.delivery_step(new)
        change(bench, url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        row = bench.delivered_to_the_end(new)
        assert (row.state, row.former) == ("verified", None)
        assert row.explanation.startswith(deploy_texts.NOT_REMOVED)


def test_a_delivery_that_a_newer_key_overtakes_is_none_any_more(bench: Bench) -> None:
    bench.behave(password="right")
    older = bench.issue(name="older", delete_old_key=False)
    assert bench.delivery_step(older).state == "failed"
    bench.behave()
    newer = bench.issue(name="newer", delete_old_key=False)
    assert bench.delivered_to_the_end(newer).state == "verified"
    assert [row.key_id for row in Deployment.objects.all()] == [newer.pk]
    assert KeyAndCertificate.objects.filter(pk=older.pk).exists()


class TestMaintenanceWindow:
    def group(self, bench: Bench, hours_ahead: int, **fields: Any) -> DeviceGroup:
        """One whose window opens so many hours from now, for an hour."""
        opens = (bench.clock() + timedelta(hours=hours_ahead)).replace(minute=0, second=0, microsecond=0)
        group = inventory.create_group(
            SYSTEM,
            name="Office",
            time_zone="UTC",
            maintenance_start=opens.time(),
            maintenance_end=(opens + timedelta(hours=1)).time(),
            **fields,
        )
        inventory.update_device(SYSTEM, Device.objects.get(pk=bench.device.pk), group=group)
        return group

    def test_a_renewal_waits_for_the_window(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue())
        self.group(bench, 5)
        key = bench.issue()
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, row.tries) == ("issued", OUTSIDE_WINDOW, 0)
        assert row.next_action_at
        assert timedelta(hours=4) <= row.next_action_at - bench.clock() <= timedelta(hours=5)
        assert bench.delivery_step(key).state == "verified"

    def test_the_first_certificate_does_not(self, bench: Bench) -> None:
        self.group(bench, 5)
        assert bench.delivery_step(bench.issue()).state == "verified"

    @pytest.mark.parametrize(("days", "state"), [(20, "verified"), (18, "issued")])
    def test_nor_does_one_when_expiry_is_near(self, bench: Bench, days: int, state: str) -> None:
        bench.delivered_to_the_end(bench.issue(days=20))
        self.group(bench, 5, urgent_days=days)
        assert bench.delivery_step(bench.issue()).state == state


def test_a_restart_and_a_delivery_of_one_device_go_on_side_by_side(bench: Bench) -> None:
    assert restarts.after_certificate(bench.device, now=bench.clock())
    key = bench.issue(restart_wanted=True)
    row = bench.delivery_step(key)
    assert (row.state, Restart.objects.count()) == ("delivered", 1), "the one that waits serves"
