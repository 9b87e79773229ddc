"""Actions over a selection of devices, and the page on which their progress is watched (R7)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.jobs import run, selection, service
from devices.models import Device, IssuanceRequest, Job
from devices.models.choices import JobKindChoices
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

FORM = {"key_name": "K1", "signature_algorithm": "SHA-256", "key_length": "2048", "key_use": "none"}


@pytest.fixture
def three() -> list[Device]:
    server = make_server()
    return [make_device(server, location="Recife" if number else "Berlin") for number in range(3)]


def work() -> None:
    for job_id, lease in run.claim_due(timezone.now()):
        run.advance(job_id, lease)


def test_the_list_offers_boxes_and_what_to_do(administrator_client: Client, three: list[Device]) -> None:
    page = Document(administrator_client.get(reverse("device-list"), {"search": "recife"}))
    boxes = page.all("input", name="device")
    assert {box.get("value") for box in boxes} == {str(device.pk) for device in three[1:]}
    assert all(box.get("aria-label") for box in boxes)
    assert page.control("filter").get("value") == "search=recife"
    assert "All 2 devices that match" in page.text
    assert reverse("manual-requests") in {button.get("formaction") for button in page.all("button")}


def test_who_may_do_nothing_to_many_has_nothing_to_tick(viewer_client: Client, three: list[Device]) -> None:
    page = Document(viewer_client.get(reverse("device-list")))
    assert not page.all("input", name="device")


@pytest.mark.parametrize("choose_all", [True, False])
def test_r7_from_the_list_to_the_results(
    administrator_client: Client, three: list[Device], choose_all: bool
) -> None:
    query = "all=1&filter=search%3Drecife" if choose_all else f"device={three[1].pk}&device={three[2].pk}"
    address = f"{reverse('manual-requests')}?{query}"
    form = Document(administrator_client.get(address))
    assert "2 devices" in form.text
    assert not form.all("input", name="common_name"), "each takes its own address"
    response = administrator_client.post(address, {**FORM, "challenge_password": CHALLENGE})
    job = Job.objects.get()
    assert response["Location"] == reverse("job-detail", args=[job.pk])
    work()
    page = Document(administrator_client.get(response["Location"]))
    assert "2 done, 0 refused, of 2 devices" in page.text
    assert CHALLENGE not in page.source
    assert set(IssuanceRequest.objects.values_list("device", flat=True)) == {d.pk for d in three[1:]}


def test_the_form_says_whose_timers_are_on_and_the_job_says_who_was_refused(
    administrator_client: Client, three: list[Device]
) -> None:
    requests.save_settings(SYSTEM, three[0], timer_enabled=True, request_start_at=just_passed())
    address = f"{reverse('manual-requests')}?all=1&filter="
    assert "The timer of 1 of them is on" in Document(administrator_client.get(address)).text
    where = administrator_client.post(address, FORM)["Location"]
    work()
    page = Document(administrator_client.get(where, {"state": "refused"}))
    assert "2 done, 1 refused, of 3 devices" in page.text
    assert "A manual request cannot be sent while" in page.text
    assert three[0].name in page.text
    assert three[1].name not in page.text


def test_bad_input_starts_nothing_and_stands_at_its_field(
    administrator_client: Client, three: list[Device]
) -> None:
    address = f"{reverse('manual-requests')}?all=1&filter="
    response = administrator_client.post(address, {**FORM, "key_use": "ipsec"})
    assert response.status_code == 422
    assert "Choose the IPSec destination" in Document(response).described("ipsec_destination")
    assert not Job.objects.exists()


@pytest.mark.parametrize("query", ["", "device=x", "device=987654", "all=1&filter=status%3Dsideways"])
def test_nothing_selected_leads_back(administrator_client: Client, query: str) -> None:
    response = administrator_client.get(f"{reverse('manual-requests')}?{query}")
    assert response.status_code == 400
    assert reverse("device-list") in Document(response).links


def test_canceling(administrator_client: Client, fleet: dict[str, Any]) -> None:
    job = fleet["job"]
    address = reverse("job-cancel", args=[job.pk])
    assert "left alone" in Document(administrator_client.get(address)).text
    assert administrator_client.post(address)["Location"] == reverse("job-detail", args=[job.pk])
    job.refresh_from_db()
    assert job.state == "canceled"
    again = administrator_client.post(address)
    assert again.status_code == 409
    assert "has ended already" in Document(again).text


def test_canceling_says_what_was_not_listed_yet(
    administrator_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "PART", 2)
    devices = [make_device() for _ in range(5)]
    job = service.start(SYSTEM, JobKindChoices.RESTART, devices, {})
    administrator_client.post(reverse("job-cancel", args=[job.pk]))
    shown = Document(administrator_client.get(reverse("job-detail", args=[job.pk]))).text
    assert "3 devices were not listed yet" in shown


def test_an_ended_job_asks_for_nothing_more(administrator_client: Client, fleet: dict[str, Any]) -> None:
    address = reverse("job-detail", args=[fleet["job"].pk])
    (running,) = [e for e in Document(administrator_client.get(address)).elements if e.get("id") == "job"]
    assert running.get("hx-get")
    work()
    (ended,) = [e for e in Document(administrator_client.get(address)).elements if e.get("id") == "job"]
    assert not ended.get("hx-get")


def test_a_job_costs_the_same_queries_for_few_and_many(administrator_client: Client) -> None:
    server = make_server()
    made = [make_device(server) for _ in range(30)]
    queries = []
    for devices in (made[:3], made):
        job = service.start(SYSTEM, JobKindChoices.MANUAL_REQUEST, devices, {})
        address = reverse("job-detail", args=[job.pk])
        administrator_client.get(address)
        with CaptureQueriesContext(connection) as captured:
            administrator_client.get(address)
        queries.append(len(captured))
    assert queries[0] == queries[1]
