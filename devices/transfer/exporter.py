"""Files out of the fleet: devices with their settings, status logs, certificates. Streamed, so memory stays flat.

Every export is audited. Reading is for everyone who signed in; secrets are for administrators (R1).
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from django.db.models import QuerySet

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor
from devices.models import Device, IssuanceRequest, KeyAndCertificate
from devices.models.choices import FileFormatChoices
from devices.transfer import archive, csv_format, xml_format, zip_stream
from devices.transfer.columns import (
    CHALLENGE_PASSWORD,
    CONNECTOR_SECRETS,
    Column,
    as_iso,
    columns,
    plain_columns,
)

_FETCHED = 500
"""Rows that are read from the database at once."""

_PIECE = 1 << 16
"""Bytes that go out at once, about."""


def _silent(_done: int) -> None:
    pass


def devices(
    actor: Actor,
    selected: QuerySet[Device],
    file_format: FileFormatChoices,
    query: Mapping[str, Any],
    *,
    told: Callable[[int], None] = _silent,
) -> Iterator[bytes]:
    """Devices with all their settings, without secrets; `query` is how they were selected, for the audit trail.

    `told` hears how many are written.
    """
    audit.record(actor, "export.create", f"devices.{file_format}", _facts(query))
    return _in_pieces(_devices(selected, file_format, plain_columns(), told))


def devices_with_secrets(
    actor: Actor,
    selected: QuerySet[Device],
    file_format: FileFormatChoices,
    query: Mapping[str, Any],
    password: str,
) -> IO[bytes]:
    """The same with the secrets, in a ZIP encrypted with `password`: a temporary file, from its start.

    Raises PermissionDenied, ValidationError at `password`, and devices.secrets.SecretUnreadable.
    """
    access.require(actor, Permission.CHANGE_SCEP_SETTINGS)
    archive.check_password(password)
    name = f"devices.{file_format}"
    audit.record(actor, "export.create", name, _facts(query) | {"secrets": True})
    # it is encrypted before it is written anywhere
    target = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    try:
        archive.write(target, name, _devices(selected, file_format, [*columns().values()]), password)
        target.seek(0)
    except BaseException:
        target.close()
        raise
    return target


def template(file_format: FileFormatChoices) -> bytes:
    """An empty file with every column: for XML with one device, so that its elements are seen."""
    writer = _writer(file_format, plain_columns())
    if file_format == FileFormatChoices.CSV:
        return writer.begin()
    return writer.begin() + writer.row([None] * len(plain_columns())) + writer.end()


def status_log(actor: Actor, selected: QuerySet[Device], query: Mapping[str, Any]) -> Iterator[bytes]:
    """The lines of the devices' status logs (R16 to R18) as CSV, newest first for each device."""
    audit.record(actor, "export.create", "status-log.csv", _facts(query))
    lines = (
        IssuanceRequest.objects.filter(device__in=selected.order_by().values("pk"))
        .select_related("device", "server", "certificate")
        .defer(*_HEAVY_OF_A_LINE)
        .order_by("device__name", "-sequence")
    )
    return _in_pieces(_table(LOG_COLUMNS, lines.iterator(_FETCHED)))


def certificates(actor: Actor, selected: QuerySet[Device], query: Mapping[str, Any]) -> Iterator[bytes]:
    """A ZIP with each certificate and its chain as PEM, in a folder per device, and `certificates.csv` about them."""
    audit.record(actor, "export.create", "certificates.zip", _facts(query))
    keys = (
        KeyAndCertificate.objects.filter(device__in=selected.order_by().values("pk"))
        .select_related("device")
        .defer("private_key_encrypted")
        .order_by("device__name", "name")
    )
    return _in_pieces(zip_stream.write(_entries(keys)))


def _facts(query: Mapping[str, Any]) -> dict[str, Any]:
    return {"filter": dict(query)} if query else {}


def _in_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Fewer and larger ones: each costs a write to the network."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


# --- devices -------------------------------------------------------------------------------------------------


def _writer(
    file_format: FileFormatChoices, chosen: Sequence[Column]
) -> csv_format.Writer | xml_format.Writer:
    return xml_format.Writer(chosen) if file_format == FileFormatChoices.XML else csv_format.Writer(chosen)


