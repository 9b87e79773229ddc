"""The former key: back when the new one is not served, deleted from the device when it is."""

from __future__ import annotations

import pytest

from devices.delivery.deployment.texts import BROUGHT_BACK, NO_FORMER, NOT_REMOVED, NOT_SERVED, SERVES_ANOTHER
from devices.models import AuditEvent, Deployment, Device, KeyAndCertificate
from devices.rules.deployment import LOOKS
from tests.devices.delivery.conftest import Bench
from tests.peers.process import free_port

pytestmark = pytest.mark.django_db


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
        bench.correct(url=f"http://127.0.0.1:{free_port()}/mfp/X1")
        row = bench.delivered_to_the_end(new)
        assert (row.state, row.former) == ("verified", None)
        assert row.explanation.startswith(NOT_REMOVED)
