"""The pages in a real Chromium: what the server's tests cannot see."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from devices.audit import SYSTEM
from devices.models import Device, IssuanceRequest, Restart, ScepSettings
from devices.webhooks import service as webhooks
from tests.browser.conftest import Visit
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device
from tests.fleet.dashboard.conftest import make_key, make_line

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def look_again(page: Page) -> None:
    """What the browser says when a window comes to the front: parts that update themselves do so now."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def with_history(**fields: Any) -> Device:
    """A device with an error in its log and a certificate."""
    made = make_device(make_server(), **fields)
    device = Device.objects.select_related("scep_settings__server").get(pk=made.pk)
    make_line(device, 1, explanation="Nobody answered at 10.1.1.1.")
    make_key(device)
    return device


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


class TestStart:
    def test_the_overview_updates_itself_and_draws_the_chart(self, admin: Visit) -> None:
        device = with_history(name="first")
        page = admin("start")
        errors = page.locator(f'a[href="{reverse("device-list")}?status=error"]')
        expect(errors).to_contain_text("1")
        expect(page.locator("#chart canvas")).to_be_visible()
        other = make_device(make_server())
        make_line(Device.objects.select_related("scep_settings__server").get(pk=other.pk), 1)
        # nobody does anything: the page asks by itself, every five seconds
        expect(errors).to_contain_text("2")
        expect(page.locator("#chart canvas")).to_have_count(1)
        page.get_by_role("link", name="Communication Error (TOP ERROR)").click()
        expect(page.get_by_role("link", name=device.name)).to_be_visible()
        assert "details=Communication" in page.url

    def test_the_chart_has_the_colors_of_the_theme(self, admin: Visit) -> None:
        with_history()
        page = admin("start")

        def green() -> int:
            """How many pixels of the chart are neither transparent nor gray: bars in their color."""
            count: int = page.evaluate(
                """() => { const c = document.querySelector("#chart canvas");
                const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; let n = 0;
                for (let i = 0; i < d.length; i += 4)
                  if (d[i + 3] > 200 && Math.abs(d[i] - d[i + 1]) > 60) n++;
                return n; }"""
            )
            return count

        before = green()
        assert before > 100
        page.get_by_role("button", name="Light or dark").click()
        assert green() > 100

    def test_an_update_takes_neither_the_focus_nor_an_open_table_away(self, admin: Visit) -> None:
        with_history(name="kept")
        page = admin("start")
        page.get_by_text("As a table").click()
        link = page.locator("section", has_text="Latest events").get_by_role("link", name="kept")
        link.focus()
        with page.expect_response("**/overview/"):
            look_again(page)
        expect(link).to_be_focused()
        expect(page.locator("#chart-table table")).to_be_visible()

    def test_an_empty_fleet_turns_into_the_overview_by_itself(self, admin: Visit) -> None:
        page = admin("start")
        expect(page.get_by_text("Three steps to the first certificate:")).to_be_visible()
        with_history()
        look_again(page)
        expect(page.locator("#chart canvas")).to_be_visible()


class TestDeviceList:
    def test_typing_narrows_the_list_and_going_back_restores_it(self, admin: Visit) -> None:
        for name in ("alpha", "beta", "gamma"):
            make_device(name=name)
        page = admin("device-list")
        page.evaluate("window.sameWindow = true")
        page.get_by_label("Search").press_sequentially("bet")
        expect(page.get_by_role("link", name="alpha")).to_have_count(0)
        expect(page.get_by_role("link", name="beta")).to_be_visible()
        # where the keys come slowly, the list was asked for on the way there too
        expect(page).to_have_url(re.compile(r"\?search=bet(&|$)"))
        assert page.evaluate("window.sameWindow"), "the page was not loaded anew"
        expect(page.locator("#announcement")).to_have_text("1 to 1 of 1")
        page.get_by_role("link", name="beta").click()
        expect(page.get_by_role("heading", name="beta", level=1)).to_be_visible()
        page.go_back()
        expect(page.get_by_role("heading", name="Devices", level=1)).to_be_visible()
        expect(page.get_by_role("link", name="beta")).to_be_visible()
        expect(page.get_by_role("link", name="alpha")).to_have_count(0)

    def test_going_back_within_the_list_brings_the_whole_page(self, admin: Visit) -> None:
        make_device(name="alpha")
        page = admin("device-list")
        page.get_by_label("Status").select_option("error")
        expect(page.locator("#devices").get_by_text("No device matches.")).to_be_visible()
        page.go_back()
        expect(page.get_by_role("link", name="alpha")).to_be_visible()
        expect(page.get_by_role("heading", name="Devices", level=1)).to_be_visible()

    def test_a_column_sorts_both_ways(self, admin: Visit) -> None:
        make_device(name="a", host="10.0.0.2")
        make_device(name="b", host="10.0.0.1")
        page = admin("device-list")
        for state, expected in (("ascending", ["b", "a"]), ("descending", ["a", "b"])):
            page.get_by_role("columnheader", name="Address").get_by_role("link").click()
            expect(page.get_by_role("columnheader", name="Address")).to_have_attribute("aria-sort", state)
            expect(page.locator("tbody th")).to_have_text(expected)


