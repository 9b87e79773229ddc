"""Applying a template to a selection: exactly what the preview said, with what the template set at the start."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone

from devices import doorbell, inventory, templates
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.jobs import run, service
from devices.models import (
    AuditEvent,
    Device,
    DeviceGroup,
    IssuanceRequest,
    Job,
    ScepSettings,
    SettingsTemplate,
)
from devices.models.choices import JobKindChoices
from devices.templates import Outcome
from tests.conftest import member_of
from tests.devices.enrollment.test_requests import put_under_way
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db

APPLY = JobKindChoices.APPLY_TEMPLATE


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


def make_template(**fields: Any) -> SettingsTemplate:
    values = {"name": "Office", "settings": {"key_length": 3072}}
    return templates.create(SYSTEM, **{**values, **fields})


def start(
    actor: Actor, template: SettingsTemplate, devices: list[Device], *, suspend_timers: bool = False
) -> Job:
    parameters = {"template": template.pk, "suspend_timers": suspend_timers}
    return service.start(actor, APPLY, devices, parameters)


def work(job: Job) -> list[tuple[str, str]]:
    """Do it all; state and message of each device."""
    while lease := run.claim(job.pk, timezone.now()):
        run.advance(job.pk, lease)
    return list(job.items.order_by("position").values_list("state", "message"))


class Fleet:
    """Devices in every condition that settings depend on, and templates out of every setting."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.servers = [make_server() for _ in range(2)]
        self.groups = [
            DeviceGroup.objects.create(name="Berlin", time_zone="Europe/Berlin"),
            DeviceGroup.objects.create(name="New York", time_zone="America/New_York"),
            None,
        ]

    def device(self) -> Device:
        choice, random = self.random.choice, self.random.random
        number = Device.objects.count()
        host = f"{'a' * 60}.example.com" if random() < 0.1 else f"10.0.0.{number + 1}"
        device = make_device(
            group=choice(self.groups), host=host, ipsec_destinations=choice([[], ["hq"], ["hq", "branch"]])
        )
        settings: dict[str, Any] = {
            "key_length": choice([2048, 3072]),
            "organization": choice(["", "Example"]),
            "polling_count": choice([0, 5]),
            "request_interval_days": choice([None, 30]),
            "common_name": "a.example.com" if len(host) > 64 and random() < 0.5 else "",
            "server": choice([*self.servers, None]),
        }
        requests.save_settings(SYSTEM, device, **settings)
        usable = settings["server"] and (settings["common_name"] or len(host) <= 64)
        if usable and random() < 0.6:
            requests.save_settings(SYSTEM, device, timer_enabled=True, request_start_at=just_passed())
            if random() < 0.3:
                put_under_way(device)
        elif usable and random() < 0.3:
            requests.request_certificate(SYSTEM, device, ring=False)
        return device

    def template(self, name: str) -> SettingsTemplate:
        choice = self.random.choice
        # Berlin's clocks skip the second of these times and show the third twice
        starts = ["2026-11-20T08:00", "2087-03-30T02:30", "2087-10-26T02:30", "2087-03-09T02:30"]
        values: dict[str, Any] = {
            "server": choice(self.servers),
            "timer_enabled": choice([True, False]),
            "request_start_at": datetime.fromisoformat(choice(starts)),
            "auto_adjust": choice([True, False]),
            "polling_count": choice([0, 5]),
            "request_interval_days": choice([None, 30, 90]),
            "renew_at_percent": choice([None, 80]),
            "organization": choice(["", "Example"]),
            "common_name": "",
            "key_use": choice(["none", "tls"]),
            "key_length": choice([2048, 3072]),
        }
        names = self.random.sample(sorted(values), self.random.randint(1, 4))
        settings = {setting: values[setting] for setting in names}
        if self.random.random() < 0.2:
            settings |= {"key_use": "ipsec", "ipsec_destination": choice(["hq", "branch"])}
        password = choice(["", "", "", CHALLENGE])
        return make_template(name=name, settings=settings, challenge_password=password)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_done_is_what_the_preview_said(actor: Actor, seed: int) -> None:
    random = Random(seed)
    fleet = Fleet(random)
    devices = [fleet.device() for _ in range(10)]
    seen = set()
    made = [fleet.template(f"Template {number}") for number in range(4)]
    # the last one twice: the second time little is left to change
    for template in (*made, made[-1]):
        suspend = random.random() < 0.5
        # as the API and the pages select them: fresh from the database
        selected = Device.objects.filter(pk__in=[device.pk for device in devices]).order_by("pk")
        found = templates.preview(template, selected, suspend_timers=suspend)
        rows = found.rows(found.ids())
        before = AuditEvent.objects.latest("pk").pk
        results = work(start(actor, template, list(selected), suspend_timers=suspend))
        events = AuditEvent.objects.filter(pk__gt=before, action="scep_settings.update")
        changes = {event.target_id: event.changes for event in events}
        for row, (state, message) in zip(rows, results, strict=True):
            seen.add(row.outcome)
            if row.plan is None:
                assert (state, message) == ("refused", row.refusal)
                assert row.device.pk not in changes
            elif row.plan.is_empty:
                assert state == "done"
                assert message.startswith("Nothing changed")
                assert row.device.pk not in changes
            else:
                assert (state, message) == ("done", "")
                done = changes[row.device.pk]
                assert done.pop("suspended_timers", 0) == row.plan.suspends_timer
                assert done == json.loads(json.dumps(row.plan.changes))
    assert Outcome.CHANGED in seen
    assert len(seen) > 1, "a run in which everything comes to the same shows little"


