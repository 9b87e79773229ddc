"""Deliveries after which the device restarts (R13), on real virtual MFPs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from devices import restarts
from devices.delivery.connectors.base import Capability
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.deployment.texts import (
    AWAY_SINCE,
    BROUGHT_BACK,
    NEVER_SEEN_AGAIN,
    RESTART_BY_HAND,
    RESTARTING,
    USED_AFTER_RESTART,
)
from devices.delivery.errors import DeviceRefused
from devices.models import KeyAndCertificate, Restart
from devices.rules.deployment import BY_HAND_EVERY, LOOKS, WITHIN
from tests.devices.delivery.conftest import Bench

pytestmark = pytest.mark.django_db


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


def test_a_restart_and_a_delivery_of_one_device_go_on_side_by_side(bench: Bench) -> None:
    assert restarts.after_certificate(bench.device, now=bench.clock())
    key = bench.issue(restart_wanted=True)
    row = bench.delivery_step(key)
    assert (row.state, Restart.objects.count()) == ("delivered", 1), "the one that waits serves"


class TestByHand:
    """The device is to restart, and nothing here can make it: a person is waited for."""

    @pytest.fixture(autouse=True)
    def cannot_restart(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        capabilities = VirtualConnector.capabilities - {Capability.RESTART}
        monkeypatch.setattr(VirtualConnector, "capabilities", capabilities)

    def test_it_is_verified_when_somebody_has_restarted_the_device(self, bench: Bench) -> None:
        bench.delivered_to_the_end(bench.issue())
        bench.behave(needs_restart=True)
        key = bench.issue(restart_wanted=True)
        for _ in range(len(LOOKS) + 5):
            row = bench.delivery_step(key)
            assert (row.state, row.explanation) == ("active", RESTART_BY_HAND)
        assert row.next_action_at
        assert row.next_action_at - bench.clock() <= BY_HAND_EVERY
        bench.mfps.restart(bench.number)
        bench.until_back()
        row = bench.delivery_step(key)
        assert (row.state, row.explanation, bench.served) == ("verified", "", key.fingerprint_sha256)

    def test_after_a_week_the_old_key_is_brought_back(self, bench: Bench) -> None:
        old = bench.issue()
        bench.delivered_to_the_end(old)
        bench.behave(needs_restart=True)
        key = bench.issue(restart_wanted=True)
        row = bench.delivery_step(key)
        begun = row.since
        row = bench.delivered_to_the_end(key, most=800)
        assert (row.state, row.explanation) == ("rolled_back", BROUGHT_BACK)
        assert row.completed_at
        assert WITHIN <= row.completed_at - begun < WITHIN + timedelta(hours=1)
        assert bench.served == old.fingerprint_sha256

    def test_one_that_needs_no_restart_is_verified_at_once(self, bench: Bench) -> None:
        assert bench.delivery_step(bench.issue(restart_wanted=True)).state == "verified"

    def test_where_no_restart_is_wanted_nobody_is_waited_for(self, bench: Bench) -> None:
        bench.behave(needs_restart=True)
        row = bench.delivered_to_the_end(bench.issue())
        assert (row.state, row.looks) == ("failed", len(LOOKS) + 1)

    def test_for_a_use_that_no_handshake_shows_it_is_said_at_the_end(self, bench: Bench) -> None:
        row = bench.delivery_step(bench.issue(key_use="ieee_802_1x", restart_wanted=True))
        assert (row.state, row.explanation) == ("not_verifiable", USED_AFTER_RESTART)


def test_a_restart_that_the_device_refuses_is_left_to_a_person_too(bench: Bench) -> None:
    def refuse(_connector: VirtualConnector) -> None:
        raise DeviceRefused("The device said no.")

    bench.behave(needs_restart=True)
    key = bench.issue(restart_wanted=True)
    bench.delivery_step(key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VirtualConnector, "restart", refuse)
        assert bench.step().state == "refused"
    for _ in range(len(LOOKS) + 3):
        row = bench.delivery_step(key)
    assert (row.state, row.explanation) == ("active", RESTART_BY_HAND)
    bench.ask()
    bench.step()
    bench.until_back()
    assert bench.step().state == "done"
    row.refresh_from_db()
    assert row.next_action_at
    assert (row.looks, row.next_action_at <= bench.clock()) == (0, True), "looked at anew"
    assert bench.delivery_step(key).state == "verified"
