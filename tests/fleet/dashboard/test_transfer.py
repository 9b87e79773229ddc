"""The pages that import and export files (R19)."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from devices.models import Device, Import, Job
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device
from tests.devices.transfer.files import csv_file, work
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db


def hand_in(client: Client, content: bytes, **fields: str) -> Any:
    return client.post(reverse("import-add"), {"file": SimpleUploadedFile("fleet.csv", content), **fields})


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def page_of(client: Client, response: Any, **query: str) -> Document:
    return Document(client.get(response["Location"], query))


ROWS = [
    {"name": "new-1", "host": "10.1.2.3", "location": "Recife"},
    {"name": "new-2", "host": "10.1.2.999", "location": "Berlin"},
]


def test_from_the_list_to_the_result(administrator_client: Client) -> None:
    changed = make_device(location="Berlin")
    links = Document(administrator_client.get(reverse("device-list"))).links
    assert {reverse("import-add"), reverse("export")} <= links
    rows = [*ROWS, {"name": changed.name, "host": changed.host, "location": "Tokyo"}]
    response = hand_in(administrator_client, csv_file(rows))
    waiting = page_of(administrator_client, response)
    assert "Being checked" in waiting.text
    assert [element for element in waiting.elements if element.get("data-refresh-seconds")]
    work()
    page = page_of(administrator_client, response)
    for words in (
        "3 of 3 rows checked",
        "Added: 1",
        "Changed: 1",
        "Refused: 1",
        "Berlin → Tokyo",
        "10.1.2.999",
    ):
        assert words in page.text
    assert not [element for element in page.elements if element.get("data-refresh-seconds")]
    refused = page_of(administrator_client, response, outcome="refused")
    assert "new-2" in refused.text
    assert "new-1" not in refused.text
    radios = [element for element in page.elements if element.get("name") == "good_rows_only"]
    assert [("disabled" in radio.attributes, "checked" in radio.attributes) for radio in radios] == [
        (True, False),
        (False, True),
    ]
    apply = reverse("import-apply", args=[Import.objects.get().pk])
    as_a_whole = administrator_client.post(apply, {"good_rows_only": ""})
    assert as_a_whole.status_code == 409
    assert "1 row is refused" in Document(as_a_whole).text
    started = administrator_client.post(apply, {"good_rows_only": "1"})
    assert started["Location"] == reverse("job-detail", args=[Job.objects.latest("pk").pk])
    work()
    assert "fleet.csv" in Document(administrator_client.get(reverse("job-list"))).text
    job = Document(administrator_client.get(started["Location"]))
    assert "2 done, 0 refused" in job.text
    assert response["Location"] in job.links
    done = page_of(administrator_client, response)
    assert "2 applied, 0 refused, of 2 rows" in done.text
    made = Device.objects.get(name="new-1")
    assert reverse("device-detail", args=[made.pk]) in done.links
    assert apply not in done.posts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"a,b\r\n", "names of the columns"),
        (b"PK\x03\x04" + bytes(99), "damaged"),
    ],
)
def test_a_file_that_is_none_is_refused_at_its_field(
    administrator_client: Client, content: bytes, words: str
) -> None:
    response = hand_in(administrator_client, content)
    assert response.status_code == 422
    assert words in Document(response).text
    assert not Import.objects.exists()


def test_a_file_that_turns_out_unusable_says_so(administrator_client: Client) -> None:
    response = hand_in(administrator_client, b"<fleetseal_devices><device></fleetseal_devices>")
    work()
    page = page_of(administrator_client, response)
    assert "Cannot be used" in page.text
    assert "mismatched tag" in page.text
    assert "Nothing was changed" in page.text


def test_r3_locked_rows_offer_the_way_on(administrator_client: Client) -> None:
    device, other = make_timed_device(make_server()), make_server(name="Other CA")
    response = hand_in(administrator_client, csv_file([{"name": device.name, "server": other.name}]))
    work()
    page = page_of(administrator_client, response)
    assert "1 row changes the SCEP server of a device whose timer is on" in page.text
    apply = reverse("import-apply", args=[Import.objects.get().pk])
    assert administrator_client.post(apply, {"suspend_timers": "on"}).status_code == 302
    work()
    device.scep_settings.refresh_from_db()
    assert device.scep_settings.server == other


def test_an_operator_may_not_apply_settings(administrator_client: Client, operator_client: Client) -> None:
    response = hand_in(administrator_client, csv_file([{**ROWS[0], "key_length": "3072"}]))
    work()
    apply = reverse("import-apply", args=[Import.objects.get().pk])
    assert apply not in page_of(operator_client, response).posts
    assert operator_client.post(apply).status_code == 403
    assert (
        "files with SCEP settings are for administrators"
        in Document(operator_client.get(reverse("import-add"))).text
    )


def test_exports_take_the_lists_filter(viewer_client: Client) -> None:
    make_device(name="mfp-recife", location="Recife")
    make_device(name="mfp-berlin", location="Berlin")
    listed = Document(viewer_client.get(reverse("device-list"), {"search": "recife"}))
    address = f"{reverse('export')}?search=recife"
    assert address in listed.links
    page = Document(viewer_client.get(address))
    assert "1 device." in page.text
    download = f"{reverse('export-file', args=['devices.csv'])}?search=recife"
    assert download in page.links
    content = body(viewer_client.get(download))
    assert b"mfp-recife" in content
    assert b"mfp-berlin" not in content
    for name in ("devices.xml", "status-log.csv", "certificates.zip"):
        assert viewer_client.get(reverse("export-file", args=[name])).status_code == 200
    assert viewer_client.get(reverse("export-file", args=["secrets.csv"])).status_code == 404
    assert viewer_client.get(reverse("import-template", args=["ods"])).status_code == 404
    assert not page.all("input", name="password")


def test_secrets_leave_encrypted_and_come_back(administrator_client: Client) -> None:
    make_device(make_server(), settings={"challenge_password": CHALLENGE})
    address, password = reverse("export-secrets"), "a long enough password"
    assert administrator_client.post(address, {"format": "csv", "password": "short"}).status_code == 422
    response = administrator_client.post(address, {"format": "csv", "password": password})
    content = body(response)
    assert CHALLENGE.encode() not in content
    wrong = hand_in(administrator_client, content, password="another password")
    assert "does not open" in Document(wrong).text
    again = hand_in(administrator_client, content, password=password)
    work()
    assert "Unchanged: 1" in page_of(administrator_client, again).text


def test_the_page_costs_the_same_queries_for_few_and_many(administrator_client: Client) -> None:
    costs = []
    for count in (3, 40):
        rows = [{"name": f"n{n}", "host": "h"} for n in range(count)]
        response = hand_in(administrator_client, csv_file(rows))
        work()
        with CaptureQueriesContext(connection) as captured:
            administrator_client.get(response["Location"])
        costs.append(len(captured))
    assert costs[0] == costs[1]