def _devices(
    selected: QuerySet[Device],
    file_format: FileFormatChoices,
    chosen: Sequence[Column],
    told: Callable[[int], None] = _silent,
) -> Iterator[bytes]:
    writer = _writer(file_format, chosen)
    yield writer.begin()
    rows = selected.select_related("group", "scep_settings__server").order_by("name")
    for number, device in enumerate(rows.iterator(_FETCHED), start=1):
        yield writer.row([_value(device, column) for column in chosen])
        told(number)
    yield writer.end()


def _value(device: Device, column: Column) -> Any:
    if column is CONNECTOR_SECRETS:
        return device.reveal_connector_secrets()
    if column is CHALLENGE_PASSWORD:
        return device.scep_settings.reveal_challenge_password()
    return getattr(device.scep_settings if column.of_settings else device, column.name)


# --- the status log ------------------------------------------------------------------------------------------

_HEAVY_OF_A_LINE = (
    *("private_key_encrypted", "csr_encrypted", "signer_certificate", "challenge_password_encrypted"),
    *("certificate__certificate", "certificate__chain", "certificate__private_key_encrypted"),
)

LOG_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "device": lambda line: line.device.name,
    "device_serial_number": lambda line: line.device.serial_number,
    "status": lambda line: line.status.value,
    "details": lambda line: line.details,
    "explanation": lambda line: line.explanation,
    "trigger": lambda line: line.trigger,
    "request_at": lambda line: line.request_at,
    "started_at": lambda line: line.started_at,
    "completed_at": lambda line: line.completed_at,
    "server": lambda line: line.server.name if line.server else "",
    "transaction_id": lambda line: line.transaction_id,
    "key_name": lambda line: line.key_name,
    "common_name": lambda line: line.common_name,
    "certificate_serial_number": lambda line: line.certificate.serial_number if line.certificate else "",
}
"""The columns of an exported status log, named as in the API."""


def _table(chosen: Mapping[str, Callable[[Any], Any]], rows: Iterable[Any]) -> Iterator[bytes]:
    yield ("\ufeff" + _line(chosen)).encode()
    for row in rows:
        yield _line(_cell(read(row)) for read in chosen.values()).encode()


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(csv_format.defuse(cell) for cell in cells)
    return text.getvalue()


def _cell(value: Any) -> str:
    return as_iso(value) if hasattr(value, "astimezone") else "" if value is None else str(value)


# --- certificates --------------------------------------------------------------------------------------------

CERTIFICATE_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "device": lambda key: key.device.name,
    "device_serial_number": lambda key: key.device.serial_number,
    "name": lambda key: key.name,
    "key_use": lambda key: key.key_use,
    "ipsec_destination": lambda key: key.ipsec_destination,
    "subject": lambda key: key.subject,
    "issuer": lambda key: key.issuer,
    "serial_number": lambda key: key.serial_number,
    "fingerprint_sha256": lambda key: key.fingerprint_sha256,
    "not_before": lambda key: key.not_before,
    "not_after": lambda key: key.not_after,
    "issued_at": lambda key: key.issued_at,
    "file": lambda key: _path(key),
}
"""The columns of `certificates.csv`, named as in the API."""


def _path(key: KeyAndCertificate) -> str:
    """Names that any file system takes, and that differ: the ids see to it."""
    device, name = (
        re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._") for text in (key.device.name, key.name)
    )
    return f"{device or 'device'}-{key.device_id}/{name or 'key'}-{key.pk}.pem"


def _entries(keys: QuerySet[KeyAndCertificate]) -> Iterator[tuple[str, bytes]]:
    """The certificates, and the table about them in parts, for it may be long."""
    lines: list[str] = []
    part = 0
    for number, key in enumerate(keys.iterator(_FETCHED), start=1):
        yield _path(key), (key.certificate + key.chain).encode()
        lines.append(_line(_cell(read(key)) for read in CERTIFICATE_COLUMNS.values()))
        if number % _ROWS_OF_A_TABLE == 0:
            part += 1
            yield _tabled(part, lines)
            lines.clear()
    if lines or not part:
        yield _tabled(part + 1, lines)


_ROWS_OF_A_TABLE = 10_000


def _tabled(part: int, lines: Sequence[str]) -> tuple[str, bytes]:
    name = "certificates.csv" if part == 1 else f"certificates-{part}.csv"
    return name, ("\ufeff" + _line(CERTIFICATE_COLUMNS) + "".join(lines)).encode()
