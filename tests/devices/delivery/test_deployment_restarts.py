"""Deliveries after which the device restarts (R13), on real virtual MFPs."""

from __future__ import annotations

import pytest

from devices import restarts
from devices.delivery.deploy_texts import AWAY_SINCE, NEVER_SEEN_AGAIN, RESTARTING
from devices.models import KeyAndCertificate, Restart
from devices.rules.deployment import WITHIN
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
