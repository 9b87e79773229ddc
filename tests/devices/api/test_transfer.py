"""Imports and exports over REST (R19): files in and out, reports, and who may (R1)."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from devices.models import Device, Import
from tests.devices.conftest import client_of
from tests.devices.factories import CHALLENGE, make_device, make_key, make_server
from tests.devices.transfer.files import csv_file, work

pytestmark = pytest.mark.django_db

IMPORTS, EXPORTS = "/api/v1/imports/", "/api/v1/exports/"
ROWS = [{"name": "new-1", "host": "10.1.2.3"}, {"name": "new-2", "host": "10.1.2.999"}]


def send(api: APIClient, content: bytes, **fields: Any) -> Any:
    file = SimpleUploadedFile("fleet.csv", content)
    return api.post(IMPORTS, {"file": file, **fields}, format="multipart")


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_a_file_is_checked_reported_and_applied(api: APIClient) -> None:
    response = send(api, csv_file(ROWS))
    assert response.status_code == 202, response.content
    address = f"{IMPORTS}{response.json()['id']}/"
    assert (response.json()["state"], response.json()["file_name"]) == ("checking", "fleet.csv")
    work()
    found = api.get(address).json()
    assert (found["state"], found["added"], found["refused"], found["total"]) == ("checked", 1, 1, 2)
    (bad,) = api.get(f"{address}rows/", {"outcome": "refused"}).json()["results"]
    assert (bad["line"], bad["problems"][0]["column"], bad["problems"][0]["value"]) == (
        3,
        "host",
        "10.1.2.999",
    )
    (good,) = api.get(f"{address}rows/", {"outcome": "added"}).json()["results"]
    assert good["changes"] == {"name": [None, "new-1"], "host": [None, "10.1.2.3"]}
    report = body(api.get(f"{address}report.csv")).decode("utf-8-sig")
    assert [row["line"] for row in csv.DictReader(io.StringIO(report))] == ["2", "3"]
    refused = api.post(f"{address}apply/", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "rows_refused")
    started = api.post(f"{address}apply/", {"good_rows_only": True})
    assert started.status_code == 202
    work()
    job = api.get(f"/api/v1/jobs/{started.json()['apply_job']}/").json()
    assert (job["state"], job["kind"], job["done"]) == ("finished", "apply_import", 1)
    assert api.get(address).json()["state"] == "applied"
    assert Device.objects.get().name == "new-1"


def test_a_body_that_waits_on_disk_has_no_name_of_its_own(api: APIClient) -> None:
    content = csv_file([{"name": f"mfp-{n}", "host": "10.1.2.3", "location": "x" * 190} for n in range(6000)])
    assert len(content) > 1 << 20
    response = api.post(IMPORTS, content, content_type="text/csv")
    assert (response.status_code, response.json()["file_name"]) == (202, "")


@pytest.mark.parametrize(
    ("content", "content_type", "query"),
    [
        (csv_file(ROWS[:1]), "text/csv", ""),
        (csv_file(ROWS[:1]), "application/octet-stream", "?format=csv&file_name=x.csv"),
        (
            b"<fleetseal_devices><device><name>new-1</name><host>h</host></device></fleetseal_devices>",
            "application/xml",
            "",
        ),
    ],
)
def test_the_body_may_be_the_file(api: APIClient, content: bytes, content_type: str, query: str) -> None:
    response = api.post(IMPORTS + query, content, content_type=content_type)
    assert response.status_code == 202, response.content
    work()
    assert Import.objects.get().added == 1


@pytest.mark.parametrize(
    ("content", "fields", "field"),
    [
        (b"", {}, "file"),
        (b"nothing,known\r\n", {}, "file"),
        (b"PK\x03\x04" + bytes(99), {"password": "x"}, "file"),
        (csv_file(ROWS), {"format": "ods"}, "format"),
    ],
)
def test_bad_files_are_named_and_keep_nothing(
    api: APIClient, content: bytes, fields: dict[str, str], field: str
) -> None:
    response = send(api, content, **fields)
    assert response.status_code == 400, response.content
    assert set(response.json()["errors"]) == {field}
    assert not Import.objects.exists()


def test_a_form_without_a_file(api: APIClient) -> None:
    assert set(api.post(IMPORTS, {}, format="json").json()["errors"]) == {"file"}
    assert api.post(IMPORTS, [1], format="json").status_code == 400


def test_a_body_that_is_too_large_is_not_read_to_its_end(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.api.transfer.LARGEST_FILE", 100)
    response = api.post(IMPORTS, b"name,host\r\n" + b"x" * 500, content_type="text/csv")
    assert response.status_code == 400
    assert "larger than" in str(response.json()["errors"]["file"])


@pytest.mark.parametrize(
    ("name", "content_type", "holds"),
    [
        ("devices.csv", "text/csv", b"mfp-exported"),
        ("devices.xml", "application/xml", b"<name>mfp-exported</name>"),
        ("status-log.csv", "text/csv", b"certificate_serial_number"),
        ("certificates.zip", "application/zip", b"PK"),
    ],
)
def test_exports_are_for_everyone_and_filtered(
    viewer_api: APIClient, name: str, content_type: str, holds: bytes
) -> None:
    device = make_device(
        make_server(), name="mfp-exported", location="Recife", settings={"challenge_password": CHALLENGE}
    )
    make_key(device)
    other = make_device(name="mfp-other", location="Berlin")
    response = viewer_api.get(EXPORTS + name, {"search": "recife"}, headers={"Accept": "text/html"})
    assert response.status_code == 200
    assert response["Content-Type"].startswith(content_type)
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'
    content = body(response)
    assert holds in content
    assert other.name.encode() not in content
    assert CHALLENGE.encode() not in content
    refused = viewer_api.get(EXPORTS + name, {"serch": "x"})
    assert (refused.status_code, refused["Content-Type"]) == (400, "application/problem+json")
    assert set(refused.json()["errors"]) == {"filter"}
    assert APIClient().get(EXPORTS + name).status_code == 401


def test_r1_secrets_are_for_administrators(api: APIClient, viewer_api: APIClient, operator: User) -> None:
    make_device(make_server(), settings={"challenge_password": CHALLENGE})
    address, password = f"{EXPORTS}devices.zip", "a long enough password"
    for client in (viewer_api, client_of(operator)):
        assert client.post(address, {"password": password}).status_code == 403
    assert set(api.post(address, {"password": "short"}).json()["errors"]) == {"password"}
    response = api.post(address, {"password": password, "format": "xml"})
    assert response.status_code == 200
    content = body(response)
    assert CHALLENGE.encode() not in content
    work_on = send(api, content, password=password)
    assert work_on.status_code == 202
    work()
    assert Import.objects.get().unchanged == 1


def test_r1_viewers_import_nothing_and_operators_device_data(viewer_api: APIClient, operator: User) -> None:
    assert send(viewer_api, csv_file(ROWS)).status_code == 403
    operators = client_of(operator)
    response = send(operators, csv_file(ROWS[:1]))
    assert response.status_code == 202
    assert send(operators, csv_file([{**ROWS[0], "server": "CA"}])).status_code == 403
    work()
    address = f"{IMPORTS}{response.json()['id']}/"
    assert viewer_api.get(address).status_code == 200
    assert viewer_api.post(f"{address}apply/", {}).status_code == 403
    assert operators.post(f"{address}apply/", {}).status_code == 202


def test_imports_are_not_started_as_jobs(api: APIClient) -> None:
    response = api.post("/api/v1/jobs/", {"kind": "apply_import", "filter": {}})
    assert set(response.json()["errors"]) == {"kind"}


def test_rows_cost_the_same_queries_for_few_and_many(api: APIClient, django_assert_num_queries: Any) -> None:
    send(api, csv_file([{"name": f"n{n}", "host": "h"} for n in range(40)]))
    work()
    address = f"{IMPORTS}{Import.objects.get().pk}/rows/"
    with django_assert_num_queries(3):
        assert len(api.get(address, {"page_size": 40}).json()["results"]) == 40
    with django_assert_num_queries(3):
        api.get(address, {"page_size": 2})