class TestForms:
    def test_a_manual_request_goes_out_and_shows_in_the_log(self, admin: Visit) -> None:
        device = make_device(make_server(), name="mfp-1", host="10.20.30.40")
        page = admin("device-detail", device.pk)
        page.get_by_role("link", name="Send Request").click()
        page.get_by_label("Key Name").fill("Web")
        page.get_by_label("Key Length (bit)").select_option("1024 (legacy)")
        page.get_by_label("Challenge Password").fill(CHALLENGE)
        page.get_by_label("Key Use Location").select_option("TLS")
        page.get_by_role("button", name="Send Request").click()
        expect(page.get_by_role("status").get_by_text("The request was sent on its way.")).to_be_visible()
        log = page.locator("section", has_text="Certificate Issuance Request Status")
        expect(log.get_by_text("To Be Processed")).to_be_visible()
        request = IssuanceRequest.objects.get()
        assert (request.key_name, request.key_length, request.key_use) == ("Web", 1024, "tls")
        assert request.reveal_challenge_password() == CHALLENGE
        assert not ScepSettings.objects.get(device=device).has_challenge_password, "R8: not kept"

    def test_the_timer_is_switched_on_with_the_keyboard_alone(self, admin: Visit) -> None:
        device = make_device(make_server(), name="mfp-2")
        page = admin("device-settings", device.pk)
        timer = page.get_by_label("Enable Timer for Certificate Issuance Auto Request")
        page.get_by_label("SCEP server").focus()
        page.keyboard.press("Tab")
        expect(timer).to_be_focused()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.type("11232087")
        page.keyboard.press("Tab")
        page.keyboard.type("081500AM")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The settings were saved.")).to_be_visible()
        settings = ScepSettings.objects.get(device=device)
        assert settings.timer_enabled
        assert f"{settings.request_start_at:%Y-%m-%d %H:%M:%S}" == "2087-11-23 08:15:00"
        # R3 and R7: what the timer locks is seen to be locked, and why
        expect(page.get_by_role("button", name="Send Request")).to_be_disabled()
        expect(page.get_by_text("A manual request cannot be sent while the timer is on.")).to_be_visible()
        page.get_by_role("link", name="Settings", exact=True).click()
        expect(page.get_by_label("SCEP server")).to_be_disabled()

    def test_a_device_is_added_and_deleted(self, admin: Visit) -> None:
        page = admin("device-list")
        page.get_by_role("link", name="Add a device").first.click()
        page.get_by_label("Device name").fill("new-mfp")
        page.get_by_label("IP address or FQDN").fill("new-mfp.example.com")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="new-mfp", level=1)).to_be_visible()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_text("new-mfp was deleted.")).to_be_visible()
        assert not Device.objects.exists()

    def test_r7_a_connector_is_chosen_and_the_device_restarted(self, admin: Visit) -> None:
        device = make_device(name="mfp-4")
        page = admin("device-detail", device.pk)
        expect(page.get_by_role("button", name="Restart")).to_be_disabled()
        page.get_by_role("link", name="Edit").click()
        address = page.get_by_label("Address of the virtual MFP")
        expect(address).to_be_hidden()
        page.get_by_label("Connector").select_option("virtual")
        address.fill("http://127.0.0.1:1/mfp/X1")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Restart").click()
        expect(page.get_by_text("The device restarts soon.")).to_be_visible()
        restarts = page.locator("section", has_text="Restarts")
        expect(restarts.get_by_text("Waiting")).to_be_visible()
        Restart.objects.filter(device=device).update(explanation="It said no.")
        look_again(page)
        expect(restarts.get_by_text("It said no.")).to_be_visible()