def test_the_job_keeps_what_the_template_set_when_it_was_started(actor: Actor) -> None:
    server = make_server()
    device = make_device(group=DeviceGroup.objects.create(name="T", time_zone="Asia/Tokyo"))
    settings = {
        "server": server,
        "timer_enabled": True,
        "request_start_at": datetime.fromisoformat("2087-03-01T07:00"),
    }
    template = make_template(settings=settings, challenge_password=CHALLENGE)
    job = start(actor, template, [device])
    templates.update(
        actor, template, settings={"organization": "Changed meanwhile"}, challenge_password="other"
    )
    templates.delete(actor, template)
    assert work(job) == [("done", "")]
    stored = ScepSettings.objects.get(device=device)
    assert (stored.server, stored.timer_enabled, stored.organization) == (server, True, "")
    assert f"{stored.request_start_at:%Y-%m-%d %H:%M %Z}" == "2087-02-28 22:00 UTC"
    assert stored.reveal_challenge_password() == CHALLENGE


def test_the_challenge_password_is_encrypted_and_gone_at_the_end(actor: Actor) -> None:
    job = start(actor, make_template(settings={}, challenge_password=CHALLENGE), [make_device()])
    stored = Job.objects.values().get()
    assert stored["secrets_encrypted"]
    assert CHALLENGE not in str({**stored, "secrets_encrypted": bytes(stored["secrets_encrypted"])})
    work(job)
    assert Job.objects.get().secrets_encrypted is None
    assert CHALLENGE not in str([*AuditEvent.objects.values(), *job.items.values()])


def test_r10_the_offset_is_drawn_for_each_device(actor: Actor) -> None:
    settings = {
        "server": make_server(),
        "timer_enabled": True,
        "request_start_at": datetime.fromisoformat("2087-03-01T07:00"),
    }
    job = start(actor, make_template(settings=settings), [make_device() for _ in range(30)])
    work(job)
    offsets = {request.offset_seconds for request in IssuanceRequest.objects.all()}
    assert len(offsets) > 15
    assert all(1 <= offset <= 600 for offset in offsets)


def test_r3_suspended_timers_keep_their_schedule_and_others_are_refused(actor: Actor) -> None:
    device, other = make_timed_device(make_server(), auto_adjust=True), make_server()
    template = make_template(settings={"server": other})
    before = IssuanceRequest.objects.values("request_at", "next_action_at", "offset_seconds").get()
    ((state, message),) = work(start(actor, template, [device]))
    assert state == "refused"
    assert "Suspend the timer" in message
    assert work(start(actor, template, [device], suspend_timers=True)) == [("done", "")]
    assert IssuanceRequest.objects.values("request_at", "next_action_at", "offset_seconds").get() == before
    assert IssuanceRequest.objects.get().server == other
    assert AuditEvent.objects.latest("pk").action == "job.finished"
    changed = AuditEvent.objects.filter(action="scep_settings.update").latest("pk")
    assert changed.changes["suspended_timers"] == 1


def test_a_server_that_is_deleted_meanwhile_is_said(actor: Actor) -> None:
    server = make_server()
    template = make_template(settings={"server": server})
    job = start(actor, template, [make_device()])
    templates.delete(actor, template)
    inventory.delete_server(actor, server)
    assert work(job) == [("refused", "server: The template's SCEP server was deleted meanwhile.")]


def test_a_template_that_is_none_starts_nothing(actor: Actor) -> None:
    with pytest.raises(ValidationError) as refused:
        service.start(actor, APPLY, [make_device()], {"template": 987654})
    assert set(refused.value.message_dict) == {"template"}
    assert not Job.objects.exists()


def test_a_password_that_no_key_opens_starts_nothing(actor: Actor, settings: Any) -> None:
    template = make_template(settings={}, challenge_password=CHALLENGE)
    settings.ENCRYPTION_KEYS = ("x" * 43 + "=",)
    with pytest.raises(ValidationError) as refused:
        start(actor, template, [make_device()])
    assert "FLEETSEAL_ENCRYPTION_KEYS" in refused.value.message_dict["template"][0]


def test_r1_operators_apply_nothing(actor: Actor) -> None:
    operator = Actor.of(member_of("Operator"), AuditEvent.Source.API)
    with pytest.raises(PermissionDenied):
        start(operator, make_template(), [make_device()])


def test_a_change_that_no_longer_fits_is_a_result(actor: Actor) -> None:
    """Between preview and job a request may have gone under way."""
    device = make_timed_device(make_server())
    moved = {"request_start_at": (just_passed() + timedelta(days=1)).replace(tzinfo=None)}
    template = make_template(settings=moved)
    assert templates.preview(template, Device.objects.all()).totals[Outcome.CHANGED] == 1
    job = start(actor, template, [device])
    put_under_way(device)
    ((state, message),) = work(job)
    assert state == "refused"
    assert "under way" in message
