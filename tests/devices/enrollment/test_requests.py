"""Settings, the timer and manual requests: who may ask, and when (R3, R7 to R15)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.audit import Actor
from devices.enrollment import requests
from devices.errors import Conflict
from devices.models import AuditEvent, Device, IssuanceRequest, ScepSettings
from devices.rules.lifecycle import State
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server

pytestmark = pytest.mark.django_db


def open_requests(device: Device) -> list[IssuanceRequest]:
    return list(IssuanceRequest.objects.filter(device=device, completed_at__isnull=True))


def timer(**fields: Any) -> dict[str, Any]:
    """What switches a timer on."""
    return {"server": make_server(), "timer_enabled": True, "request_start_at": just_passed(), **fields}


class TestTimer:
    def test_r9_r10_switching_on_draws_the_offset_once_and_schedules(self, actor: Actor) -> None:
        device = make_device()
        settings = requests.save_settings(actor, device, **timer())
        (request,) = open_requests(device)
        assert settings.offset_seconds is not None
        assert 1 <= settings.offset_seconds <= 600
        assert request.offset_seconds == settings.offset_seconds
        assert request.request_at == just_passed() + timedelta(seconds=settings.offset_seconds)
        assert request.next_action_at == request.request_at
        assert (request.state, request.trigger) == (State.SCHEDULED, "timer")
        device.refresh_from_db()
        assert device.status == "to_be_processed"
        assert device.next_request_at == request.request_at

    def test_r10_offsets_differ_between_devices(self, actor: Actor) -> None:
        server = make_server()
        offsets = {
            requests.save_settings(actor, make_device(), **timer(server=server)).offset_seconds
            for _ in range(30)
        }
        assert len(offsets) > 15

    def test_r10_off_means_no_offset(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer(auto_adjust=False))
        (request,) = open_requests(device)
        assert (request.request_at, request.offset_seconds) == (just_passed(), 0)

    def test_other_settings_change_without_a_new_draw_and_reach_the_request(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        (before,) = open_requests(device)
        requests.save_settings(actor, device, organization="Example", polling_count=7, key_length=3072)
        (after,) = open_requests(device)
        assert (after.pk, after.request_at) == (before.pk, before.request_at)
        assert (after.organization, after.polls_left, after.key_length) == ("Example", 7, 3072)

    def test_a_new_start_moves_the_same_request(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer(auto_adjust=False))
        (before,) = open_requests(device)
        later = just_passed() + timedelta(days=9)
        requests.save_settings(actor, device, request_start_at=later)
        (after,) = open_requests(device)
        assert (after.pk, after.request_at, after.next_action_at) == (before.pk, later, later)

    def test_r10_another_auto_adjust_moves_a_request_of_the_timer(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer(auto_adjust=False))
        settings = requests.save_settings(actor, device, auto_adjust=True)
        (request,) = open_requests(device)
        assert settings.offset_seconds is not None
        assert 1 <= settings.offset_seconds <= 600
        assert request.request_at == just_passed() + timedelta(seconds=settings.offset_seconds)

    def test_r12_another_auto_adjust_leaves_a_periodic_request_where_it_is(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer(request_interval_days=30))
        later = just_passed() + timedelta(days=30, minutes=3)
        IssuanceRequest.objects.filter(device=device).update(
            trigger="periodic", request_at=later, next_action_at=later, offset_seconds=0
        )
        settings = requests.save_settings(actor, device, auto_adjust=False)
        (request,) = open_requests(device)
        assert (request.trigger, request.request_at, request.offset_seconds) == ("periodic", later, 0)
        assert settings.offset_seconds == 0

    def test_another_auto_adjust_starts_nothing_anew(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        IssuanceRequest.objects.update(state=State.FAILED, completed_at=just_passed(), next_action_at=None)
        requests.save_settings(actor, device, auto_adjust=False)
        assert open_requests(device) == []

    def test_a_change_takes_the_request_away_from_a_worker_that_makes_its_key(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        IssuanceRequest.objects.filter(device=device).update(
            lease="11111111-1111-1111-1111-111111111111", next_action_at=just_passed() + timedelta(days=1)
        )
        requests.save_settings(actor, device, key_length=4096)
        (request,) = open_requests(device)
        assert request.lease is None
        assert request.next_action_at == request.request_at

    def test_a_worker_cannot_take_a_step_while_settings_are_saved(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        with CaptureQueriesContext(connection) as captured:
            requests.save_settings(actor, device, key_length=4096)
        locked = [
            table
            for query in captured
            for table in ("devices_scepsettings", "devices_issuancerequest")
            if "FOR UPDATE" in query["sql"] and f'FROM "{table}"' in query["sql"]
        ]
        # SQLite locks the whole database instead
        wanted = ["devices_scepsettings", "devices_issuancerequest"]
        assert locked == (wanted if connection.features.has_select_for_update else [])

    def test_switching_off_removes_what_was_scheduled(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        settings = requests.save_settings(actor, device, timer_enabled=False)
        assert open_requests(device) == []
        assert settings.offset_seconds is None
        device.refresh_from_db()
        assert (device.status, device.next_request_at) == ("", None)

    def test_switching_off_leaves_a_request_under_way_to_its_end(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        put_under_way(device)
        requests.save_settings(actor, device, timer_enabled=False)
        assert len(open_requests(device)) == 1
        with pytest.raises(Conflict) as refused:
            requests.save_settings(actor, device, timer_enabled=True)
        assert refused.value.code == "request_open"
        assert not ScepSettings.objects.get(device=device).timer_enabled

    @pytest.mark.parametrize("missing", ["server", "request_start_at"])
    def test_a_timer_needs_its_server_and_its_start(self, actor: Actor, missing: str) -> None:
        device = make_device()
        with pytest.raises(ValidationError) as refused:
            requests.save_settings(actor, device, **timer(**{missing: None}), organization="Example")
        assert set(refused.value.message_dict) == {missing}
        assert ScepSettings.objects.get(device=device).organization == "", "nothing half applied"
        assert open_requests(device) == []

    def test_r3_the_server_is_locked_while_the_timer_is_on(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        with pytest.raises(Conflict, match="Suspend the timer") as refused:
            requests.save_settings(actor, device, server=make_server())
        assert refused.value.code == "timer_enabled"
        # switching off and changing it in one go is what the message says
        requests.save_settings(actor, device, timer_enabled=False, server=make_server("http://127.0.0.1:2/"))


class TestPeriod:
    """[Request Interval] changed while a periodic request waits (R12)."""

    @pytest.fixture
    def device(self, actor: Actor) -> Device:
        device = make_device()
        requests.save_settings(actor, device, **timer(request_interval_days=30, auto_adjust=False))
        ended = datetime(2026, 11, 21, tzinfo=UTC)
        IssuanceRequest.objects.filter(device=device).update(
            state=State.SUCCESSFUL, completed_at=ended, next_action_at=None
        )
        return device

    def test_the_next_request_moves_with_the_interval(self, actor: Actor, device: Device) -> None:
        requests.save_settings(actor, device, request_interval_days=10)
        (request,) = open_requests(device)
        assert (request.trigger, request.request_at) == ("periodic", datetime(2026, 12, 1, tzinfo=UTC))
        requests.save_settings(actor, device, request_interval_days=20)
        (request,) = open_requests(device)
        assert request.request_at == request.next_action_at == datetime(2026, 12, 11, tzinfo=UTC)

    def test_without_an_interval_nothing_is_next(self, actor: Actor, device: Device) -> None:
        requests.save_settings(actor, device, request_interval_days=10)
        requests.save_settings(actor, device, request_interval_days=None)
        assert open_requests(device) == []
        device.refresh_from_db()
        assert (device.status, device.next_request_at) == ("successful", None)


class TestManualRequest:
    def test_r8_it_is_due_at_once_and_changes_no_setting(self, actor: Actor) -> None:
        device = make_device(make_server(), settings={"organization": "Stored", "key_use": "tls"})
        before = ScepSettings.objects.filter(device=device).values().get()
        request = requests.request_certificate(
            actor, device, common_name="printer.example.com", challenge_password=CHALLENGE
        )
        assert request.next_action_at == request.request_at
        assert (request.trigger, request.polls_left) == ("manual", 0)
        assert (request.organization, request.key_use) == ("", "none"), "not the stored settings"
        assert request.reveal_challenge_password() == CHALLENGE
        assert ScepSettings.objects.filter(device=device).values().get() == before

    def test_r7_not_while_the_timer_is_on(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, **timer())
        with pytest.raises(Conflict) as refused:
            requests.request_certificate(actor, device)
        assert refused.value.code == "timer_enabled"

    def test_one_open_request_per_device(self, actor: Actor) -> None:
        device = make_device(make_server())
        requests.request_certificate(actor, device)
        with pytest.raises(Conflict) as refused:
            requests.request_certificate(actor, device)
        assert refused.value.code == "request_open"
        with pytest.raises(Conflict, match="under way"):
            requests.save_settings(actor, device, timer_enabled=True, request_start_at=just_passed())

    def test_without_a_server_it_says_so(self, actor: Actor) -> None:
        with pytest.raises(ValidationError) as refused:
            requests.request_certificate(actor, make_device())
        assert set(refused.value.message_dict) == {"server"}

    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({"key_length": 512}, "key_length"),
            ({"signature_algorithm": "MD5"}, "signature_algorithm"),
            ({"common_name": "192.168.1.300"}, "common_name"),
            ({"key_name": ""}, "key_name"),
            ({"key_name": "schlüssel"}, "key_name"),
            ({"key_use": "ipsec"}, "ipsec_destination"),
            ({"key_use": "ipsec", "ipsec_destination": "nowhere"}, "ipsec_destination"),
            ({"key_use": "tls", "ipsec_destination": "hq"}, "ipsec_destination"),
        ],
    )
    def test_bad_parameters_name_their_field(
        self, actor: Actor, parameters: dict[str, Any], field: str
    ) -> None:
        device = make_device(make_server(), ipsec_destinations=["hq"])
        with pytest.raises(ValidationError) as refused:
            requests.request_certificate(actor, device, **parameters)
        assert set(refused.value.message_dict) == {field}
        assert open_requests(device) == []

    def test_an_address_that_is_no_common_name_is_said(self, actor: Actor) -> None:
        device = make_device(make_server(), host=f"{'a' * 60}.example.com")
        for ask in (
            lambda: requests.request_certificate(actor, device),
            lambda: requests.save_settings(actor, device, timer_enabled=True, request_start_at=just_passed()),
        ):
            with pytest.raises(ValidationError) as refused:
                ask()
            assert set(refused.value.message_dict) == {"common_name"}
        requests.request_certificate(actor, device, common_name="a.example.com")

    def test_every_bad_field_is_reported_at_once(self, actor: Actor) -> None:
        with pytest.raises(ValidationError) as refused:
            requests.request_certificate(actor, make_device(make_server()), key_length=1, key_use="ipsec")
        assert set(refused.value.message_dict) == {"key_length", "ipsec_destination"}

    def test_r6_an_ipsec_destination_of_the_device_is_taken(self, actor: Actor) -> None:
        device = make_device(make_server(), ipsec_destinations=["hq", "branch"])
        request = requests.request_certificate(actor, device, key_use="ipsec", ipsec_destination="branch")
        assert request.ipsec_destination == "branch"


class TestChallengePassword:
    def test_it_is_stored_encrypted_and_removed_by_the_empty_one(self, actor: Actor) -> None:
        device = make_device()
        settings = requests.save_settings(actor, device, challenge_password=CHALLENGE)
        stored = bytes(ScepSettings.objects.get(device=device).challenge_password_encrypted or b"")
        assert stored
        assert CHALLENGE.encode() not in stored
        assert settings.reveal_challenge_password() == CHALLENGE
        requests.save_settings(actor, device, organization="Example")
        assert ScepSettings.objects.get(device=device).has_challenge_password, "untouched when not given"
        requests.save_settings(actor, device, challenge_password="")
        assert not ScepSettings.objects.get(device=device).has_challenge_password

    def test_the_audit_trail_says_that_it_changed_and_no_more(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, challenge_password=CHALLENGE, organization="Example")
        event = AuditEvent.objects.filter(action="scep_settings.update").latest("pk")
        assert event.changes == {"challenge_password": "changed", "organization": ["", "Example"]}
        assert (event.actor_name, event.target_name) == ("administrator", device.name)

    def test_nothing_changed_is_nothing_audited(self, actor: Actor) -> None:
        device = make_device()
        requests.save_settings(actor, device, organization="")
        assert not AuditEvent.objects.filter(action="scep_settings.update").exists()


def put_under_way(device: Device) -> None:
    """As a worker leaves a request that it has sent."""
    IssuanceRequest.objects.filter(device=device).update(
        state=State.SENT,
        transaction_id="t",
        private_key_encrypted=b"k",
        csr_encrypted=b"c",
        signer_certificate=b"s",
    )