class TestDevicePage:
    def test_the_log_updates_itself_and_an_explanation_stays_open(self, admin: Visit) -> None:
        device = with_history(name="mfp-3")
        page = admin("device-detail", device.pk)
        page.get_by_text("What happened").click()
        explanation = page.get_by_text("Nobody answered at 10.1.1.1.")
        expect(explanation).to_be_visible()
        make_line(device, 2, details="Deferred")
        expect(page.get_by_text("Deferred", exact=True)).to_be_visible()
        expect(explanation).to_be_visible()

    def test_a_server_that_is_away_is_said_and_forgotten_when_it_is_back(self, admin: Visit) -> None:
        device = with_history()
        page = admin("device-detail", device.pk)
        page.evaluate(
            """() => { const send = XMLHttpRequest.prototype.send;
            XMLHttpRequest.prototype.send = function () { this.dispatchEvent(new ProgressEvent("error")); };
            window.mend = () => { XMLHttpRequest.prototype.send = send; }; }"""
        )
        notice = page.get_by_text("what you see may be out of date")
        expect(notice).to_be_hidden()
        # htmx reports the failed request on the console, where the fixture would take it for a fault of ours
        page.evaluate("console.error = () => {}")
        look_again(page)
        expect(notice).to_be_visible()
        page.evaluate("window.mend()")
        look_again(page)
        expect(notice).to_be_hidden()

    def test_the_certificate_can_be_taken_away(self, onlooker: Visit) -> None:
        device = with_history()
        page = onlooker("device-detail", device.pk)
        with page.expect_download() as download:
            page.get_by_role("link", name="PEM").click()
        assert download.value.path().read_text().startswith("-----BEGIN CERTIFICATE-----")


class TestEverywhere:
    def test_the_first_tab_skips_to_the_content(self, admin: Visit) -> None:
        page = admin("device-list")
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()

    def test_the_theme_is_kept_and_follows_the_system_until_chosen(self, admin: Visit) -> None:
        page = admin("device-list")
        root = page.locator("html")
        page.emulate_media(color_scheme="dark")
        expect(root).to_have_attribute("data-bs-theme", "dark")
        page.get_by_role("button", name="Light or dark").click()
        expect(root).to_have_attribute("data-bs-theme", "light")
        page.reload()
        expect(root).to_have_attribute("data-bs-theme", "light")

    def test_the_language_is_switched_and_stays(self, admin: Visit) -> None:
        page = admin("device-list")
        page.get_by_label("Language").select_option("pt-br")
        expect(page.get_by_role("heading", name="Dispositivos", level=1)).to_be_visible()
        page.get_by_role("button", name="Configurar").click()
        page.get_by_role("link", name="Servidores SCEP").click()
        expect(page.get_by_role("heading", name="Servidores SCEP", level=1)).to_be_visible()

    @pytest.mark.parametrize("width", [390, 1280])
    def test_no_page_is_wider_than_its_window(self, admin: Visit, page: Page, width: int) -> None:
        page.set_viewport_size({"width": width, "height": 844})
        device = with_history(
            name="a-device-with-a-rather-long-name-0001", host="mfp-0001.printers.office.example.com"
        )
        make_timed_device(make_server("https://ca.example.com/certsrv/mscep/a/rather/long/path/mscep.dll"))
        url = "https://cmdb.example.com/a/rather/long/path/without/any/place/to/break/it/at/hook"
        webhook, _secret = webhooks.create(SYSTEM, name="CMDB", url=url, events=["certificate.expiring"])
        webhooks.send_test(SYSTEM, webhook)
        for name, arguments in (
            ("start", []),
            ("device-list", []),
            ("device-detail", [device.pk]),
            ("device-settings", [device.pk]),
            ("server-list", []),
            ("group-add", []),
            ("token-list", []),
            ("token-add", []),
            ("webhook-list", []),
            ("webhook-detail", [webhook.pk]),
        ):
            admin(name, *arguments)
            assert overflow(page) == 0, name

    def test_the_menu_opens_on_a_telephone(self, admin: Visit) -> None:
        page = admin("start")
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.get_by_role("link", name="Devices", exact=True)).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("link", name="Devices", exact=True).click()
        expect(page.get_by_role("heading", name="Devices", level=1)).to_be_visible()

    def test_somebody_who_may_only_look_finds_no_buttons(self, onlooker: Visit) -> None:
        device = with_history()
        page = onlooker("device-detail", device.pk)
        for name in ("Send Request", "Settings", "Edit", "Delete"):
            expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
        buttons = page.get_by_role("button").all_inner_texts()
        beside = {"", "◐", "Set up", "API", "Sign out"}
        assert [text for text in buttons if text.strip() not in beside] == []

    def test_signing_out_from_another_window_leads_to_the_sign_in(self, admin: Visit) -> None:
        with_history()
        page = admin("start")
        page.context.clear_cookies()
        look_again(page)
        page.wait_for_url("**/sign-in/**")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
