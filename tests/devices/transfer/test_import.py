"""R19: a file is checked, then applied: matched, compared, and refused where single edits would be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import imports, inventory
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.errors import Conflict
from devices.models import AuditEvent, Device, Import, ImportPart, ImportRow, IssuanceRequest, ScepServer
from tests.conftest import member_of
from tests.devices.factories import START, make_device, make_server, make_timed_device
from tests.devices.transfer.files import applied, checked, csv_file, problems, work

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> ScepServer:
    return make_server(name="CA")


def new(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Rows of devices that there are not."""
    return [{"name": f"new-{n:05}", "host": f"10.2.{n // 250}.{n % 250}", **fields} for n in range(count)]


TIMER = {"server": "CA", "timer_enabled": "TRUE", "request_start_at": "2099-01-11T07:00:00Z"}


def outcome(found: Import) -> tuple[int, int, int, int, int]:
    return found.added, found.changed, found.unchanged, found.locked, found.refused


def test_a_check_changes_nothing_and_says_everything(server: ScepServer) -> None:
    same = make_device(location="Recife")
    other = make_device(location="Berlin")
    events = AuditEvent.objects.filter(target_type="device").count()
    rows = [
        {"name": "new-1", "host": "10.2.0.1", "location": "Tokyo"},
        {"name": same.name, "host": same.host, "location": "Recife"},
        {"name": other.name, "host": other.host, "location": "Munich"},
        {"name": "new-2", "host": "10.2.0.300", "location": "x" * 300},
    ]
    found = checked(csv_file(rows))
    assert (found.state, found.total, outcome(found)) == ("checked", 4, (1, 1, 1, 0, 1))
    assert [row.changes for row in found.rows.order_by("number")] == [
        {},
        {},
        {"location": ["Berlin", "Munich"]},
        {},
    ]
    bad = found.rows.get(outcome="refused")
    assert [(column, value[:9]) for column, value, _reason in bad.problems] == [
        ("host", "10.2.0.30"),
        ("location", "xxxxxxxxx"),
    ]
    assert bad.line == 5
    assert Device.objects.count() == 2
    assert AuditEvent.objects.filter(target_type="device").count() == events
    assert not ImportPart.objects.exists(), "the file is read"


def test_what_was_checked_is_applied_with_settings_timer_and_audit(actor: Actor, server: ScepServer) -> None:
    found = applied(csv_file(new(3, **TIMER, request_interval_days=90, key_use="TLS")), actor)
    assert found.apply_job
    assert (found.state, found.apply_job.done) == ("applied", 3)
    made = Device.objects.select_related("scep_settings").order_by("name")
    assert [device.status for device in made] == ["to_be_processed"] * 3
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
    assert recorded.count() == 6


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


def test_matching_by_serial_number_or_else_by_name() -> None:
    by_serial = make_device(serial_number="S1")
    by_name = make_device()
    rows = [
        {"name": "renamed", "serial_number": "S1"},
        {"name": by_name.name, "serial_number": "S2"},
    ]
    found = applied(csv_file(rows))
    assert found.changed == 2
    assert Device.objects.get(pk=by_serial.pk).name == "renamed"
    assert Device.objects.get(pk=by_name.pk).serial_number == "S2"


def test_doubles_within_the_file_are_refused_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.transfer.check.CHUNK", 2)
    stored = make_device(serial_number="S9")
    rows = [
        {"name": "a", "host": "h1", "serial_number": "S1"},
        {"name": "b", "host": "h2", "serial_number": ""},
        {"name": "a", "host": "h3", "serial_number": "S3"},
        {"name": "d", "host": "h4", "serial_number": "S1"},
        {"name": stored.name, "host": "h5", "serial_number": ""},
        {"name": "f", "host": "h6", "serial_number": "S9"},
    ]
    assert problems(checked(csv_file(rows))) == [
        (4, "name", "Line 2 has the same name."),
        (5, "serial_number", "Line 2 has the same serial number."),
        (7, "", "Line 6 is about the same device."),
    ]


def test_what_single_edits_refuse_is_refused(server: ScepServer) -> None:
    taken = make_device(serial_number="S1")
    renamed = make_device(serial_number="S2")
    fields = (
        "name",
        "host",
        "serial_number",
        "group",
        "server",
        "timer_enabled",
        "key_use",
        "ipsec_destination",
    )
    values: list[tuple[str, ...]] = [
        ("n1", "", "", "", "", "", "", ""),
        ("", "h", "", "", "", "", "", ""),
        (taken.name, "h", "S2", "", "", "", "", ""),
        ("n4", "h", "", "Nowhere", "No CA", "", "", ""),
        ("n5", "h", "", "", "CA", "true", "", ""),
        ("n6", "h", "", "", "", "", "ipsec", "gateway"),
        ("n7", "h", "", "", "", "maybe", "fax", ""),
    ]
    found = checked(csv_file([dict(zip(fields, row, strict=True)) for row in values]))
    assert renamed.pk
    assert [(line, column) for line, column, _reason in problems(found)] == [
        (2, "host"),
        (3, "name"),
        (4, "name"),
        (5, "group"),
        (5, "server"),
        (6, "request_start_at"),
        (7, "ipsec_destination"),
        (8, "timer_enabled"),
        (8, "key_use"),
    ]
    reasons = [reason for _line, _column, reason in problems(found)]
    assert "There is no SCEP server “No CA”" in reasons[4]
    assert "Enter the [Request Start Date/Time]" in reasons[5]


