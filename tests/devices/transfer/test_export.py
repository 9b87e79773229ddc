"""Files out of the fleet (R19): they come back in as they were, hold no secret unless encrypted, and cost little."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pyzipper
import xmlschema
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pyzipper import zipfile_aes

from devices import inventory
from devices.audit import SYSTEM, Actor
from devices.filters import select_devices
from devices.models import AuditEvent, Device, DeviceGroup, ScepSettings
from devices.models.choices import FileFormatChoices
from devices.transfer import archive, exporter, report, zip_stream
from devices.transfer.source import FileUnusable
from scripts import transfer_documents
from tests.conftest import member_of
from tests.devices.factories import CHALLENGE, PRIVATE_KEY, just_passed, make_device, make_key, make_server
from tests.devices.transfer.files import applied, checked, csv_file, problems

PASSWORD = "a long enough password"


def exported(file_format: str, **query: Any) -> bytes:
    chosen = FileFormatChoices(file_format)
    return b"".join(exporter.devices(SYSTEM, select_devices(query=query), chosen, query))


def fleet() -> list[Device]:
    """Devices with one of everything that is hard to write."""
    server = make_server(name="CA; “main”")
    group = DeviceGroup.objects.create(name="=Büro", time_zone="America/Sao_Paulo")
    timer = {"timer_enabled": True, "request_start_at": just_passed(), "request_interval_days": 90}
    return [
        make_device(
            server,
            group=group,
            serial_number="00123",
            firmware="1.10",
            location='2nd floor, "left"\nroom 7',
            ipsec_destinations=["gateway-1", "[odd]", "two;three"],
            settings=timer
            | {"key_use": "ipsec", "ipsec_destination": "gateway-1", "challenge_password": CHALLENGE},
        ),
        make_device(vendor="=cmd|' /C calc'!A0", model="-1", serial_number="'00124", tls_enabled=False),
        make_device(
            server, settings={"common_name": "mfp.example.com", "key_length": 4096, "auto_adjust": False}
        ),
    ]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40).map(str.strip)


class TestRoundTrip(TestCase):
    """With a database that every example finds empty."""

    @settings(deadline=None, max_examples=40)
    @given(
        location=TEXT,
        vendor=TEXT,
        serial=TEXT,
        destinations=st.lists(TEXT.filter(bool), max_size=3, unique=True),
        limit=st.integers(1, 1000),
        flag=st.booleans(),
        interval=st.none() | st.integers(1, 3650),
        start=st.none() | st.datetimes(datetime(2030, 1, 1), datetime(8999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    )
    def test_export_then_import_changes_nothing(self, start: Any, **values: Any) -> None:
        device = make_device(
            make_server(),
            location=values["location"],
            vendor=values["vendor"],
            serial_number=values["serial"],
            ipsec_destinations=values["destinations"],
            key_limit=values["limit"],
            tls_enabled=values["flag"],
            settings={
                "request_interval_days": values["interval"],
                "auto_adjust": values["flag"],
                "request_start_at": start,
            },
        )
        for file_format in ("csv", "xml"):
            found = checked(exported(file_format))
            assert (found.unchanged, found.total, found.problem) == (1, 1, ""), [
                (row.changes, row.problems) for row in found.rows.all()
            ]
        # and into an empty fleet it is all there
        content = exported("xml")
        before = _state(device.pk)
        inventory.delete_device(SYSTEM, device)
        applied(content)
        assert _state(Device.objects.get().pk) == before


def _state(pk: int) -> dict[str, Any]:
    device = {**Device.objects.values().get(pk=pk), **ScepSettings.objects.values().get(device=pk)}
    own = {"id", "created_at", "device_id", "challenge_password_encrypted"}
    return {name: value for name, value in device.items() if name not in own}


@pytest.mark.django_db
@pytest.mark.parametrize("file_format", ["csv", "xml"])
def test_the_hard_cases_come_back_as_they_were(file_format: str) -> None:
    fleet()
    found = checked(exported(file_format))
    assert (found.unchanged, found.problem) == (3, ""), [
        row.changes or row.problems for row in found.rows.all()
    ]


@pytest.mark.django_db
def test_no_cell_of_an_export_is_a_formula() -> None:
    fleet()
    for row in csv.reader(io.StringIO(exported("csv").decode("utf-8-sig"), newline="")):
        assert not [cell for cell in row if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]


@pytest.mark.django_db
def test_exported_xml_is_what_the_published_schema_says() -> None:
    schema = xmlschema.XMLSchema(str(transfer_documents.SCHEMA))
    fleet()
    make_device(location="\x01 control\r")
    schema.validate(exported("xml").decode())
    schema.validate(exporter.template(FileFormatChoices.XML).decode())
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate(exported("xml").decode().replace("key_limit>", "key_limits>"))


@pytest.mark.django_db
def test_a_spreadsheet_opens_edits_and_saves_an_export(tmp_path: Path) -> None:
    """LibreOffice itself, without a window: to its own format and back to CSV, as saving does."""
    office = shutil.which("soffice")
    assert office, "scripts/install-debian-packages installs libreoffice-calc"
    fleet()
    (tmp_path / "devices.csv").write_bytes(exported("csv"))
    start = [office, "--headless", f"-env:UserInstallation=file://{tmp_path}/profile"]
    # as the dialogs say it: comma and UTF-8 when it is opened, semicolon and UTF-8 when it is saved
    opening = [*start, "--infilter=CSV:44,34,76", "--convert-to", "ods", "devices.csv"]
    saving = [*start, "--convert-to", "csv:Text - txt - csv (StarCalc):59,34,76", "devices.ods"]
    for command in (opening, saving):
        subprocess.run(command, check=True, capture_output=True, timeout=600, cwd=tmp_path)
    saved = (tmp_path / "devices.csv").read_bytes()
    assert b";" in saved.splitlines()[0], "saved anew, with another separator"
    found = checked(saved)
    assert (found.unchanged, found.problem) == (3, ""), [
        row.changes or row.problems for row in found.rows.all()
    ]
    edited = saved.replace(b"mfp.example.com", b"print.example.com").replace(b"2nd floor", b"3rd floor")
    assert problems(checked(edited)) == []
    after = applied(edited)
    assert after.changed == 2
    assert ScepSettings.objects.filter(common_name="print.example.com").count() == 1
    assert Device.objects.get(firmware="1.10").location == '3rd floor, "left"\nroom 7'


@pytest.mark.django_db
def test_exports_are_filtered_as_the_list_and_audited(actor: Actor) -> None:
    make_device(location="Berlin")
    recife = make_device(location="Recife")
    query = {"search": "recife"}
    content = b"".join(exporter.devices(actor, select_devices(query=query), FileFormatChoices.CSV, query))
    names = [row["name"] for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))]
    assert names == [recife.name]
    event = AuditEvent.objects.get(action="export.create")
    assert (event.target_name, event.changes) == ("devices.csv", {"filter": query})


@pytest.mark.django_db
def test_an_export_costs_the_same_queries_for_few_and_many() -> None:
    server, costs = make_server(), []
    for _round in range(2):
        for _number in range(5):
            make_key(make_device(server))
        with CaptureQueriesContext(connection) as captured:
            exported("csv")
            list(exporter.status_log(SYSTEM, select_devices(query={}), {}))
            list(exporter.certificates(SYSTEM, select_devices(query={}), {}))
        costs.append(len(captured))
    assert costs[0] == costs[1]


@pytest.mark.django_db
def test_templates_have_every_column_and_import_as_they_are() -> None:
    for file_format in FileFormatChoices:
        content = exporter.template(file_format)
        assert b"request_start_at" in content
        assert b"challenge_password" not in content
    found = checked(exporter.template(FileFormatChoices.CSV))
    assert "no device in the file" in found.problem


# --- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_plain_export_holds_no_secret() -> None:
    fleet()
    stored = bytes(
        ScepSettings.objects.exclude(challenge_password_encrypted=None).get().challenge_password_encrypted
        or b""
    )
    for file_format in ("csv", "xml"):
        content = exported(file_format)
        assert CHALLENGE.encode() not in content
        assert stored not in content


@pytest.mark.django_db
@pytest.mark.parametrize("file_format", ["csv", "xml"])
def test_secrets_travel_in_a_zip_that_ordinary_tools_open(
    actor: Actor, tmp_path: Path, file_format: str
) -> None:
    device = fleet()[0]
    chosen = FileFormatChoices(file_format)
    with exporter.devices_with_secrets(actor, select_devices(query={}), chosen, {}, PASSWORD) as file:
        content = file.read()
    assert CHALLENGE.encode() not in content
    (tmp_path / "devices.zip").write_bytes(content)
    tool = ["7z", "x", f"-p{PASSWORD}", f"-o{tmp_path}", str(tmp_path / "devices.zip")]
    subprocess.run(tool, check=True, capture_output=True, timeout=600)
    assert CHALLENGE in (tmp_path / f"devices.{file_format}").read_text()
    with pyzipper.AESZipFile(io.BytesIO(content)) as opened:
        assert opened.infolist()[0].wz_aes_version == 2
    inventory.delete_device(actor, device)
    found = applied(content, actor, password=PASSWORD)
    assert (found.added, found.unchanged, found.refused) == (1, 2, 0), problems(found)
    again = Device.objects.get(serial_number="00123")
    assert again.scep_settings.reveal_challenge_password() == CHALLENGE
    assert not found.rows.exclude(secrets_encrypted=None).exists(), "gone once they are applied"
    assert CHALLENGE not in str([*found.rows.values(), *AuditEvent.objects.values()])


@pytest.mark.django_db
def test_secrets_are_for_administrators_and_weak_passwords_for_nobody(actor: Actor) -> None:
    selected = select_devices(query={})
    operator = Actor.of(member_of("Operator"), AuditEvent.Source.API)
    with pytest.raises(PermissionDenied):
        exporter.devices_with_secrets(operator, selected, FileFormatChoices.CSV, {}, PASSWORD)
    with pytest.raises(ValidationError) as refused:
        exporter.devices_with_secrets(actor, selected, FileFormatChoices.CSV, {}, "short")
    assert set(refused.value.message_dict) == {"password"}


def zipped(
    names: list[str], *, encrypted: bool = True, content: bytes = b"name,host\r\nx,h\r\n", salt: int = 0
) -> io.BytesIO:
    """A ZIP as another program makes it; the salt is given, since by some wrong passwords pass for right at first."""
    target, salts = io.BytesIO(), mock.patch.object(zipfile_aes.Random, "new")
    if encrypted:
        with pyzipper.AESZipFile(target, "w", encryption=pyzipper.WZ_AES) as opened, salts as drawn:
            drawn.side_effect = lambda: io.BytesIO(salt.to_bytes(16, "big"))
            opened.setpassword(PASSWORD.encode())
            for name in names:
                opened.writestr(name, content)
    else:
        with zipfile.ZipFile(target, "w") as plain:
            for name in names:
                plain.writestr(name, content)
    target.seek(0)
    return target


@pytest.mark.parametrize(
    ("file", "password", "reason"),
    [
        (zipped(["devices.csv"]), "another password", "The password does not open"),
        (zipped(["devices.csv"], salt=95_646), "another password", "or encrypted with another password"),
        (zipped(["devices.csv"]), "", "Enter its password"),
        (zipped(["a.csv", "b.csv"]), PASSWORD, "exactly one CSV or XML file"),
        (zipped(["content.xml", "styles.xml"], encrypted=False), "", "exactly one CSV or XML file"),
        (zipped(["a.csv"], encrypted=False), PASSWORD, "not encrypted with AES"),
        (io.BytesIO(b"PK\x03\x04" + bytes(100)), PASSWORD, "damaged"),
        (
            io.BytesIO(zipped(["devices.csv"]).getvalue().replace(b"devices.csv", b"devices.cs\xff")),
            PASSWORD,
            "ZIP",
        ),
    ],
)
def test_a_zip_that_cannot_be_used_says_why(file: io.BytesIO, password: str, reason: str) -> None:
    assert archive.is_archive(file)
    with pytest.raises(FileUnusable, match=reason):
        list(archive.read(file, password))


def test_an_altered_zip_is_damaged() -> None:
    content = bytearray(zipped(["devices.csv"], content=b"name,host\r\n" + b"x,h\r\n" * 500).getvalue())
    content[200] ^= 1
    with pytest.raises(FileUnusable, match="damaged"):
        list(archive.read(io.BytesIO(bytes(content)), PASSWORD))


# --- status logs and certificates ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_status_logs_as_csv() -> None:
    device = fleet()[0]
    content = b"".join(exporter.status_log(SYSTEM, select_devices(query={}), {}))
    (line,) = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert (line["device"], line["status"], line["trigger"]) == (device.name, "to_be_processed", "timer")
    assert line["device_serial_number"] == "'00123"
    assert CHALLENGE.encode() not in content


@pytest.mark.django_db
def test_certificates_as_a_zip_of_pem_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_ROWS_OF_A_TABLE", 2)
    for number in range(3):
        make_key(make_device(name=f"ü/{number}"), certificate=f"PEM {number}\n", chain="CHAIN\n")
    content = b"".join(exporter.certificates(SYSTEM, select_devices(query={}), {}))
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        tables = [name for name in opened.namelist() if name.endswith(".csv")]
        assert tables == ["certificates.csv", "certificates-2.csv"]
        rows = [
            row
            for name in tables
            for row in csv.DictReader(io.StringIO(opened.read(name).decode("utf-8-sig")))
        ]
        assert [opened.read(row["file"]) for row in rows] == [b"PEM %d\nCHAIN\n" % n for n in range(3)]
    assert PRIVATE_KEY not in content


def test_a_zip_of_many_files_is_whole() -> None:
    entries = ((f"folder {n % 7}/file-{n}-ü.txt", b"x" * (n % 50)) for n in range(70_000))
    content = b"".join(zip_stream.write(entries))
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert len(opened.infolist()) == 70_000
        assert opened.read(f"folder {69_999 % 7}/file-69999-ü.txt") == b"x" * (69_999 % 50)


@pytest.mark.django_db
def test_a_report_lists_every_change_and_problem() -> None:
    device = make_device(location="=1+1")
    found = checked(
        csv_file(
            [
                {"name": device.name, "host": "10.9.9.9", "location": "Recife"},
                {"name": "new", "host": "h", "location": ""},
                {"name": "bad", "host": "10.1.1.999", "location": ""},
            ]
        )
    )
    text = b"".join(report.as_csv(found)).decode("utf-8-sig")
    shown = ("line", "outcome", "column", "old", "new")
    lines = [tuple(row[name] for name in shown) for row in csv.DictReader(io.StringIO(text))]
    assert lines == [
        ("2", "changed", "host", device.host, "10.9.9.9"),
        ("2", "changed", "location", "'=1+1", "Recife"),
        ("3", "added", "", "", ""),
        ("4", "refused", "host", "", "10.1.1.999"),
    ]
