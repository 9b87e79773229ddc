"""The load forecast and the spread over REST (F1)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from devices import doorbell, inventory
from devices.audit import SYSTEM
from devices.enrollment import requests
from devices.models import Device, DeviceGroup, IssuanceRequest, Job, ScepServer
from tests.conftest import member_of
from tests.devices.api.test_jobs import JOBS
from tests.devices.conftest import client_of
from tests.devices.factories import make_server, make_timed_device
from tests.devices.transfer.files import work

pytestmark = pytest.mark.django_db

FORECAST = "/api/v1/forecast/"
PEAK = timezone.now().replace(second=0, microsecond=0) + timedelta(hours=3)


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


@pytest.fixture
def server() -> ScepServer:
    return make_server(max_requests_per_minute=2)


@pytest.fixture
def group(server: ScepServer) -> DeviceGroup:
    """Seven devices with one start time and a period of 30 days."""
    group = inventory.create_group(SYSTEM, name="Head office")
    for _ in range(7):
        device = make_timed_device(server, request_start_at=PEAK, request_interval_days=30)
        inventory.update_device(SYSTEM, device, group=group)
    return group


def body(**changes: Any) -> dict[str, Any]:
    return {"window_start": PEAK.isoformat(), "window_hours": 1, **changes}


def spread_of(group: DeviceGroup) -> str:
    return f"/api/v1/device-groups/{group.pk}/spread/"


class TestForecast:
    def test_f1_by_the_minute(self, viewer_api: APIClient, group: DeviceGroup, server: ScepServer) -> None:
        make_server()
        answer = viewer_api.get(FORECAST, {"server": server.pk, "hours": 5}).json()
        (one,) = answer["servers"]
        assert (one["server"], one["allowance"], one["allowance_is_assumed"]) == (server.pk, 2, False)
        minute = {"at": f"{PEAK:%Y-%m-%dT%H:%M:%SZ}", "requests": 7, "minutes_late": 3}
        assert one["busiest"] == one["latest"] == minute
        assert one["minutes"] == [minute]
        assert (one["requests"], one["minutes_over"]) == (7, 1)
        assert "days" not in one

    def test_f1_by_the_day(self, viewer_api: APIClient, group: DeviceGroup) -> None:
        (one,) = viewer_api.get(FORECAST, {"days": 90}).json()["servers"]
        assert len(one["days"]) == 90
        busy = [day for day in one["days"] if day["requests"]]
        assert [day["requests"] for day in busy] == [7, 7, 7]
        assert busy[0]["busiest"]["requests"] == 7
        assert busy[0]["date"] == f"{PEAK:%Y-%m-%d}"
        assert one["days"][-1]["busiest"] is None
        assert "minutes" not in one

    def test_every_server_by_default_and_24_hours(self, viewer_api: APIClient, group: DeviceGroup) -> None:
        make_server()
        answer = viewer_api.get(FORECAST).json()
        assert [one["requests"] for one in answer["servers"]] == [7, 0]
        assert answer["servers"][1]["busiest"] is None
        assert answer["servers"][1]["allowance_is_assumed"] is True
        length = datetime.fromisoformat(answer["ends_at"]) - datetime.fromisoformat(answer["begins_at"])
        assert timedelta(hours=24) <= length < timedelta(hours=24, minutes=1)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"hours": 0}, "hours"),
            ({"hours": 337}, "hours"),
            ({"days": 367}, "days"),
            ({"days": "soon"}, "days"),
            ({"hours": 5, "days": 5}, "days"),
            ({"server": 987654}, "server"),
            ({"minutes": 5}, "minutes"),
        ],
    )
    def test_bad_input_names_its_field(
        self, viewer_api: APIClient, query: dict[str, Any], field: str
    ) -> None:
        response = viewer_api.get(FORECAST, query)
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {field}

    def test_as_many_queries_for_many_servers(self, viewer_api: APIClient, group: DeviceGroup) -> None:
        queries = []
        for _ in range(2):
            with CaptureQueriesContext(connection) as captured:
                viewer_api.get(FORECAST, {"days": 30})
            queries.append(len(captured))
            for _number in range(5):
                make_timed_device(make_server(), request_start_at=PEAK)
        assert queries[0] == queries[1]


class TestSpread:
    def test_f1_a_proposal_changes_nothing(
        self, api: APIClient, group: DeviceGroup, server: ScepServer
    ) -> None:
        response = api.post(spread_of(group), body())
        assert response.status_code == 200
        answer = response.json()
        assert (answer["moved"], answer["stay"], answer["does_not_fit"], answer["job"]) == (5, 2, 0, None)
        (one,) = answer["servers"]
        assert one["before"]["busiest"]["requests"] == 7
        assert one["after"]["busiest"]["requests"] == 2
        assert (one["before"]["minutes_over"], one["after"]["minutes_over"]) == (1, 0)
        assert not Job.objects.exists()
        assert set(IssuanceRequest.objects.values_list("request_at", flat=True)) == {PEAK}

    def test_f1_applied_by_a_job(self, api: APIClient, group: DeviceGroup, server: ScepServer) -> None:
        proposal = api.post(spread_of(group), body()).json()
        response = api.post(spread_of(group), body(apply=True, digest=proposal["digest"]))
        assert response.status_code == 202
        job = response.json()["job"]
        assert (job["kind"], job["total"], job["parameters"]["group"]) == ("spread", 5, "Head office")
        work()
        assert api.get(f"{JOBS}{job['id']}/").json()["done"] == 5
        (one,) = api.get(FORECAST, {"server": server.pk}).json()["servers"]
        assert one["minutes_over"] == 0
        again = api.post(spread_of(group), body(apply=True))
        assert (again.status_code, again.json()["moved"], again.json()["job"]) == (200, 0, None)

    def test_f1_another_proposal_than_the_one_looked_at_is_refused(
        self, api: APIClient, group: DeviceGroup
    ) -> None:
        digest = api.post(spread_of(group), body()).json()["digest"]
        last = Device.objects.order_by("pk").last()
        assert last is not None
        requests.save_settings(SYSTEM, last, request_start_at=PEAK + timedelta(minutes=9))
        response = api.post(spread_of(group), body(apply=True, digest=digest))
        assert (response.status_code, response.json()["code"]) == (409, "proposal_changed")
        assert not Job.objects.exists()

    def test_f1_too_small_a_window_says_what_would_do(
        self, api: APIClient, group: DeviceGroup, server: ScepServer
    ) -> None:
        inventory.update_server(SYSTEM, server, max_requests_per_minute=1)
        for _ in range(60):
            device = make_timed_device(server, request_start_at=PEAK)
            inventory.update_device(SYSTEM, device, group=group)
        answer = api.post(spread_of(group), body()).json()
        assert answer["does_not_fit"] == 7
        assert (answer["servers"][0]["enough_hours"], answer["servers"][0]["enough_allowance"]) == (2, 2)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"window_start": "yesterday"}, "window_start"),
            ({"window_start": "2020-01-01T00:00:00Z"}, "window_start"),
            ({"window_hours": 0}, "window_hours"),
            ({"window_hours": 337}, "window_hours"),
            ({"only_within_maintenance": True}, "only_within_maintenance"),
            ({"digest": "x"}, "digest"),
            ({"aply": True}, "aply"),
        ],
    )
    def test_bad_input_names_its_field_and_starts_nothing(
        self, api: APIClient, group: DeviceGroup, changes: dict[str, Any], field: str
    ) -> None:
        response = api.post(spread_of(group), body(**{"apply": True, **changes}))
        assert response.status_code == 400, response.content
        assert set(response.json()["errors"]) == {field}
        assert not Job.objects.exists()

    def test_r1_only_administrators(self, viewer_api: APIClient, group: DeviceGroup) -> None:
        assert viewer_api.post(spread_of(group), body()).status_code == 403
        assert client_of(member_of("Operator")).post(spread_of(group), body(apply=True)).status_code == 403
        assert APIClient().post(spread_of(group), body()).status_code == 401
        assert not Job.objects.exists()

    def test_no_such_group(self, api: APIClient) -> None:
        assert api.post("/api/v1/device-groups/987654/spread/", body()).status_code == 404

    def test_the_jobs_resource_starts_no_spread(self, api: APIClient, group: DeviceGroup) -> None:
        response = api.post(JOBS, {"kind": "spread", "filter": {}})
        assert response.status_code == 400
        assert set(response.json()["errors"]) == {"kind"}
