"""R18 The last 20 entries of each device are kept and shown; the 21st overwrites the oldest."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.manual.office import DAY, Office, log_rows, now, shown, when
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db


def lines_in_the_database(device: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM devices_issuancerequest WHERE device_id = %s", [device])
        row = cursor.fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_the_21st_overwrites_the_oldest(office: Office, scepserver: RealCa) -> None:
    start = now().isoformat()
    device = office.timed(
        scepserver.id,
        request_start_at=start,
        challenge_password="wrong",
        request_interval_days=1,
        key_length=1024,
    )
    other = office.timed(scepserver.id, request_start_at=start)
    times = []
    for number in range(1, 23):
        times.append(when(office.settings(device)["next_request_at"]))
        assert office.work_at(times[-1]) == (2 if number == 1 else 1)
        kept = min(number + 1, 20)
        assert [when(line["request_at"]) for line in office.log(device)] == [
            times[-1] + DAY,
            *reversed(times[-kept + 1 :]),
        ], "newest first: the one that waits, and what was before it"
        assert lines_in_the_database(device) == kept
    rows = log_rows(office.device_page(device))
    assert len(rows) == 20
    assert rows[-1][0] == shown(times[3]), "the first three are gone"
    assert [row[1] for row in rows] == ["To Be Processed", *["Error"] * 19]
    assert lines_in_the_database(other) == 1, "each device has its own 20"
    failed = [event for event in office.audit(device) if event["action"] == "issuance_request.failed"]
    assert len(failed) == 22, "the audit trail keeps the whole history"
