"""Deliveries to real virtual MFPs (F5): from the issued key to the handshake that proves it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from devices import inventory
from devices.audit import SYSTEM
from devices.delivery.connectors.virtual import VirtualConnector
from devices.models import AuditEvent, Deployment, KeyAndCertificate
from tests.devices.delivery.conftest import Bench

pytestmark = pytest.mark.django_db


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


def test_a_delivery_that_a_newer_key_overtakes_is_none_any_more(bench: Bench) -> None:
    bench.behave(password="right")
    older = bench.issue(name="older", delete_old_key=False)
    assert bench.delivery_step(older).state == "failed"
    bench.behave()
    newer = bench.issue(name="newer", delete_old_key=False)
    assert bench.delivered_to_the_end(newer).state == "verified"
    assert [row.key_id for row in Deployment.objects.all()] == [newer.pk]
    assert KeyAndCertificate.objects.filter(pk=older.pk).exists()
