"""One action over many devices: started, resumed after a crash, canceled, and each device done once (R7)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from devices import doorbell, inventory
from devices.access import Permission
from devices.audit import SYSTEM, Actor
from devices.enrollment import requests
from devices.errors import Conflict
from devices.jobs import kinds, run, service, turn
from devices.models import AuditEvent, Device, IssuanceRequest, Job
from devices.models.choices import JobKindChoices
from tests.conftest import member_of
from tests.devices.factories import CHALLENGE, just_passed, make_device, make_server

pytestmark = pytest.mark.django_db

REQUEST = JobKindChoices.MANUAL_REQUEST


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, uuid.UUID]]:
    """What workers were rung for, in place of a broker."""
    rings: list[tuple[int, uuid.UUID]] = []

    def ring(job_id: int, lease: uuid.UUID) -> bool:
        rings.append((job_id, lease))
        return True

    monkeypatch.setattr(doorbell, "ring_job", ring)
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)
    return rings


@pytest.fixture
def fleet() -> list[Device]:
    server = make_server()
    return [make_device(server) for _ in range(5)]


def claim(job: Job, *, after: timedelta = timedelta()) -> uuid.UUID:
    (found,) = [lease for job_id, lease in run.claim_due(timezone.now() + after) if job_id == job.pk]
    return found


def results(job: Job) -> list[tuple[str, str]]:
    return list(job.items.order_by("position").values_list("state", "message"))


def test_r7_a_manual_request_for_a_selection(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, fleet, {"organization": "Example", "challenge_password": CHALLENGE})
    assert (job.state, job.total) == ("waiting", 5)
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.state, job.done, job.refused, job.percent) == ("finished", 5, 0, 100)
    made = IssuanceRequest.objects.order_by("device__name")
    assert [request.device for request in made] == fleet
    assert {request.organization for request in made} == {"Example"}
    assert {request.reveal_challenge_password() for request in made} == {CHALLENGE}
    created = AuditEvent.objects.filter(action="issuance_request.create")
    assert {event.actor_name for event in created} == {actor.name}, "in the name of whoever started the job"
    assert list(
        AuditEvent.objects.filter(target_type="job").order_by("pk").values_list("action", flat=True)
    ) == [
        "job.create",
        "job.finished",
    ]


def test_what_a_form_would_refuse_is_a_result_and_stops_nobody_else(
    actor: Actor, fleet: list[Device]
) -> None:
    requests.save_settings(SYSTEM, fleet[1], timer_enabled=True, request_start_at=just_passed())
    no_server = make_device()
    deleted = make_device(make_server())
    job = service.start(actor, REQUEST, [*fleet, no_server, deleted], {})
    inventory.delete_device(SYSTEM, deleted)
    run.advance(job.pk, claim(job))
    states, messages = zip(*results(job), strict=True)
    assert states == ("done", "refused", "done", "done", "done", "refused", "refused")
    assert "while [Enable Timer" in messages[1]
    assert "server: Choose a SCEP server" in messages[5]
    assert "deleted meanwhile" in messages[6]
    job.refresh_from_db()
    assert (job.done, job.refused) == (4, 3)


def test_r8_secrets_are_encrypted_and_gone_at_the_end(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, fleet, {"challenge_password": CHALLENGE})
    stored = Job.objects.values().get()
    assert stored["secrets_encrypted"]
    assert CHALLENGE not in str({**stored, "secrets_encrypted": bytes(stored["secrets_encrypted"])})
    run.advance(job.pk, claim(job))
    assert Job.objects.get().secrets_encrypted is None
    assert CHALLENGE not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"key_length": 512}, "key_length"), ({"key_use": "ipsec"}, "ipsec_destination")],
)
def test_parameters_that_no_device_could_take_start_no_job(
    actor: Actor, fleet: list[Device], parameters: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        service.start(actor, REQUEST, fleet, parameters)
    assert set(refused.value.message_dict) == {field}
    assert not Job.objects.exists()


def test_no_devices_no_job(actor: Actor) -> None:
    with pytest.raises(ValidationError) as refused:
        service.start(actor, REQUEST, [], {})
    assert set(refused.value.message_dict) == {"devices"}
    assert not Job.objects.exists()


class Killed(BaseException):
    """As kill -9 in the middle of a device."""


def do_instead(monkeypatch: pytest.MonkeyPatch, perform: kinds.Perform) -> None:
    changed = {**kinds.KINDS}
    old = changed[REQUEST]
    changed[REQUEST] = kinds.Kind(old.permission, perform, old.check, old.secret)
    monkeypatch.setattr(run, "KINDS", changed)


def test_a_killed_worker_leaves_no_device_half_done_and_none_is_done_twice(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_at_the_third(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
        requests.request_certificate(actor, device, ring=False)
        if device == fleet[2]:
            raise Killed
        return ""

    job, begun = service.start(actor, REQUEST, fleet, {}), timezone.now()
    with monkeypatch.context() as patched:
        do_instead(patched, die_at_the_third)
        with pytest.raises(Killed):
            run.advance(job.pk, claim(job))
    assert IssuanceRequest.objects.count() == 2, "the third one's transaction fell with its mark"
    in_its_lease = begun + turn.SILENCE - timedelta(seconds=1)
    assert run.claim_due(in_its_lease) == [], "the dead worker's lease still runs"
    run.advance(job.pk, claim(job, after=turn.SILENCE + timedelta(seconds=1)))
    job.refresh_from_db()
    assert (job.state, job.done) == ("finished", 5)
    assert IssuanceRequest.objects.count() == 5


def test_a_doubled_ring_and_an_old_lease_change_nothing(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, fleet, {})
    lease = claim(job)
    run.advance(job.pk, uuid.uuid4())
    assert not IssuanceRequest.objects.exists()
    run.advance(job.pk, lease)
    run.advance(job.pk, lease)
    assert IssuanceRequest.objects.count() == 5
    assert AuditEvent.objects.filter(action="job.finished").count() == 1


def test_a_long_job_is_given_back_after_a_turn(
    actor: Actor, fleet: list[Device], rung: list[tuple[int, uuid.UUID]]
) -> None:
    now = timezone.now()
    ticks = iter(now + turn.TURN * step / 4 for step in range(100))
    job = service.start(actor, REQUEST, fleet, {})
    run.advance(job.pk, claim(job), clock=lambda: next(ticks))
    job.refresh_from_db()
    assert job.state == "running"
    assert 0 < job.done < 5
    assert job.lease is None
    run.ring_for_due(now + timedelta(hours=1))
    run.advance(*rung.pop())
    job.refresh_from_db()
    assert (job.state, job.done) == ("finished", 5)


def test_a_ring_that_nobody_hears_is_given_back(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "ring_job", lambda *_: False)
    job = service.start(actor, REQUEST, fleet, {})
    run.ring_for_due(timezone.now())
    job.refresh_from_db()
    assert job.lease is None
    assert job.next_action_at is not None
    assert job.next_action_at <= timezone.now()


def test_canceling_leaves_what_waits_alone(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = service.start(actor, REQUEST, fleet, {"challenge_password": CHALLENGE})

    def cancel_at_the_second(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
        if device == fleet[1]:
            service.cancel(actor, job)
        return ""

    do_instead(monkeypatch, cancel_at_the_second)
    run.advance(job.pk, claim(job))
    assert [state for state, _ in results(job)] == ["done", "done", "canceled", "canceled", "canceled"]
    job.refresh_from_db()
    assert (job.state, job.done, job.secrets_encrypted, job.lease) == ("canceled", 2, None, None)
    with pytest.raises(Conflict):
        service.cancel(actor, job)


def test_rights_are_asked_for_each_device_anew(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, fleet, {})
    User.objects.update(is_active=False)
    run.advance(job.pk, claim(job))
    assert {state for state, _ in results(job)} == {"refused"}
    assert not IssuanceRequest.objects.exists()


def test_a_removed_user_can_do_nothing_any_more(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, fleet, {})
    User.objects.all().delete()
    run.advance(job.pk, claim(job))
    assert {state for state, _ in results(job)} == {"refused"}
    assert not IssuanceRequest.objects.exists()


def test_r1_only_who_may_do_it_to_one_may_do_it_to_many(fleet: list[Device], actor: Actor) -> None:
    operator = Actor.of(member_of("Operator"), AuditEvent.Source.API)
    with pytest.raises(PermissionDenied):
        service.start(operator, REQUEST, fleet, {})
    job = service.start(actor, REQUEST, fleet, {})
    with pytest.raises(PermissionDenied):
        service.cancel(operator, job)


def test_our_own_fault_is_a_result_without_its_stack_trace(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
        if device == fleet[0]:
            raise RuntimeError("a secret detail")
        return ""

    do_instead(monkeypatch, fail)
    job = service.start(actor, REQUEST, fleet, {})
    run.advance(job.pk, claim(job))
    state, message = results(job)[0]
    assert state == "refused"
    assert "secret detail" not in message
    assert [state for state, _ in results(job)[1:]] == ["done"] * 4


def test_a_database_that_is_away_costs_no_device(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_database(actor: Actor, device: Device, parameters: Mapping[str, Any]) -> str:
        raise OperationalError("server closed the connection unexpectedly")

    do_instead(monkeypatch, lose_the_database)
    job = service.start(actor, REQUEST, fleet, {})
    with pytest.raises(OperationalError):
        run.advance(job.pk, claim(job))
    assert {state for state, _ in results(job)} == {"waiting"}


def test_results_are_in_the_language_of_whoever_started_it(actor: Actor, fleet: list[Device]) -> None:
    requests.save_settings(SYSTEM, fleet[0], timer_enabled=True, request_start_at=just_passed())
    with translation.override("pt-br"):
        job = service.start(actor, REQUEST, fleet[:1], {})
    run.advance(job.pk, claim(job))
    assert "Desligue o temporizador" in results(job)[0][1] or "temporizador" in results(job)[0][1]


def test_starting_costs_the_same_queries_for_few_and_many(actor: Actor) -> None:
    server = make_server()
    made = [make_device(server) for _ in range(40)]
    service.start(actor, REQUEST, made[:2], {})
    queries = []
    for devices in (made[:4], made):
        with CaptureQueriesContext(connection) as captured:
            service.start(actor, REQUEST, devices, {})
        queries.append(len(captured))
    assert queries[0] == queries[1]


def test_every_kind_has_its_permission_and_is_plain_json(actor: Actor, fleet: list[Device]) -> None:
    assert set(kinds.KINDS) == set(JobKindChoices.values)
    assert all(kind.permission in Permission for kind in kinds.KINDS.values())
    job = service.start(actor, REQUEST, fleet, {"key_length": 3072})
    assert json.loads(json.dumps(job.parameters)) == {"key_length": 3072}
