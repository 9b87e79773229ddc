"""Templates: kept and checked by the models' own rules, previewed, and frozen for whoever applies them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from devices import inventory, templates
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.enrollment.requests import SETTINGS_FIELDS
from devices.errors import Conflict
from devices.models import AuditEvent, Device, DeviceGroup, ScepSettings, SettingsTemplate
from devices.templates import Outcome, Snapshot
from tests.conftest import member_of
from tests.devices.enrollment.test_requests import put_under_way
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


def local(text: str) -> datetime:
    """A time on the wall: without a zone."""
    return datetime.fromisoformat(text)


LOCAL_START = local("2087-03-01T07:00")


def make_template(**fields: Any) -> SettingsTemplate:
    values = {"name": "Office", "settings": {"key_length": 3072}}
    return templates.create(SYSTEM, **{**values, **fields})


class TestKeeping:
    def test_a_template_holds_what_it_sets_and_nothing_else(self, actor: Actor) -> None:
        server = make_server()
        settings = {
            "server": server,
            "timer_enabled": True,
            "request_start_at": LOCAL_START,
            "request_interval_days": None,
            "organization": "",
            "common_name": "",
        }
        made = templates.create(actor, name="Office", description="For the office", settings=settings)
        stored = SettingsTemplate.objects.get(pk=made.pk)
        assert stored.values == {**settings, "server": server.pk, "request_start_at": "2087-03-01T07:00:00"}
        assert (stored.server, stored.has_challenge_password) == (server, False)
        event = AuditEvent.objects.get(action="settingstemplate.create")
        assert (event.actor_name, event.target_name) == (actor.name, "Office")
        assert event.changes == {
            "description": "For the office",
            **stored.values,
            "server": server.name,
        }

    def test_changes_are_audited_and_only_them(self, actor: Actor) -> None:
        template = make_template(settings={"key_length": 3072, "polling_count": 3})
        templates.update(
            actor, template, description="New", settings={"key_length": 4096, "request_interval_days": None}
        )
        event = AuditEvent.objects.get(action="settingstemplate.update")
        assert event.changes == {
            "description": ["", "New"],
            "key_length": [3072, 4096],
            "polling_count": [3, "left as it is"],
            "request_interval_days": ["left as it is", None],
        }
        templates.update(actor, template, name="Office", settings={**SettingsTemplate.objects.get().values})
        assert AuditEvent.objects.filter(action="settingstemplate.update").count() == 1

    def test_the_challenge_password_is_encrypted_kept_and_removed(self, actor: Actor) -> None:
        template = make_template(challenge_password=CHALLENGE)
        stored = bytes(SettingsTemplate.objects.get().challenge_password_encrypted or b"")
        assert stored
        assert CHALLENGE.encode() not in stored
        templates.update(actor, template, description="x")
        assert SettingsTemplate.objects.get().reveal_challenge_password() == CHALLENGE
        templates.update(actor, template, challenge_password="")
        assert not SettingsTemplate.objects.get().has_challenge_password
        assert CHALLENGE not in str(list(AuditEvent.objects.values()))
        assert CHALLENGE not in repr(Snapshot({}, None, CHALLENGE))

    def test_deleting_is_audited_and_leaves_the_devices_alone(self, actor: Actor) -> None:
        device = make_device()
        template = make_template()
        templates.apply(actor, device, Snapshot.of(template))
        templates.delete(actor, template)
        assert not SettingsTemplate.objects.exists()
        assert ScepSettings.objects.get(device=device).key_length == 3072
        assert AuditEvent.objects.get(action="settingstemplate.delete").target_name == "Office"

    @pytest.mark.parametrize(
        ("settings", "field", "message"),
        [
            ({"server": None}, "server", "Choose a SCEP server"),
            ({"timer_enabled": None}, "timer_enabled", "must be either True or False"),
            ({"request_start_at": "tomorrow"}, "request_start_at", "invalid format"),
            ({"request_start_at": just_passed()}, "request_start_at", "without a time zone"),
            ({"timer_enabled": True, "request_start_at": None}, "request_start_at", "before you switch"),
            ({"auto_adjust": "perhaps"}, "auto_adjust", "must be either True or False"),
            ({"polling_count": 101}, "polling_count", "less than or equal to 100"),
            ({"polling_interval_seconds": 0}, "polling_interval_seconds", "greater than or equal to 1"),
            ({"request_interval_days": 3651}, "request_interval_days", "less than or equal to 3650"),
            ({"renew_at_percent": 100}, "renew_at_percent", "less than or equal to 99"),
            ({"renew_days_before": 0}, "renew_days_before", "greater than or equal to 1"),
            ({"auto_restart": 7}, "auto_restart", "must be either True or False"),
            ({"delete_old_key": ""}, "delete_old_key", "must be either True or False"),
            ({"key_name": "schlüssel"}, "key_name", "printable ASCII"),
            ({"key_name": ""}, "key_name", "cannot be blank"),
            ({"signature_algorithm": "MD5"}, "signature_algorithm", "not a valid choice"),
            ({"key_length": 512}, "key_length", "not a valid choice"),
            ({"organization": "x" * 65}, "organization", "at most 64 characters"),
            ({"common_name": "mfp.example.com"}, "common_name", "cannot share one common name"),
            ({"key_use": "fax"}, "key_use", "not a valid choice"),
            ({"key_use": "ipsec"}, "ipsec_destination", "Choose the IPSec destination"),
            ({"key_use": "tls", "ipsec_destination": "hq"}, "ipsec_destination", "Only a key whose use"),
            ({"ipsec_destination": "hq"}, "ipsec_destination", "Only a key whose use"),
            ({"device": 1}, "device", "no such setting"),
            ({"offset_seconds": 1}, "offset_seconds", "no such setting"),
            ({}, "settings", "at least one setting"),
        ],
    )
    def test_what_no_device_could_take_is_refused_with_the_field_named(
        self, actor: Actor, settings: dict[str, Any], field: str, message: str
    ) -> None:
        template = make_template(name="Before")
        for keep in (
            partial(templates.create, actor, name="Bad"),
            partial(templates.update, actor, template),
        ):
            with pytest.raises(ValidationError) as refused:
                keep(settings=settings)
            assert set(refused.value.message_dict) == {field}
            assert message in " ".join(refused.value.message_dict[field])
        assert SettingsTemplate.objects.get().values == {"key_length": 3072}

    def test_every_setting_of_a_device_can_stand_in_a_template(self, actor: Actor) -> None:
        device = make_timed_device(make_server(), key_use="tls")
        stored = ScepSettings.objects.select_related("server").get(device=device)
        settings = {name: getattr(stored, name) for name in SETTINGS_FIELDS}
        settings |= {"request_start_at": just_passed().replace(tzinfo=None)}
        template = make_template(settings=settings)
        assert set(template.values) == set(SETTINGS_FIELDS), "a setting that is added needs a word here"
        assert not templates.apply(actor, device, Snapshot.of(template)), "the device has it all"

    def test_every_problem_is_reported_at_once(self, actor: Actor) -> None:
        with pytest.raises(ValidationError) as refused:
            make_template(settings={"key_length": 1, "common_name": "a.example.com", "colour": "red"})
        assert set(refused.value.message_dict) == {"key_length", "common_name", "colour"}

    def test_names_are_unique(self, actor: Actor) -> None:
        make_template()
        with pytest.raises(ValidationError) as refused:
            make_template()
        assert set(refused.value.message_dict) == {"name"}

    def test_a_server_that_a_template_names_is_not_deleted(self, actor: Actor) -> None:
        server = make_server()
        make_template(name="Office", settings={"server": server})
        with pytest.raises(Conflict, match="Templates name this SCEP server: Office") as refused:
            inventory.delete_server(actor, server)
        assert refused.value.code == "server_in_use"
        templates.update(actor, SettingsTemplate.objects.get(), settings={"key_length": 2048})
        inventory.delete_server(actor, server)

    def test_the_database_keeps_templates_that_set_something(self) -> None:
        template = make_template()
        with (
            pytest.raises(IntegrityError, match="settings_template_sets_something"),
            transaction.atomic(),
        ):
            SettingsTemplate.objects.filter(pk=template.pk).update(settings={})
        make_template(name="Password", settings={}, challenge_password=CHALLENGE)
        make_template(name="Server", settings={"server": make_server()})

    @pytest.mark.parametrize("group", ["Operator", "Viewer"])
    def test_r1_administrators_alone_keep_templates(self, group: str) -> None:
        template, other = make_template(), Actor.of(member_of(group), AuditEvent.Source.API)
        events = AuditEvent.objects.count()
        for change in (
            lambda: templates.create(other, name="Mine", settings={"key_length": 2048}),
            lambda: templates.update(other, template, name="Mine"),
            lambda: templates.delete(other, template),
            lambda: templates.apply(other, make_device(), Snapshot.of(template)),
        ):
            with pytest.raises(PermissionDenied):
                change()
        assert SettingsTemplate.objects.get().name == "Office"
        assert AuditEvent.objects.count() == events + 1, "of the device that was made here"


class TestStart:
    """[Request Start Date/Time] of a template is a time on the wall where the device stands."""

    @pytest.mark.parametrize(
        ("zone", "start", "utc"),
        [
            # Berlin's clocks go forward on 2087-03-30 at 02:00, and back on 2087-10-26 at 03:00
            ("Europe/Berlin", local("2087-03-30T01:59"), datetime(2087, 3, 30, 0, 59, tzinfo=UTC)),
            ("Europe/Berlin", local("2087-03-30T03:00"), datetime(2087, 3, 30, 1, 0, tzinfo=UTC)),
            ("Europe/Berlin", local("2087-10-26T03:00"), datetime(2087, 10, 26, 2, 0, tzinfo=UTC)),
            # New York's on 2087-03-09 at 02:00 and 2087-11-02 at 02:00
            ("America/New_York", local("2087-03-09T01:59"), datetime(2087, 3, 9, 6, 59, tzinfo=UTC)),
            ("America/New_York", local("2087-03-09T03:00"), datetime(2087, 3, 9, 7, 0, tzinfo=UTC)),
            ("America/New_York", local("2087-11-02T02:00"), datetime(2087, 11, 2, 7, 0, tzinfo=UTC)),
            ("America/New_York", local("2087-03-30T02:30"), datetime(2087, 3, 30, 6, 30, tzinfo=UTC)),
            (None, local("2087-03-30T02:30"), datetime(2087, 3, 30, 2, 30, tzinfo=UTC)),
        ],
    )
    def test_r9_it_is_taken_in_the_zone_of_the_group(
        self, actor: Actor, zone: str | None, start: datetime, utc: datetime
    ) -> None:
        group = DeviceGroup.objects.create(name="Here", time_zone=zone) if zone else None
        device = make_device(group=group)
        template = make_template(settings={"request_start_at": start})
        templates.apply(actor, device, Snapshot.of(template))
        assert ScepSettings.objects.get(device=device).request_start_at == utc

    @pytest.mark.parametrize("start", [local("2087-03-30T02:30"), local("2087-10-26T02:30")])
    def test_r9_an_hour_that_is_none_or_twice_is_refused_where_it_is(
        self, actor: Actor, start: datetime
    ) -> None:
        berlin = make_device(group=DeviceGroup.objects.create(name="B", time_zone="Europe/Berlin"))
        make_device(group=DeviceGroup.objects.create(name="N", time_zone="America/New_York"))
        template = make_template(settings={"request_start_at": start})
        found = templates.preview(template, Device.objects.order_by("pk"))
        assert [*found.outcomes.values()] == [Outcome.REFUSED, Outcome.CHANGED]
        assert "Europe/Berlin" in found.rows([berlin.pk])[0].refusal
        with pytest.raises(ValidationError) as refused:
            templates.apply(actor, berlin, Snapshot.of(template))
        assert set(refused.value.message_dict) == {"request_start_at"}


class TestPreview:
    def test_each_device_with_what_changes_or_why_not(self) -> None:
        server, other = make_server(name="Old CA"), make_server(name="New CA")
        alike = make_device(other, settings={"key_length": 3072})
        changes = make_device(server, settings={"organization": "Mine"})
        locked = make_timed_device(server)
        under_way = make_timed_device(other, key_length=3072)
        put_under_way(under_way)
        template = make_template(settings={"server": other, "key_length": 3072})
        before = [*ScepSettings.objects.order_by("pk").values()]

        found = templates.preview(template, Device.objects.order_by("pk"))
        rows = found.rows(found.ids())
        assert [row.outcome.value for row in rows] == ["unchanged", "changed", "refused", "unchanged"]
        assert [row.device for row in rows] == [alike, changes, locked, under_way]
        assert found.totals == {Outcome.CHANGED: 1, Outcome.UNCHANGED: 2, Outcome.REFUSED: 1}
        assert found.ids(Outcome.REFUSED) == [locked.pk]
        assert rows[1].plan is not None
        assert rows[1].plan.changes == {"server": ["Old CA", "New CA"], "key_length": [2048, 3072]}
        assert "Suspend the timer" in rows[2].refusal

        suspended = templates.preview(template, Device.objects.order_by("pk"), suspend_timers=True)
        assert suspended.totals == {Outcome.CHANGED: 2, Outcome.UNCHANGED: 2, Outcome.REFUSED: 0}
        assert [*ScepSettings.objects.order_by("pk").values()] == before, "nothing is written"

    def test_a_destination_that_the_device_does_not_know_and_a_request_under_way(self) -> None:
        knows = make_device(ipsec_destinations=["hq"])
        does_not = make_device(ipsec_destinations=["branch"])
        busy = make_timed_device(make_server())
        Device.objects.filter(pk=busy.pk).update(ipsec_destinations=["hq"])
        put_under_way(busy)
        template = make_template(settings={"key_use": "ipsec", "ipsec_destination": "hq"})
        found = templates.preview(template, Device.objects.order_by("pk"))
        assert [*found.outcomes.values()] == [Outcome.CHANGED, Outcome.REFUSED, Outcome.CHANGED]
        assert "“hq” is not one of the device's IPSec destinations (branch)" in (
            found.rows([does_not.pk])[0].refusal
        )
        moves = make_template(name="Moves", settings={"request_start_at": LOCAL_START})
        found = templates.preview(moves, Device.objects.filter(pk__in=[knows.pk, busy.pk]).order_by("pk"))
        assert [*found.outcomes.values()] == [Outcome.CHANGED, Outcome.REFUSED]
        assert "under way" in found.rows([busy.pk])[0].refusal

    def test_a_challenge_password_always_changes_and_is_never_opened(self, settings: Any) -> None:
        device = make_device(settings={"challenge_password": CHALLENGE})
        template = make_template(settings={}, challenge_password=CHALLENGE)
        settings.ENCRYPTION_KEYS = ()
        (row,) = templates.preview(template, Device.objects.all()).rows([device.pk])
        assert row.plan is not None
        assert row.plan.changes == {"challenge_password": "changed"}

    def test_a_device_that_is_deleted_meanwhile_is_left_out(self) -> None:
        device = make_device()
        found = templates.preview(make_template(), Device.objects.all())
        inventory.delete_device(SYSTEM, device)
        assert found.rows(found.ids()) == []

    def test_as_many_queries_for_two_devices_as_for_forty(self) -> None:
        server = make_server()
        group = inventory.create_group(SYSTEM, name="Here", time_zone="Asia/Tokyo")
        template = make_template(settings={"server": server, "request_start_at": LOCAL_START})
        few = [make_timed_device(server).pk for _ in range(2)]
        many = few + [make_timed_device(make_server()).pk for _ in range(38)]
        Device.objects.update(group=group)
        counted = []
        for ids in (few, many):
            with CaptureQueriesContext(connection) as captured:
                found = templates.preview(template, Device.objects.filter(pk__in=ids))
                found.rows(found.ids())
            counted.append(len(captured))
        assert counted == [5, 5]
        assert len(found.outcomes) == 40

    def test_a_plan_asks_the_database_nothing(self) -> None:
        device = make_timed_device(make_server())
        settings = ScepSettings.objects.select_related("server").get(device=device)
        with CaptureQueriesContext(connection) as captured:
            plan = requests.plan_settings(settings, device, None, {"key_length": 4096}, now=just_passed())
        assert plan.changes == {"key_length": [2048, 4096]}
        assert len(captured) == 0
