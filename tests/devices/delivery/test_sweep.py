"""The sweep: every verified device is looked at again, and drift is found, told and forgotten (F5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from devices.audit import Actor
from devices.delivery import probe, sweep
from devices.delivery.sweep import OTHER, WRONG_NAME, next_look, sweep_due
from devices.models import AuditEvent, Device, KeyAndCertificate, WebhookDelivery
from devices.webhooks import service as webhooks
from tests.devices.delivery.conftest import Bench

pytestmark = pytest.mark.django_db


def device(bench: Bench) -> Device:
    return Device.objects.get(pk=bench.device.pk)


def swept(bench: Bench) -> int:
    """Go on until the device is due, and sweep."""
    due = device(bench).probe_due_at
    assert due
    bench.clock.ahead += max(due - bench.clock(), timedelta())
    return sweep_due(bench.clock(), clock=bench.clock)


@pytest.fixture
def verified(bench: Bench) -> KeyAndCertificate:
    key = bench.issue()
    assert bench.delivered_to_the_end(key).state == "verified"
    return key


def test_a_device_is_due_a_day_after_it_was_verified_give_or_take_an_hour(
    bench: Bench, verified: KeyAndCertificate
) -> None:
    due = device(bench).probe_due_at
    assert due
    assert abs(due - bench.clock() - timedelta(days=1)) <= timedelta(hours=1, minutes=1)
    now = bench.clock()
    times = {next_look(number, now) for number in range(1000)}
    assert len(times) == 1000
    assert max(times) - min(times) > timedelta(hours=1.9), "a fleet that was delivered at once spreads"


def test_what_is_not_verified_is_not_looked_at(bench: Bench) -> None:
    bench.issue()
    assert device(bench).probe_due_at is None
    assert sweep_due(bench.clock() + timedelta(days=9)) == 0


def test_one_that_serves_its_certificate_is_fine_and_due_again(
    bench: Bench, verified: KeyAndCertificate
) -> None:
    assert swept(bench) == 1
    found = device(bench)
    assert found.probed_at
    assert found.probe_due_at
    assert (found.drift, found.probe_due_at > bench.clock()) == ("", True)
    assert sweep_due(bench.clock()) == 0, "it is claimed"
    assert not AuditEvent.objects.filter(action="device.drift").exists()


def test_a_certificate_that_was_changed_by_hand_is_found_told_once_and_forgotten(
    bench: Bench, verified: KeyAndCertificate, actor: Actor
) -> None:
    webhooks.create(actor, name="ops", url="http://127.0.0.1:9/hook", events=["device.drift"])
    bench.behave(forgets=True)
    for _ in range(2):
        assert swept(bench) == 1
        found = device(bench)
        assert (found.drift, found.drift_explanation) == ("other_certificate", OTHER)
    event = AuditEvent.objects.get(action="device.drift")
    assert event.changes == {
        "drift": ["", "other_certificate"],
        "served": [bench.mfps.factory_fingerprint],
        "expected": verified.fingerprint_sha256,
    }
    told = WebhookDelivery.objects.get()
    assert told.payload["data"]["device"]["name"] == found.name
    assert told.payload["data"]["drift"] == "other_certificate"
    bench.behave()
    assert swept(bench) == 1
    assert device(bench).drift == ""
    assert AuditEvent.objects.filter(action="device.drift").count() == 2
    assert WebhookDelivery.objects.count() == 1


def test_a_device_that_moved_serves_a_certificate_for_another_address(
    bench: Bench, verified: KeyAndCertificate
) -> None:
    Device.objects.filter(pk=bench.device.pk).update(host="10.250.0.1")
    swept(bench)
    assert (device(bench).drift, device(bench).drift_explanation) == ("wrong_name", WRONG_NAME)


def test_one_whose_time_is_over(bench: Bench, verified: KeyAndCertificate) -> None:
    bench.clock.ahead += timedelta(days=400)
    swept(bench)
    assert device(bench).drift == "expired"


def test_one_that_is_switched_off_keeps_what_was_known(bench: Bench, verified: KeyAndCertificate) -> None:
    bench.behave(forgets=True)
    swept(bench)
    seen = device(bench).probed_at
    bench.behave(restart_seconds=3600)
    bench.mfps.restart(bench.number)
    assert swept(bench) == 1
    found = device(bench)
    assert (found.drift, found.probed_at) == ("other_certificate", seen)


def test_a_new_delivery_forgets_it(bench: Bench, verified: KeyAndCertificate) -> None:
    bench.behave(forgets=True)
    swept(bench)
    bench.behave()
    bench.delivered_to_the_end(bench.issue())
    assert device(bench).drift == ""


def test_without_a_verified_key_it_ends(bench: Bench, verified: KeyAndCertificate) -> None:
    due = device(bench).probe_due_at
    assert due
    KeyAndCertificate.objects.all().delete()
    assert sweep_due(due) == 0
    assert device(bench).probe_due_at is None


def test_a_key_that_took_over_while_it_was_looked_at_is_judged_by_its_own_delivery(
    bench: Bench, verified: KeyAndCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at = probe.look_at

    def meanwhile(*args: object, **kwargs: object) -> object:
        bench.issue()
        return look_at(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(probe, "look_at", meanwhile)
    bench.behave(forgets=True)
    swept(bench)
    assert device(bench).drift == ""


def test_what_is_claimed_and_expected_costs_the_same_for_few_and_many(bench: Bench) -> None:
    counts = []
    for _number in (1, 5):
        bench.delivered_to_the_end(bench.issue())
        with CaptureQueriesContext(connection) as captured:
            sweep._expected([bench.device.pk] * 3)
        counts.append(len(captured))
    assert counts == [2, 2]


class TestInterval:
    """FLEETSEAL_SWEEP_HOURS: how often, or not at all."""

    def test_a_look_is_the_interval_away_give_or_take_a_24th(self, bench: Bench) -> None:
        now = bench.clock()
        with override_settings(SWEEP_INTERVAL=timedelta(hours=240)):
            distances = [next_look(number, now) - now for number in range(1000)]
        assert timedelta(hours=230) <= min(distances) < timedelta(hours=231)
        assert timedelta(hours=249) < max(distances) <= timedelta(hours=250)

    def test_switched_off_nobody_looks_and_switched_on_again_the_devices_are_due(
        self, bench: Bench, verified: KeyAndCertificate
    ) -> None:
        bench.behave(forgets=True)
        with override_settings(SWEEP_INTERVAL=None):
            assert swept(bench) == 0
            assert device(bench).drift == ""
            bench.behave()
            bench.delivered_to_the_end(bench.issue())
            assert device(bench).probe_due_at, "noted for when it is switched on"
        bench.behave(forgets=True)
        assert swept(bench) == 1
        assert device(bench).drift == "other_certificate"

    def test_a_shorter_one_counts_at_once(self, bench: Bench, verified: KeyAndCertificate) -> None:
        with override_settings(SWEEP_INTERVAL=timedelta(days=30)):
            assert swept(bench) == 1
        due = device(bench).probe_due_at
        assert due
        assert due - bench.clock() > timedelta(days=28)
        assert sweep_due(bench.clock(), clock=bench.clock) == 0
        due = device(bench).probe_due_at
        assert due
        assert abs(due - bench.clock() - timedelta(days=1)) <= timedelta(hours=1, minutes=1)
        assert swept(bench) == 1

    def test_what_was_set_by_it_stays(self, bench: Bench, verified: KeyAndCertificate) -> None:
        due = device(bench).probe_due_at
        assert sweep_due(bench.clock(), clock=bench.clock) == 0
        assert device(bench).probe_due_at == due
