"""`import_devices` and `export_devices`: what they print, and their exit codes."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from devices import imports
from devices.audit import SYSTEM
from devices.jobs import run as jobs
from devices.models import AuditEvent, Device, Import
from tests.devices.factories import make_device, make_server, make_timed_device
from tests.devices.transfer.files import csv_file

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the import."""
    output, errors, code = StringIO(), StringIO(), 0
    try:
        call_command("import_devices", *arguments, stdout=output, stderr=errors)
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, output.getvalue(), errors.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.csv"
    path.write_bytes(csv_file([{"name": f"new-{n}", "host": f"10.2.0.{n}"} for n in range(3)]))
    return path


def test_it_checks_only_unless_told_to_apply(file: Path) -> None:
    sums = "3 added, 0 changed, 0 unchanged, 0 locked by their timers, 0 refused"
    assert run(str(file)) == (0, sums + "\n", "")
    assert not Device.objects.exists()
    code, output, errors = run(str(file), "--apply")
    assert (code, output.splitlines()[1], errors) == (0, "3 devices applied", "")
    assert Device.objects.count() == 3
    assert AuditEvent.objects.filter(action="device.create", source="command").count() == 3


def test_refused_rows_are_listed_and_make_it_1(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"bad,10.2.0.999\r\n")
    code, output, errors = run(str(file), "--apply")
    assert code == 1
    assert errors.startswith("line 5, host, “10.2.0.999”:")
    assert "cannot be applied as a whole" in errors
    assert not Device.objects.exists()
    code, output, _errors = run(str(file), "--apply", "--good-rows-only")
    assert (code, output.splitlines()[1]) == (1, "3 devices applied")


def test_locked_rows_and_the_way_on(file: Path) -> None:
    device, other = make_timed_device(make_server()), make_server(name="CA 2")
    file.write_bytes(csv_file([{"name": device.name, "server": other.name}]))
    assert run(str(file))[0] == 1
    assert run(str(file), "--apply", "--suspend-timers")[0] == 0
    device.scep_settings.refresh_from_db()
    assert device.scep_settings.server == other


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing,known\r\n", "names of the columns"),
        (b"<fleet/>", "Expected <fleetseal_devices>"),
        (None, "No such"),
    ],
)
def test_a_file_that_cannot_be_used_makes_it_2(file: Path, content: bytes | None, words: str) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    code, output, errors = run(str(file))
    assert (code, output) == (2, "")
    assert words in errors


def test_export_and_import_are_each_others_reverse(tmp_path: Path) -> None:
    make_device(make_server(), settings={"key_length": 3072})
    for file_format in ("csv", "xml"):
        path, output = tmp_path / f"fleet.{file_format}", StringIO()
        call_command("export_devices", str(path), "--format", file_format, stdout=output)
        assert output.getvalue() == "1 device exported\n"
        assert run(str(path), "--format", file_format)[1].startswith("0 added, 0 changed, 1 unchanged")
    with pytest.raises(CommandError):
        call_command(
            "export_devices", str(tmp_path / "nowhere" / "x.csv"), "--format", "csv", stdout=StringIO()
        )


def test_a_job_that_a_worker_has_is_watched(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with file.open("rb") as opened:
        found = imports.receive(SYSTEM, opened)
    assert found.check_job
    lease = jobs.claim(found.check_job.pk, timezone.now())
    assert lease

    def meanwhile(_seconds: float) -> None:
        jobs.advance(found.check_job_id or 0, lease)

    monkeypatch.setattr("time.sleep", meanwhile)
    told: list[int] = []
    jobs.work_here(found.check_job, lambda progress: told.append(progress.done))
    assert told == [3]
    assert Import.objects.get().is_checked
