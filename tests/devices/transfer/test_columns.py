"""The one list of columns: the API's names, and cells as people and spreadsheets write them (R19)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from devices.api.serializers import DeviceSerializer, ScepSettingsSerializer
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.inventory import DEVICE_FIELDS
from devices.transfer.columns import columns, plain_columns
from scripts import transfer_documents


def test_the_names_are_the_apis() -> None:
    assert [*columns()] == [*DEVICE_FIELDS, *SETTINGS_FIELDS, "connector_secrets", "challenge_password"]
    known = {*DeviceSerializer().fields, *ScepSettingsSerializer().fields, "connector_secrets"}
    assert columns().keys() <= known
    assert not {"connector_secrets", "challenge_password"} & {column.name for column in plain_columns()}


def test_the_documents_are_made_from_the_columns() -> None:
    why = "run python scripts/transfer_documents.py"
    assert transfer_documents.SCHEMA.read_text() == transfer_documents.schema(), why
    guide = transfer_documents.GUIDE.read_text()
    assert transfer_documents.with_table(guide) == guide, why


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("tls_enabled", "TRUE", True),
        ("tls_enabled", "no", False),
        ("tls_enabled", "VERDADEIRO", True),
        ("tls_enabled", "FALSCH", False),
        ("key_limit", "12", 12),
        ("key_limit", "12.00", 12),
        ("key_limit", "12,0", 12),
        ("signature_algorithm", "sha-256", "SHA-256"),
        ("key_length", "1024 (legacy)", 1024),
        ("key_use", "IEEE 802.1X", "ieee_802_1x"),
        ("request_start_at", "2027-01-11T07:00:00Z", "2027-01-11T07:00:00+00:00"),
        ("request_start_at", "2027-01-11 07:00", "2027-01-11T07:00:00"),
        ("request_start_at", "11.01.2027 07:00:30", "2027-01-11T07:00:30"),
        ("request_start_at", "1/11/2027 7:00 AM", "2027-01-11T07:00:00"),
        ("request_start_at", "01/11/27 12:30 PM", "2027-01-11T12:30:00"),
        ("request_start_at", "01/11/27 12:30 am", "2027-01-11T00:30:00"),
        ("request_start_at", "21/01/2027 07:00", "2027-01-21T07:00:00"),
        ("request_start_at", "01/21/2027 07:00", "2027-01-21T07:00:00"),
        ("tls_ports", "443, 631", [443, 631]),
        ("tls_ports", "[8443]", [8443]),
        ("tls_ports", "443;631", [443, 631]),
        ("ipsec_destinations", "one\ntwo\r\n three ", ["one", "two", "three"]),
        ("ipsec_destinations", '["[one]", "two\\nlines"]', ["[one]", "two\nlines"]),
    ],
)
def test_cells_as_people_and_spreadsheets_write_them(name: str, cell: str, value: Any) -> None:
    found = columns()[name].read(cell)
    assert (found.isoformat() if isinstance(found, datetime) else found) == value


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("tls_enabled", "perhaps", "neither “true” nor “false”"),
        ("key_limit", "12.5", "not a whole number"),
        ("key_limit", "9" * 30, "not a whole number"),
        ("key_limit", "١٢", "not a whole number"),
        ("key_use", "fax", "choose one of none, tls, ieee_802_1x, ipsec"),
        ("request_start_at", "tomorrow", "write it like 2027-01-11T07:00:00"),
        ("request_start_at", "31.02.2027 07:00", "write it like 2027-01-11T07:00:00"),
        ("request_start_at", "0001-01-01T00:00:00+14:00", "write it like 2027-01-11T07:00:00"),
        ("request_start_at", "01/11/2027 07:00", "may be two different days"),
        ("request_start_at", "01/11/2027 19:00 PM", "write it like 2027-01-11T07:00:00"),
        ("tls_ports", "https", "like 443, 631"),
        ("ipsec_destinations", "[one", "one name per line"),
        ("ipsec_destinations", "[" * 5000, "one name per line"),
        ("location", "x" * 30_000, "too long for a cell"),
        ("location", "a\0b", "Null characters"),
    ],
)
def test_what_a_cell_cannot_be_is_said(name: str, cell: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        columns()[name].read(cell)
    assert reason in " ".join(refused.value.messages)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9)
    )
)
def test_lists_come_back_as_they_were(names: list[str]) -> None:
    column = columns()["ipsec_destinations"]
    cell = column.write(names)
    assert (column.read(cell) if cell else column.empty) == names
