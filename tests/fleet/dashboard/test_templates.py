"""Templates on the pages: kept in a form that says what is left alone, and applied after a preview."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices import inventory, templates
from devices.audit import SYSTEM
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.jobs import run
from devices.models import AuditEvent, Device, Job, ScepServer, ScepSettings, SettingsTemplate
from fleet.dashboard.template_forms import SETTABLE
from fleet.dashboard.views.common import PAGE_SIZE
from tests.devices.factories import CHALLENGE, make_device, make_server, make_timed_device
from tests.fleet.dashboard.filling import Form, errors_at
from tests.fleet.dashboard.html import Document

pytestmark = pytest.mark.django_db


def make_template(**fields: Any) -> SettingsTemplate:
    values = {"name": "Office", "settings": {"key_length": 3072}}
    return templates.create(SYSTEM, **{**values, **fields})


def ticked(**fields: Any) -> dict[str, Any]:
    """What a browser sends for `fields` that are set."""
    return {f"set_{name}": "on" for name in fields} | fields


class TestForm:
    def test_only_what_is_ticked_is_set(self, administrator_client: Client) -> None:
        server = make_server()
        set_here = ticked(
            server=server.pk,
            timer_enabled="True",
            auto_restart="False",
            request_start_at="2087-03-30T02:30:00",
            request_interval_days="",
            key_use="tls",
            challenge_password=CHALLENGE,
        )
        # entered, and not ticked: not even looked at
        left: dict[str, Any] = {"polling_count": "5000", "key_name": "", "signature_algorithm": "nonsense"}
        Form(administrator_client, "template-add").submit(name="Office", description="D", **set_here, **left)
        template = SettingsTemplate.objects.get()
        assert (template.name, template.description) == ("Office", "D")
        assert template.values == {
            "server": server.pk,
            "timer_enabled": True,
            "auto_restart": False,
            "request_start_at": "2087-03-30T02:30:00",
            "request_interval_days": None,
            "key_use": "tls",
        }
        assert template.reveal_challenge_password() == CHALLENGE

    def test_saved_unchanged_is_unchanged_and_boxes_say_what_is_set(
        self, administrator_client: Client
    ) -> None:
        template = make_template(
            settings={
                "server": make_server(),
                "timer_enabled": True,
                "request_start_at": datetime.fromisoformat("2087-10-26T02:30"),
                "common_name": "",
                "organization": "Example",
            },
            challenge_password=CHALLENGE,
        )
        before = SettingsTemplate.objects.values().get()
        address = reverse("template-edit", args=[template.pk])
        page = Document(administrator_client.get(address))
        boxes = {name for name in SETTABLE if "checked" in page.control(f"set_{name}").attributes}
        assert boxes == {*template.values, "challenge_password"}
        assert page.control("request_start_at").get("value") == "2087-10-26T02:30:00"
        assert CHALLENGE not in page.source
        Form(administrator_client, "template-edit", template.pk).submit()
        after = SettingsTemplate.objects.values().get()
        assert (after["settings"], after["server_id"]) == (before["settings"], before["server_id"])
        assert SettingsTemplate.objects.get().reveal_challenge_password() == CHALLENGE
        assert not AuditEvent.objects.filter(action="settingstemplate.update").exists()

    def test_every_setting_has_its_box_and_its_label(self, administrator_client: Client) -> None:
        page = Document(administrator_client.get(reverse("template-add")))
        for name in SETTABLE:
            assert page.control(f"set_{name}").get("type") == "checkbox"
            (label,) = [e for e in page.elements if e.get("id") == f"id_{name}_label"]
            assert label.text
            assert page.control(name).get("aria-labelledby") == f"id_{name}_label"
        assert set(SETTINGS_FIELDS) < set(SETTABLE)

    def test_the_challenge_password_is_asked_for_kept_and_removed(self, administrator_client: Client) -> None:
        page = Form(administrator_client, "template-add").submit(
            422, name="Office", set_challenge_password="on"
        )
        assert "Enter the challenge password" in errors_at(page)["challenge_password"]
        template = make_template(challenge_password=CHALLENGE)
        Form(administrator_client, "template-edit", template.pk).submit(description="Kept")
        assert SettingsTemplate.objects.get().has_challenge_password
        Form(administrator_client, "template-edit", template.pk).submit(set_challenge_password="")
        assert not SettingsTemplate.objects.get().has_challenge_password

    @pytest.mark.parametrize(
        ("fields", "field", "message"),
        [
            ({"server": ""}, "server", "Choose a SCEP server"),
            ({"timer_enabled": "perhaps"}, "timer_enabled", "not one of the available choices"),
            ({"timer_enabled": "True", "request_start_at": ""}, "request_start_at", "before you switch"),
            ({"request_start_at": "soon"}, "request_start_at", "valid date/time"),
            ({"polling_count": "101"}, "polling_count", "less than or equal to 100"),
            ({"key_name": ""}, "key_name", "required"),
            ({"key_use": "ipsec"}, "ipsec_destination", "Choose the IPSec destination"),
            ({"key_use": "tls", "ipsec_destination": "hq"}, "ipsec_destination", "Only a key whose use"),
        ],
    )
    def test_a_wrong_value_is_said_at_its_field(
        self, administrator_client: Client, fields: dict[str, str], field: str, message: str
    ) -> None:
        page = Form(administrator_client, "template-add").submit(422, name="Bad", **ticked(**fields))
        assert set(errors_at(page)) == {field}
        assert message in errors_at(page)[field]
        assert 'value="Bad"' in page, "nothing typed is lost"
        assert not SettingsTemplate.objects.exists()

    def test_a_template_that_sets_nothing_is_refused(self, administrator_client: Client) -> None:
        page = Form(administrator_client, "template-add").submit(422, name="Empty")
        assert "at least one setting" in page

    def test_a_name_that_is_taken_is_said(self, administrator_client: Client) -> None:
        make_template()
        page = Form(administrator_client, "template-add").submit(
            422, name="Office", **ticked(key_length="2048")
        )
        assert "name" in errors_at(page)


class TestSavingADevice:
    def test_the_template_makes_other_devices_like_it(self, administrator_client: Client) -> None:
        tokyo = inventory.create_group(SYSTEM, name="Tokyo", time_zone="Asia/Tokyo")
        berlin = inventory.create_group(SYSTEM, name="Berlin", time_zone="Europe/Berlin")
        device = make_device(
            make_server(),
            group=tokyo,
            settings={
                "timer_enabled": True,
                "request_start_at": datetime(2087, 3, 1, 22, 0, tzinfo=UTC),
                "common_name": "mfp.example.com",
                "key_use": "tls",
                "challenge_password": CHALLENGE,
            },
        )
        settings = Document(administrator_client.get(reverse("device-settings", args=[device.pk])))
        where = f"{reverse('template-add')}?device={device.pk}"
        assert where in settings.links
        assert where in Document(administrator_client.get(reverse("device-detail", args=[device.pk]))).links
        form = Form(administrator_client, "template-add")
        form.address = where
        form.submit(name="Like Tokyo")
        template = SettingsTemplate.objects.get()
        assert template.values["request_start_at"] == "2087-03-02T07:00:00", "as Tokyo's clocks show it"
        assert template.values["common_name"] == "", "a name of its own stays the device's own"
        assert not template.has_challenge_password
        other = make_device(group=berlin)
        templates.apply(SYSTEM, other, templates.Snapshot.of(template))
        made = ScepSettings.objects.get(device=other)
        assert made.request_start_at == datetime(2087, 3, 2, 6, 0, tzinfo=UTC)
        assert (made.key_use, made.timer_enabled, made.common_name) == ("tls", True, "")

    def test_what_a_device_does_not_have_is_left_alone(self, administrator_client: Client) -> None:
        form = Form(administrator_client, "template-add")
        form.address += f"?device={make_device().pk}"
        form.submit(name="Bare")
        assert {"server", "request_start_at", "ipsec_destination"}.isdisjoint(
            SettingsTemplate.objects.get().values
        )

    def test_a_device_that_is_none(self, administrator_client: Client) -> None:
        assert administrator_client.get(f"{reverse('template-add')}?device=987654").status_code == 404


def test_the_list_says_what_each_sets(viewer_client: Client) -> None:
    settings = {
        "server": make_server(name="Office CA"),
        "timer_enabled": True,
        "request_start_at": datetime.fromisoformat("2087-03-01T07:00"),
        "common_name": "",
        "key_use": "ieee_802_1x",
    }
    make_template(settings=settings, challenge_password=CHALLENGE, description="For the office")
    page = Document(viewer_client.get(reverse("template-list")))
    for text in (
        "For the office",
        "SCEP server: Office CA",
        "Request Start Date/Time: 1 Mar 2087, 07:00:00",
        "Common Name: the device's own address",
        "Key Use Location: IEEE 802.1X",
        "Challenge Password: stored",
        "6 settings",
    ):
        assert text in page.text
    assert CHALLENGE not in page.source


def test_as_many_queries_for_two_templates_as_for_twenty(viewer_client: Client) -> None:
    address, counted = reverse("template-list"), []
    viewer_client.get(address)
    for many in (range(2), range(2, 20)):
        for number in many:
            make_template(name=f"T{number}", settings={"server": make_server()})
        with CaptureQueriesContext(connection) as captured:
            viewer_client.get(address)
        counted.append(len(captured))
    assert counted[0] == counted[1]


class TestApplying:
    @pytest.fixture
    def server(self) -> ScepServer:
        return make_server(name="New CA")

    @pytest.fixture
    def fleet(self, server: ScepServer) -> list[Device]:
        """One for each outcome: changes, nothing changes, refused."""
        old = make_server(name="Old CA")
        tokyo = inventory.create_group(SYSTEM, name="Tokyo", time_zone="Asia/Tokyo")
        devices = [
            make_device(old, name="alpha", location="Berlin", group=tokyo),
            make_device(server, name="beta"),
            make_timed_device(old),
        ]
        inventory.update_device(SYSTEM, devices[2], name="gamma", location="Berlin")
        return devices

    @pytest.fixture
    def template(self, server: ScepServer) -> SettingsTemplate:
        return make_template(settings={"server": server})

    def address(self, template: SettingsTemplate | None, **query: Any) -> str:
        from django.utils.http import urlencode

        chosen = {"template": template.pk} if template else {}
        return f"{reverse('template-apply')}?{urlencode({**chosen, 'all': '1', **query}, doseq=True)}"

    def test_from_the_list_of_devices(self, administrator_client: Client, fleet: list[Device]) -> None:
        page = Document(administrator_client.get(reverse("device-list")))
        assert reverse("template-apply") in {button.get("formaction") for button in page.all("button")}
        query: Any = {"device": [fleet[0].pk, fleet[1].pk], "filter": ""}
        page = Document(administrator_client.get(reverse("template-apply"), query))
        assert "2 devices selected" in page.text
        assert {box.get("value") for box in page.all("input", name="device")} == {
            str(device.pk) for device in fleet[:2]
        }

    def test_the_preview_shows_what_changes_and_what_is_refused(
        self, administrator_client: Client, fleet: list[Device], template: SettingsTemplate
    ) -> None:
        before = [*ScepSettings.objects.order_by("pk").values()]
        page = Document(administrator_client.get(self.address(template)))
        assert "SCEP server: Old CA →changed to New CA" in page.text
        assert "Suspend the timer, update" in page.text
        for total in ("All3", "Changes1", "Nothing changes1", "Refused1"):
            assert total in page.text
        assert "Change 1 device" in page.text
        assert [*ScepSettings.objects.order_by("pk").values()] == before

    def test_times_are_shown_where_the_device_stands(
        self, administrator_client: Client, fleet: list[Device]
    ) -> None:
        template = make_template(
            name="T", settings={"request_start_at": datetime.fromisoformat("2087-03-01T07:00")}
        )
        page = Document(administrator_client.get(self.address(template, filter="search=alpha")))
        assert "1 Mar 2087, 07:00:00" in page.text

    @pytest.mark.parametrize(
        ("outcome", "shown"), [("changed", "alpha"), ("unchanged", "beta"), ("refused", "gamma")]
    )
    def test_by_outcome(
        self,
        administrator_client: Client,
        fleet: list[Device],
        template: SettingsTemplate,
        outcome: str,
        shown: str,
    ) -> None:
        page = Document(administrator_client.get(self.address(template, outcome=outcome)))
        names = {device.name for device in fleet}
        assert {link.text for link in page.all("a")} & names == {shown}
        assert "All3" in page.text

    def test_devices_are_chosen_on_the_page_itself(
        self, administrator_client: Client, fleet: list[Device], template: SettingsTemplate
    ) -> None:
        query: Any = {
            "template": template.pk,
            "narrow": "1",
            "search": "berlin",
            "status": "",
            "suspend": "1",
        }
        response = administrator_client.get(reverse("template-apply"), query)
        assert response.status_code == 302
        page = Document(administrator_client.get(response["Location"]))
        assert "All2" in page.text
        assert page.control("search").get("value") == "berlin"
        assert "checked" in page.control("suspend").attributes
        assert "Change 2 devices" in page.text, "timers stand still where the server changes"

    def test_what_the_list_filtered_by_besides_comes_along(
        self, administrator_client: Client, template: SettingsTemplate, fleet: list[Device]
    ) -> None:
        page = Document(administrator_client.get(self.address(template, filter="details=Deferred")))
        assert page.control("details").get("value") == "Deferred"
        assert "All0" in page.text

    def test_the_job_does_what_the_preview_said(
        self, administrator_client: Client, fleet: list[Device], template: SettingsTemplate
    ) -> None:
        response = administrator_client.post(self.address(template), REMOTE_ADDR="192.0.2.7")
        job = Job.objects.get()
        assert response["Location"] == reverse("job-detail", args=[job.pk])
        for job_id, lease in run.claim_due(timezone.now()):
            run.advance(job_id, lease)
        page = Document(administrator_client.get(response["Location"]))
        assert "2 done, 1 refused, of 3 devices" in page.text
        assert "Nothing changed: the device had these settings already." in page.text
        assert "Suspend the timer" in page.text
        assert "template_nameOffice" in page.text
        assert f"settingsserver: {template.server_id}" in page.text
        event = AuditEvent.objects.filter(action="scep_settings.update", target_id=fleet[0].pk).latest("pk")
        assert (event.actor_name, event.source) == ("administrator", "dashboard")
        assert event.address == "192.0.2.7"

    def test_without_a_template_nothing_starts(
        self, administrator_client: Client, fleet: list[Device], template: SettingsTemplate
    ) -> None:
        page = Document(administrator_client.get(self.address(None)))
        assert not page.all("form", method="post", class_="card-footer")
        for query in ("", "987654", "x"):
            response = administrator_client.post(
                f"{reverse('template-apply')}?all=1&filter=&template={query}"
            )
            assert response.status_code == 400
            assert "There is no such template." in Document(response).text
        assert not Job.objects.exists()

    def test_a_selection_that_is_none(self, administrator_client: Client, template: SettingsTemplate) -> None:
        for query in ("", "?device=", "?device=987654", "?all=1&filter=serch%3Dx"):
            response = administrator_client.get(f"{reverse('template-apply')}{query}")
            assert response.status_code == 400
            assert reverse("device-list") in Document(response).links
        response = administrator_client.post(self.address(template, filter="search=nowhere"))
        assert response.status_code == 400
        assert "No device is selected." in Document(response).text

    def test_pages_keep_the_selection(self, administrator_client: Client, template: SettingsTemplate) -> None:
        rows = [{"name": f"p-{n:03}", "host": "10.0.0.1"} for n in range(PAGE_SIZE + 3)]
        inventory.create_devices(SYSTEM, rows)
        page = Document(
            administrator_client.get(self.address(template, filter="search=p-", outcome="changed"))
        )
        (following,) = [link.get("href") for link in page.all("a", rel="next")]
        second = Document(administrator_client.get(reverse("template-apply") + following))
        assert [link.text for link in second.all("a") if link.text.startswith("p-")] == [
            "p-050",
            "p-051",
            "p-052",
        ]

    def test_as_many_queries_for_three_as_for_forty(
        self, administrator_client: Client, fleet: list[Device], template: SettingsTemplate
    ) -> None:
        administrator_client.get(self.address(template))
        counted = []
        for _ in range(2):
            with CaptureQueriesContext(connection) as captured:
                administrator_client.get(self.address(template))
            counted.append(len(captured))
            for _ in range(37):
                make_device(make_server())
        # the filter lists every server, in one query
        assert counted[0] == counted[1]
