"""R7: who may have a device restarted, and when."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils import timezone

from devices import doorbell
from devices.access import OPERATOR, VIEWER
from devices.audit import SYSTEM, Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Connector
from devices.delivery.restart import request_restart
from devices.errors import Conflict
from devices.jobs import run, service
from devices.models import RESTARTS_KEPT, AuditEvent, Device, Restart
from devices.models.choices import JobKindChoices
from tests.conftest import member_of
from tests.devices.factories import VIRTUAL, make_device

pytestmark = pytest.mark.django_db


def test_r7_an_operator_restarts_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    device = make_device(**VIRTUAL)
    actor = Actor.of(member_of(OPERATOR), AuditEvent.Source.API)
    restart = request_restart(actor, device)
    assert (restart.state, restart.trigger, restart.asked_by) == ("waiting", "manual", "operator")
    event = AuditEvent.objects.get(action="restart.create")
    assert (event.actor_name, event.target_id) == ("operator", device.pk)


@pytest.mark.parametrize("group", [VIEWER, ""])
def test_r1_everyone_else_does_not(group: str) -> None:
    device = make_device(**VIRTUAL)
    with pytest.raises(PermissionDenied, match="operator"):
        request_restart(Actor.of(member_of(group), AuditEvent.Source.API), device)
    assert not Restart.objects.exists()


def test_r7_one_open_restart_per_device() -> None:
    device = make_device(**VIRTUAL)
    request_restart(SYSTEM, device)
    with pytest.raises(Conflict, match="under way") as refused:
        request_restart(SYSTEM, device)
    assert refused.value.code == "restart_open"
    now = timezone.now()
    with pytest.raises(IntegrityError, match=r"restart_one_open|restart\.device_id"), transaction.atomic():
        Restart.objects.create(device=device, trigger="manual", created_at=now, next_action_at=now)


@pytest.mark.parametrize("connector", ["none", "deaf", "removed"])
def test_r7_a_device_that_cannot_be_restarted_says_why(
    connector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(Connector):
        label = "Deaf"

    monkeypatch.setattr(registry, "known", lambda: {"deaf": Deaf})
    device = make_device()
    Device.objects.filter(pk=device.pk).update(connector=connector)
    device.refresh_from_db()
    with pytest.raises(Conflict, match="by hand") as refused:
        request_restart(SYSTEM, device)
    assert refused.value.code == ("no_connector" if connector == "none" else "connector_cannot_restart")


def test_the_last_ones_are_kept_and_the_audit_trail_keeps_all() -> None:
    device = make_device(**VIRTUAL)
    for _ in range(RESTARTS_KEPT + 3):
        restart = request_restart(SYSTEM, device)
        Restart.objects.filter(pk=restart.pk).update(
            state="failed", next_action_at=None, completed_at=timezone.now()
        )
    assert Restart.objects.count() == RESTARTS_KEPT
    assert Restart.objects.first() == restart
    assert AuditEvent.objects.filter(action="restart.create").count() == RESTARTS_KEPT + 3


def test_r7_a_job_restarts_a_selection_and_names_who_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)
    devices = [make_device(**VIRTUAL), make_device(), make_device(**VIRTUAL)]
    actor = Actor.of(member_of(OPERATOR), AuditEvent.Source.API)
    job = service.start(actor, JobKindChoices.RESTART, devices, {})
    ((job_id, lease),) = run.claim_due(timezone.now())
    run.advance(job_id, lease)
    results = list(job.items.values_list("state", flat=True))
    assert results == ["done", "refused", "done"]
    assert "has no connector" in job.items.get(state="refused").message
    assert set(Restart.objects.values_list("device", "asked_by")) == {
        (devices[0].pk, "operator"),
        (devices[2].pk, "operator"),
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ring", [True, False])
def test_it_rings_after_the_commit(ring: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(doorbell, "ring_restart_dispatcher", lambda: seen.append(Restart.objects.count()))
    request_restart(SYSTEM, make_device(**VIRTUAL), ring=ring)
    assert seen == ([1] if ring else [])
