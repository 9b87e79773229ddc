"""The page of the load, and spreading a device group from the form to the job (F1)."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from devices import doorbell, inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.forecast import OfServer
from devices.jobs import run
from devices.models import DeviceGroup, IssuanceRequest, Job, ScepServer
from devices.rules.load import minute_of, summarize
from fleet.dashboard.views.load import SERVERS_PER_PAGE, verdict
from tests.devices.factories import make_server, make_timed_device
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db

PEAK = timezone.now().replace(second=0, microsecond=0) + timedelta(hours=3)


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


@pytest.fixture
def server() -> ScepServer:
    return make_server(name="Office CA", max_requests_per_minute=2)


@pytest.fixture
def group(server: ScepServer) -> DeviceGroup:
    """Seven devices with one start time."""
    group = inventory.create_group(SYSTEM, name="Head office", time_zone="Asia/Tokyo")
    fill(group, server, 7)
    return group


def fill(group: DeviceGroup | None, server: ScepServer, count: int) -> None:
    for _ in range(count):
        device = make_timed_device(server, request_start_at=PEAK, request_interval_days=30)
        inventory.update_device(SYSTEM, device, group=group)


def asked(group: DeviceGroup, **changes: Any) -> dict[str, Any]:
    local = PEAK.astimezone(ZoneInfo(group.time_zone))
    return {"window_start": f"{local:%Y-%m-%dT%H:%M:%S}", "window_hours": "1", **changes}


def spread_of(group: DeviceGroup) -> str:
    return reverse("group-spread", args=[group.pk])


def charts(response: HttpResponseBase) -> dict[str, dict[str, Any]]:
    """What the charts of a page are drawn from, by the id of the element."""
    page, found = Document(response), {}
    for element in page.all("div"):
        if name := element.get("data-load"):
            data = page.source.split(f'<script id="{name}" type="application/json">')[1].split("</script>")[0]
            found[name] = json.loads(data)
    return found


class TestLoad:
    def test_f1_says_whether_it_fits(
        self, viewer_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        page = Document(viewer_client.get(reverse("load")))
        when = f"{timezone.localtime(PEAK):%-d %b %H:%M}"
        assert (
            f"Busiest minute: {when}, 7 requests; the allowance is 2: the last of them is sent 3 minutes late."
            in page.text
        )
        assert "Too much at once" in page.text
        assert spread_of(group) not in page.links, "a viewer spreads nothing"

    def test_f1_charts_of_the_coming_day_and_the_coming_90_days(
        self, viewer_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        found = charts(viewer_client.get(reverse("load")))
        minutes, days = found[f"hours-{server.pk}"], found[f"days-{server.pk}"]
        assert len(minutes["values"]) == 24 * 60
        assert minutes["values"][minute_of(PEAK) - minutes["begin"] // 60] == sum(minutes["values"]) == 7
        assert (minutes["allowance"], days["allowance"]) == (2, 2)
        assert len(days["values"]) == len(days["labels"]) == 90
        assert [count for count in days["values"] if count] == [7, 7, 7]

    def test_the_numbers_are_there_without_the_charts(
        self, viewer_client: Client, group: DeviceGroup
    ) -> None:
        page = Document(viewer_client.get(reverse("load")))
        local = timezone.localtime(PEAK)
        row = [f"{local:%-d %b, %H:00}", "7", f"{local:%H:%M}", "7", "3"]
        assert [part for part in page.all("table")[0].parts if part.strip()][-5:] == row

    def test_an_administrator_is_led_to_the_groups(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        fill(None, server, 2)
        page = Document(administrator_client.get(reverse("load")))
        assert spread_of(group) in page.links
        assert "Head office (7)" in page.text
        assert "in no group (2)" in page.text
        assert spread_of(group) in Document(administrator_client.get(reverse("group-list"))).links

    def test_nothing_yet_says_what_to_do(self, administrator_client: Client, viewer_client: Client) -> None:
        assert reverse("server-add") in Document(administrator_client.get(reverse("load"))).links
        assert reverse("server-add") not in Document(viewer_client.get(reverse("load"))).links
        server = make_server()
        page = Document(administrator_client.get(reverse("load")))
        assert "Switch timers on" in page.text
        assert reverse("server-edit", args=[server.pk]) in page.links, "it has no allowance yet"

    def test_a_page_holds_a_few_servers_and_costs_a_few_queries(self, viewer_client: Client) -> None:
        viewer_client.get(reverse("load"))
        queries = []
        for _ in range(2):
            for _number in range(SERVERS_PER_PAGE):
                fill(
                    inventory.create_group(SYSTEM, name=f"Group {ScepServer.objects.count()}"),
                    make_server(),
                    1,
                )
            with CaptureQueriesContext(connection) as captured:
                page = Document(viewer_client.get(reverse("load")))
            queries.append(len(captured))
            assert len([section for section in page.all("section") if "card" in section.get("class")]) == 8
        assert queries[0] == queries[1]
        assert "?page=2" in page.links


class TestVerdict:
    @pytest.mark.parametrize(
        ("load", "allowance", "words"),
        [
            ({}, 60, "No requests are expected."),
            ({0: 1}, 60, "1 request; the allowance is 60: it fits."),
            ({0: 12}, 60, "12 requests; the allowance is 60: they fit."),
            ({0: 61}, 60, "61 requests; the allowance is 60: the last of them is sent 1 minute late."),
            (
                {0: 1612},
                1000,
                "1,612 requests; the allowance is 1,000: the last of them is sent 1 minute late.",
            ),
            (
                dict.fromkeys(range(100), 61) | {200: 62},
                60,
                "is sent 1 minute late. Most late is the last of 1 Jan 01:00, by 2 minutes.",
            ),
            (
                {0: 12},
                None,
                "12 requests. This server has no allowance; the 60 a minute that are assumed here are",
            ),
            ({0: 612}, None, "so all of them are sent at once; 60 a minute are assumed here."),
        ],
    )
    def test_f1_in_words(self, load: dict[int, int], allowance: int | None, words: str) -> None:
        of = OfServer(ScepServer(max_requests_per_minute=allowance))
        with timezone.override("UTC"):
            assert words in verdict(summarize(load, of.per_minute), of)

    def test_in_portuguese(self) -> None:
        of = OfServer(ScepServer(max_requests_per_minute=60))
        with translation.override("pt-br"):
            assert "612 solicitações; o limite é 60" in verdict(summarize({0: 612}, 60), of)


class TestSpread:
    def test_the_form_begins_at_the_peak_in_the_groups_time_zone(
        self, administrator_client: Client, group: DeviceGroup
    ) -> None:
        page = Document(administrator_client.get(spread_of(group)))
        assert page.control("window_start").get("value") == asked(group)["window_start"]
        assert "Asia/Tokyo" in page.described("window_start")
        assert "disabled" in page.control("only_within_maintenance").attributes
        assert page.posts == {reverse("sign-out"), reverse("set_language")}, "nothing to apply yet"

    def test_f1_a_preview_shows_before_and_after_and_changes_nothing(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        response = administrator_client.get(spread_of(group), asked(group))
        page, found = Document(response), charts(response)
        assert "5 devices move. 2 devices stay where they are." in page.text
        assert max(found[f"before-{server.pk}"]["values"]) == 7
        assert max(found[f"after-{server.pk}"]["values"]) == 2
        assert found[f"after-{server.pk}"]["zone"] == "Asia/Tokyo"
        assert set(IssuanceRequest.objects.values_list("request_at", flat=True)) == {PEAK}
        assert not Job.objects.exists()

    def test_f1_what_was_shown_is_applied_and_its_progress_followed(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        page = Document(administrator_client.get(spread_of(group), asked(group)))
        names = ("window_start", "window_hours", "digest")
        hidden = {
            element.get("name"): element.get("value")
            for element in page.all("input", type="hidden")
            if element.get("name") in names
        }
        assert set(hidden) == set(names)
        response = administrator_client.post(spread_of(group), hidden)
        job = Job.objects.get()
        assert response["Location"] == reverse("job-detail", args=[job.pk])
        for job_id, lease in run.claim_due(timezone.now()):
            run.advance(job_id, lease)
        job.refresh_from_db()
        assert (job.done, job.refused) == (5, 0)
        assert "they fit" in Document(administrator_client.get(reverse("load"))).text
        again = Document(administrator_client.get(spread_of(group), asked(group)))
        assert "Nobody has to move" in again.text

    def test_f1_another_proposal_than_the_one_shown_is_not_applied(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        response = administrator_client.post(spread_of(group), asked(group, digest="0" * 64))
        assert response.status_code == 409
        assert "Nothing was applied; this is the new proposal." in Document(response).text
        assert not Job.objects.exists()

    def test_f1_too_small_a_window_says_what_would_do(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        fill(group, server, 123)
        page = Document(administrator_client.get(spread_of(group), asked(group)))
        assert "10 devices do not fit into the window and keep their time." in page.text
        assert "A window of 2 hours would do, or an allowance of 3 a minute." in page.text

    def test_only_within_the_maintenance_window(
        self, administrator_client: Client, group: DeviceGroup, server: ScepServer
    ) -> None:
        inventory.update_group(SYSTEM, group, maintenance_start=time(22), maintenance_end=time(4))
        page = Document(
            administrator_client.get(
                spread_of(group), asked(group, window_hours="24", only_within_maintenance="on")
            )
        )
        assert "22:00 to 04:00 every day." in page.text
        assert "5 devices move." in page.text
        assert [e.get("value") for e in page.all("input", name="only_within_maintenance", type="hidden")] == [
            "on"
        ]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"window_start": ""}, "window_start"),
            ({"window_start": "2020-01-01T00:00:00"}, "window_start"),
            ({"window_hours": "0"}, "window_hours"),
            ({"window_hours": "337"}, "window_hours"),
        ],
    )
    def test_a_window_that_makes_no_sense_says_so_at_its_field(
        self, administrator_client: Client, group: DeviceGroup, changes: dict[str, str], field: str
    ) -> None:
        for send in (administrator_client.get, administrator_client.post):
            response = send(spread_of(group), asked(group, **changes))
            assert response.status_code == 422
            page = Document(response)
            (error,) = [e for e in page.elements if e.get("id") == f"id_{field}_error"]
            assert error.text
        assert not Job.objects.exists()

    def test_a_group_without_requests_near_the_window(self, administrator_client: Client) -> None:
        empty = inventory.create_group(SYSTEM, name="Empty")
        page = Document(administrator_client.get(spread_of(empty), asked(empty)))
        assert "No request of this group is set for this window" in page.text

    def test_a_certificate_that_would_expire_is_warned_of(
        self, administrator_client: Client, group: DeviceGroup
    ) -> None:
        group.devices.update(expires_at=PEAK + timedelta(minutes=1))
        page = Document(administrator_client.get(spread_of(group), asked(group)))
        assert "would expire before their new time." in page.text

    def test_a_timer_that_was_switched_off_meanwhile_changes_the_proposal(
        self, administrator_client: Client, group: DeviceGroup
    ) -> None:
        page = Document(administrator_client.get(spread_of(group), asked(group)))
        (digest,) = page.all("input", name="digest")
        last = group.devices.order_by("pk").last()
        assert last is not None
        requests.save_settings(SYSTEM, last, timer_enabled=False)
        response = administrator_client.post(spread_of(group), asked(group, digest=digest.get("value")))
        assert response.status_code == 409


def test_no_id_stands_twice(administrator_client: Client, group: DeviceGroup) -> None:
    for address, query in ((reverse("load"), {}), (spread_of(group), asked(group))):
        page = Document(administrator_client.get(address, query))
        ids = [element.get("id") for element in page.elements if element.get("id")]
        assert len(ids) == len(set(ids)), address


def test_times_of_the_preview_are_those_of_the_group(
    administrator_client: Client, group: DeviceGroup
) -> None:
    page = Document(administrator_client.get(spread_of(group), asked(group)))
    local = datetime.fromisoformat(asked(group)["window_start"])
    assert f"Busiest minute: {local:%-d %b %H:%M}, 7 requests" in page.text