def test_forty_wrong_rows_among_many_are_all_reported_and_the_good_ones_may_be_applied() -> None:
    rows = new(1200)
    for number in range(0, 1200, 30):
        rows[number]["host"] = "10.2.0.999"
    found = checked(csv_file(rows))
    assert outcome(found) == (1160, 0, 0, 0, 40)
    assert len(problems(found)) == 40
    with pytest.raises(Conflict, match="40 rows are refused"):
        imports.apply(SYSTEM, found)
    assert not Device.objects.exists()
    imports.apply(SYSTEM, found, good_rows_only=True)
    work()
    assert Device.objects.count() == 1160


def test_empty_cells_and_missing_columns() -> None:
    device = make_device(location="Berlin", vendor="Example", key_limit=7)
    found = applied(csv_file([{"name": device.name, "location": "", "key_limit": ""}]))
    assert found.rows.get().changes == {"location": ["Berlin", ""]}
    device.refresh_from_db()
    assert (device.location, device.vendor, device.key_limit) == ("", "Example", 7)
    nothing = checked(csv_file([{"name": device.name, "host": ""}]))
    assert problems(nothing) == [(2, "host", "This cannot be empty.")]


def test_times_without_an_offset_are_in_the_zone_of_the_group(server: ScepServer) -> None:
    inventory.create_group(SYSTEM, name="BR", time_zone="America/Sao_Paulo")
    timer = TIMER | {"request_start_at": "2099-01-11 07:00"}
    applied(csv_file(new(1, group="BR", **timer)))
    assert Device.objects.get().scep_settings.request_start_at == datetime(2099, 1, 11, 10, tzinfo=UTC)
    gone = checked(
        csv_file(new(1, group="BR", **TIMER) and [{"name": "z", "host": "h", **timer, "group": "BR"}])
    )
    assert gone.added == 1
    inventory.create_group(SYSTEM, name="DE", time_zone="Europe/Berlin")
    odd = {"name": "y", "host": "h", "group": "DE", **TIMER, "request_start_at": "2099-03-29 02:30"}
    assert problems(checked(csv_file([odd])))[0][1] == "request_start_at", "this time does not exist there"


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


def test_r1_device_data_is_for_operators_and_settings_are_for_administrators(
    server: ScepServer, operator: User
) -> None:
    acting = Actor.of(operator, AuditEvent.Source.API)
    assert applied(csv_file(new(1)), acting).state == "applied"
    assert Device.objects.get().scep_settings.timer_enabled is False
    with pytest.raises(PermissionDenied):
        checked(csv_file(new(1, server="CA")), acting)
    xml = b"<fleetseal_devices><device><name>x</name><host>h</host><server>CA</server></device></fleetseal_devices>"
    found = checked(xml, acting)
    assert (found.state, found.rows.count()) == ("check_ended", 0)
    viewer = Actor.of(member_of("Viewer"), AuditEvent.Source.API)
    with pytest.raises(PermissionDenied):
        checked(csv_file(new(1)), viewer)
    by_administrator = checked(csv_file(new(1, server="CA")))
    with pytest.raises(PermissionDenied):
        imports.apply(acting, by_administrator)


def test_secrets_in_a_plain_file_are_refused_and_not_kept() -> None:
    found = checked(csv_file(new(1, challenge_password="opensesame")))
    assert problems(found)[0][1] == "challenge_password"
    assert "opensesame" not in str([*ImportRow.objects.values(), *AuditEvent.objects.values()])


def test_a_file_without_a_device_and_one_with_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no device in the file" in checked(b"name,host\r\n").problem
    monkeypatch.setattr("devices.transfer.check.MOST_ROWS", 5)
    found = checked(csv_file(new(6)))
    assert (found.state, found.rows.count()) == ("unusable", 0)
    assert "more than 200000 rows" in found.problem
    assert not ImportPart.objects.exists()


def test_checking_and_applying_cost_the_same_queries_for_few_and_many(server: ScepServer) -> None:
    costs = []
    for first, count in ((0, 20), (20, 190)):
        rows = [
            {**row, "name": f"q-{first}-{n}", "serial_number": f"q{first}-{n}"}
            for n, row in enumerate(new(count))
        ]
        content = csv_file([{**row, **TIMER} for row in rows])
        with CaptureQueriesContext(connection) as captured:
            found = applied(content)
        assert found.apply_job
        assert found.apply_job.done == count
        costs.append(len(captured))
    # SQLite takes so many values in a statement, PostgreSQL any number
    assert costs[1] - costs[0] <= (0 if connection.vendor == "postgresql" else 30)


def test_the_start_of_a_request_that_just_passed_is_due(server: ScepServer) -> None:
    found = applied(
        csv_file(new(1, **(TIMER | {"request_start_at": START.isoformat()}), request_interval_days=9))
    )
    assert found.state == "applied"
