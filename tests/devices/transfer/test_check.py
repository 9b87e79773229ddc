"""R19: a file is checked: matched, compared, and refused where single edits would be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import imports, inventory
from devices.audit import SYSTEM, Actor
from devices.errors import Conflict
from devices.models import AuditEvent, Device, ImportPart, ImportRow, ScepServer
from tests.conftest import member_of
from tests.devices.factories import make_device
from tests.devices.transfer.files import TIMER, applied, checked, csv_file, new, outcome, problems, work

pytestmark = pytest.mark.django_db


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
