"""Templates in a real Chromium: a field shows itself with its box, and the way from the list to the job."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from devices import templates
from devices.audit import SYSTEM
from devices.models import Job, SettingsTemplate
from tests.browser.conftest import Visit
from tests.browser.test_pages import overflow
from tests.devices.factories import make_device, make_server, make_timed_device

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_what_is_ticked_is_filled_in_and_set(admin: Visit) -> None:
    make_server(name="Office CA")
    page = admin("template-add")
    page.get_by_label("Name", exact=True).fill("Office")
    server = page.get_by_role("combobox", name="SCEP server")
    expect(server).to_be_hidden()
    page.get_by_role("checkbox", name="Set SCEP server").check()
    server.select_option("Office CA")
    polls = page.get_by_role("spinbutton", name="Number of polls")
    page.get_by_role("checkbox", name="Set Number of polls").check()
    polls.fill("101")
    page.get_by_role("checkbox", name="Set Number of polls").uncheck()
    expect(polls).to_be_hidden()  # and what was typed there is not looked at
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The template was added.")).to_be_visible()
    template = SettingsTemplate.objects.get()
    assert template.values == {"server": template.server_id}


def test_from_the_list_over_the_preview_to_the_job(admin: Visit) -> None:
    old, new = make_server(name="Old CA"), make_server(name="New CA")
    make_device(old, name="alpha")
    make_timed_device(old)
    make_device(new, name="gamma")
    templates.create(SYSTEM, name="To the new CA", settings={"server": new})
    page = admin("device-list")
    page.get_by_label("All 3 devices that match").check()
    page.get_by_role("button", name="Apply a template").click()
    page.get_by_label("Template", exact=True).select_option("To the new CA")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("row", name="alpha")).to_contain_text("Old CA →")
    page.get_by_role("link", name="Refused 1").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_label("Suspend timers").check()
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Change 2 devices").click()
    expect(page.get_by_role("heading", name="Apply a template")).to_be_visible()
    assert Job.objects.get().parameters["suspend_timers"] is True


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_no_page_is_wider_than_its_window(admin: Visit, width: int) -> None:
    old, new = make_server(name="Old CA"), make_server(name=f"CA-{'x' * 60}")
    make_device(old, name=f"mfp-{'y' * 60}")
    made = templates.create(SYSTEM, name=f"T-{'z' * 60}", settings={"server": new, "key_use": "tls"})
    query = f"?all=1&filter=&template={made.pk}"
    for name, arguments, search in (
        ("template-list", (), ""),
        ("template-edit", (made.pk,), ""),
        ("template-apply", (), query),
    ):
        page = admin(name, *arguments, query=search)
        page.set_viewport_size({"width": width, "height": 800})
        assert overflow(page) == 0, name
