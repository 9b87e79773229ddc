"""R19: a checked file is applied, unless the fleet has changed meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import imports, inventory
from devices.audit import SYSTEM, Actor
from devices.enrollment import bulk, requests
from devices.errors import Conflict
from devices.models import AuditEvent, Deployment, Device, Import, IssuanceRequest, ScepServer
from tests.devices.api.test_deployments import make_deployment
from tests.devices.factories import just_passed, make_device, make_key, make_server, make_timed_device
from tests.devices.transfer.files import TIMER, applied, checked, csv_file, new, outcome, problems, work

pytestmark = pytest.mark.django_db


def test_what_was_checked_is_applied_with_settings_timer_and_audit(actor: Actor, server: ScepServer) -> None:
    found = applied(csv_file(new(6, **TIMER, request_interval_days=90, key_use="TLS")), actor)
    assert found.apply_job
    assert (found.state, found.apply_job.done) == ("applied", 6)
    made = Device.objects.select_related("scep_settings").order_by("name")
    assert [device.status for device in made] == ["to_be_processed"] * 6
    start = datetime(2099, 1, 11, 7, tzinfo=UTC)
    for device in made:
        settings, request = device.scep_settings, IssuanceRequest.objects.get(device=device)
        assert (settings.server, settings.request_interval_days, settings.key_use) == (server, 90, "tls")
        assert 1 <= (settings.offset_seconds or 0) <= 600, "R10's offset is drawn for each device"
        assert request.request_at == start + timedelta(seconds=settings.offset_seconds or 0)
        assert device.next_request_at == request.request_at
        assert (request.server, request.key_use, request.trigger) == (server, "tls", "timer")
    assert len({device.scep_settings.offset_seconds for device in made}) > 1
    recorded = AuditEvent.objects.filter(target_type="device", actor_name=actor.name)
    assert set(recorded.values_list("action", flat=True)) == {"device.create", "scep_settings.update"}
    assert recorded.count() == 12


def test_applying_is_what_saving_a_form_is(server: ScepServer) -> None:
    """Every kind of change, in bulk and one by one, leaves the same behind."""
    changes: list[dict[str, Any]] = [
        {"request_interval_days": 30},
        {"timer_enabled": False},
        {"request_start_at": datetime(2099, 5, 1, tzinfo=UTC)},
        {"auto_adjust": True},
        {"organization": "Example", "delete_old_key": True},
    ]
    in_bulk, by_hand = ([make_timed_device(server) for _change in changes] for _twice in range(2))
    names = sorted({name for change in changes for name in change})
    rows = []
    for device, change in zip(in_bulk, changes, strict=True):
        settings = device.scep_settings
        settings.refresh_from_db()
        rows.append(
            {"name": device.name, **{name: change.get(name, getattr(settings, name)) for name in names}}
        )
    done = applied(csv_file(rows))
    assert done.changed == len(changes), problems(done)
    for device, change in zip(by_hand, changes, strict=True):
        requests.save_settings(SYSTEM, device, **change)

    def state(device: Device) -> Any:
        device.refresh_from_db()
        request: dict[str, Any] = {**(IssuanceRequest.objects.filter(device=device).values().first() or {})}
        own = {"id", "device_id", "request_at", "next_action_at", "offset_seconds"}
        settings = {name: getattr(device.scep_settings, name) for name in requests.SETTINGS_FIELDS}
        return (
            {name: value for name, value in request.items() if name not in own},
            settings,
            device.status,
            device.next_request_at is None,
        )

    for one, other in zip(in_bulk, by_hand, strict=True):
        one.scep_settings.refresh_from_db()
        other.scep_settings.refresh_from_db()
        assert state(one) == state(other)


def test_a_moved_period_moves_the_waiting_periodic_request(server: ScepServer) -> None:
    device = make_timed_device(server, request_interval_days=90)
    ended = IssuanceRequest.objects.get(device=device)
    when = timezone.now() - timedelta(days=1)
    IssuanceRequest.objects.filter(pk=ended.pk).update(
        state="successful", completed_at=when, next_action_at=None, trigger="timer"
    )
    applied(csv_file([{"name": device.name, "request_interval_days": 30}]))
    waiting = IssuanceRequest.objects.get(device=device, state="scheduled")
    assert (waiting.trigger, waiting.request_at) == ("periodic", when + timedelta(days=30))
    applied(csv_file([{"name": device.name, "request_interval_days": ""}]))
    assert not IssuanceRequest.objects.filter(device=device, state="scheduled").exists()


def test_r3_locked_rows_say_so_and_go_on_with_suspend_timers(server: ScepServer) -> None:
    device = make_timed_device(make_server(name="Old"))
    before = IssuanceRequest.objects.get(device=device)
    content = csv_file([{"name": device.name, "server": "CA"}])
    found = checked(content)
    assert outcome(found) == (0, 0, 0, 1, 0)
    row = found.rows.get()
    assert row.changes == {"server": ["Old", "CA"]}
    with pytest.raises(Conflict, match="1 row is refused"):
        imports.apply(SYSTEM, found)
    imports.apply(SYSTEM, found, suspend_timers=True)
    work()
    after = IssuanceRequest.objects.get(device=device)
    assert (after.server, after.request_at) == (server, before.request_at)
    event = AuditEvent.objects.filter(action="scep_settings.update", target_id=device.pk).latest("pk")
    assert event.changes["suspended_timers"] == 1
    assert found.rows.get().state == "done"


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        ("change", "was changed meanwhile"),
        ("delete", "was deleted or renamed meanwhile"),
        ("add", "was added meanwhile"),
    ],
)
@pytest.mark.parametrize("good_rows_only", [True, False])
def test_what_the_fleet_did_between_check_and_apply_is_not_overwritten(
    meanwhile: str, reason: str, good_rows_only: bool
) -> None:
    device = make_device(location="Berlin")
    rows = [*new(1), {"name": device.name, "host": device.host}]
    found = checked(csv_file([{**row, "location": "Recife"} for row in rows]))
    if meanwhile == "change":
        inventory.update_device(SYSTEM, device, location="Tokyo")
    elif meanwhile == "delete":
        inventory.delete_device(SYSTEM, device)
    else:
        inventory.create_device(SYSTEM, **new(1)[0])
    imports.apply(SYSTEM, found, good_rows_only=good_rows_only)
    work()
    found = Import.objects.get(pk=found.pk)
    assert found.apply_job
    refused = found.rows.get(state="refused")
    assert reason in refused.message
    if good_rows_only:
        assert (found.apply_job.state, found.apply_job.done, found.apply_job.refused) == ("finished", 1, 1)
    else:
        assert (found.state, found.apply_job.done, found.apply_job.refused) == ("nothing_applied", 0, 1)
        assert not Device.objects.filter(location="Recife").exists()
        assert set(found.rows.values_list("state", flat=True)) == {"refused", "canceled"}


def test_somebody_else_did_it_already_is_fine() -> None:
    device = make_device(location="Berlin")
    found = checked(csv_file([{"name": device.name, "location": "Recife"}]))
    inventory.update_device(SYSTEM, device, location="Recife")
    imports.apply(SYSTEM, found)
    work()
    assert Import.objects.get().state == "applied"


def test_a_file_is_applied_once_and_within_a_day(actor: Actor) -> None:
    found = checked(csv_file(new(1)))
    imports.apply(actor, found)
    with pytest.raises(Conflict, match="started already"):
        imports.apply(actor, found)
    old = checked(csv_file(new(2)))
    Import.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    with pytest.raises(Conflict, match="older than a day"):
        imports.apply(actor, old)
    waiting = imports.receive(actor, BytesIO(csv_file(new(3))))
    with pytest.raises(Conflict, match="not been checked"):
        imports.apply(actor, waiting)


def test_what_nobody_applied_is_forgotten_after_a_day_and_reports_after_a_month(actor: Actor) -> None:
    for age, apply in ((0, False), (2, False), (2, True), (40, True)):
        found = checked(csv_file(new(1, location=str(age))))
        if apply and found.added + found.changed:
            imports.apply(actor, found)
            work()
        Import.objects.filter(pk=found.pk).update(
            created_at=timezone.now() - timedelta(days=age), file_name=f"{age} {apply}"
        )
    imports.clean(timezone.now())
    assert set(Import.objects.values_list("file_name", flat=True)) == {"0 False", "2 True"}


def test_the_start_of_a_request_that_just_passed_is_due(server: ScepServer) -> None:
    found = applied(
        csv_file(new(1, **(TIMER | {"request_start_at": just_passed().isoformat()}), request_interval_days=9))
    )
    assert found.state == "applied"


def test_deliveries_that_failed_for_what_the_file_changes_go_on() -> None:
    moved, renamed = (make_device(location="Berlin") for _ in range(2))
    for device in (moved, renamed):
        make_deployment(make_key(device, key_use="tls"), for_administrator=True)
    rows = [
        {"name": moved.name, "host": "10.7.7.7", "location": "Berlin"},
        {"name": renamed.name, "host": renamed.host, "location": "Recife"},
    ]
    assert applied(csv_file(rows)).changed == 2
    states = dict(Deployment.objects.values_list("device", "state"))
    assert states == {moved.pk: "issued", renamed.pk: "failed"}


def test_devices_are_held_from_the_look_at_them_until_they_are_written() -> None:
    """Columns of all of a chunk's devices are written together, those that nothing changes too."""
    device = make_device()
    with transaction.atomic(), CaptureQueriesContext(connection) as captured:
        bulk.standing([device.pk], lock=True)
    held = [each["sql"] for each in captured if each["sql"].endswith('FOR NO KEY UPDATE OF "devices_device"')]
    assert len(held) == connection.features.has_select_for_no_key_update
