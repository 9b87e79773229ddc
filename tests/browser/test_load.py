"""The load and its spreading in a real Chromium: charts, and the way from the menu to the job."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from devices import inventory
from devices.audit import SYSTEM
from devices.models import DeviceGroup, Job
from tests.browser.conftest import Visit
from tests.browser.test_pages import overflow
from tests.devices.factories import make_server, make_timed_device

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def group(transactional_db: None) -> DeviceGroup:
    """Seven devices that ask in one minute; the allowance is two."""
    server = make_server(name="Office CA", max_requests_per_minute=2)
    group = inventory.create_group(SYSTEM, name="Head office", time_zone="Asia/Tokyo")
    peak = timezone.now().replace(second=0) + timedelta(hours=5)
    for _ in range(7):
        device = make_timed_device(server, request_start_at=peak, request_interval_days=30)
        inventory.update_device(SYSTEM, device, group=group)
    return group


def colored(chart: Locator) -> dict[str, int]:
    """How many pixels of a chart are bluish, and how many reddish: the requests and the allowance."""
    counts: dict[str, int] = chart.locator("canvas").evaluate(
        """(canvas) => {
        const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const found = { blue: 0, red: 0 };
        for (let i = 0; i < d.length; i += 4) {
          if (d[i + 3] < 100) continue;
          if (d[i + 2] - d[i] > 60) found.blue++;
          if (d[i] - d[i + 2] > 60) found.red++;
        }
        return found; }"""
    )
    return counts


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_charts_show_requests_and_allowance_in_both_themes(
    admin: Visit, page: Page, group: DeviceGroup, theme: str
) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page = admin("load")
    charts = page.locator("[data-load]")
    expect(charts.locator("canvas")).to_have_count(2)
    for index in range(2):
        counts = colored(charts.nth(index))
        assert counts["blue"] > 50
        assert counts["red"] > 50


def test_f1_from_the_menu_to_the_job(admin: Visit, group: DeviceGroup) -> None:
    page = admin("start")
    page.get_by_role("link", name="Load", exact=True).click()
    page.get_by_role("link", name="Spread Head office").click()
    page.get_by_label("Hours").fill("2")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("5 devices move. 2 devices stay where they are.")).to_be_visible()
    expect(page.locator("[data-load] canvas")).to_have_count(2)
    page.get_by_text("As a table").last.click()
    expect(page.get_by_role("columnheader", name="Minutes late").last).to_be_visible()
    page.get_by_role("button", name="Apply these start times").click()
    expect(page.get_by_text("The new start times are on their way to the devices.")).to_be_visible()
    expect(page.get_by_role("heading", name="Spread", level=1)).to_be_visible()
    assert Job.objects.get().total == 5


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_no_page_is_wider_than_its_window(admin: Visit, page: Page, group: DeviceGroup, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    query = f"?window_start={timezone.now() + timedelta(hours=15):%Y-%m-%dT%H:%M:%S}&window_hours=48"
    for name, arguments, asked in (
        ("load", [], ""),
        ("group-list", [], ""),
        ("group-spread", [group.pk], query),
    ):
        admin(name, *arguments, query=asked)
        assert overflow(page) == 0, name
