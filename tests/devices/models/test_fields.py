"""Columns of the project's own."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Import, ImportRow
from devices.models.choices import FileFormatChoices, RowOutcomeChoices
from tests.devices.factories import just_passed

pytestmark = pytest.mark.django_db

VALUES = [bytes(range(256)), b"", None, b'{"a","\\\\x00"}']


def test_bytes_of_many_rows_at_once() -> None:
    found = Import.objects.create(format=FileFormatChoices.CSV, created_at=just_passed())
    rows = [
        ImportRow(
            of=found, number=number, line=number, outcome=RowOutcomeChoices.ADDED, secrets_encrypted=value
        )
        for number, value in enumerate(VALUES)
    ]
    with CaptureQueriesContext(connection) as captured:
        ImportRow.objects.bulk_create(rows)
    stored = ImportRow.objects.order_by("number").values_list("secrets_encrypted", flat=True)
    assert [None if value is None else bytes(value) for value in stored] == VALUES
    if connection.vendor == "postgresql":
        (insert,) = (query["sql"] for query in captured if query["sql"].startswith("INSERT"))
        assert "UNNEST" in insert
