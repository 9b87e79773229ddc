"""Which devices a job is about is decided when it is started, and listed by a worker."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import doorbell, inventory
from devices.audit import SYSTEM, Actor
from devices.filters import select_devices
from devices.jobs import run, selection, service, turn
from devices.models import AuditEvent, Device, IssuanceRequest, Job, JobPart
from devices.models.choices import JobKindChoices
from tests.devices.factories import make_device, make_server

pytestmark = pytest.mark.django_db

REQUEST = JobKindChoices.MANUAL_REQUEST


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three devices, and no broker."""
    monkeypatch.setattr(selection, "PART", 3)
    monkeypatch.setattr(doorbell, "ring_job", lambda *_: True)
    monkeypatch.setattr(doorbell, "ring_jobs", lambda: True)


@pytest.fixture
def fleet() -> list[Device]:
    server = make_server()
    return [make_device(server, name=f"mfp-{number}", location="Lobby") for number in range(8)]


def start(actor: Actor) -> Job:
    return service.start(actor, REQUEST, select_devices(query={"search": "lobby"}), {})


def claim(job: Job, *, after: timedelta = timedelta()) -> uuid.UUID:
    (found,) = [lease for job_id, lease in run.claim_due(timezone.now() + after) if job_id == job.pk]
    return found


def listed(job: Job) -> list[tuple[int, str]]:
    return list(job.items.order_by("position").values_list("position", "device_name"))


def test_a_job_whose_secrets_no_key_opens_ends(actor: Actor, fleet: list[Device]) -> None:
    job = service.start(actor, REQUEST, Device.objects.all(), {"challenge_password": "x"})
    Job.objects.filter(pk=job.pk).update(secrets_encrypted=b"rubbish")
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.state, job.done, job.refused, job.secrets_encrypted) == ("refused", 0, 0, None)
    assert "FLEETSEAL_ENCRYPTION_KEYS" in job.message
    assert set(job.items.values_list("state", flat=True)) == {"canceled"}
    assert not JobPart.objects.exists()
    assert not IssuanceRequest.objects.exists()


def test_the_request_lists_a_part_and_the_worker_the_others(actor: Actor, fleet: list[Device]) -> None:
    job = start(actor)
    assert (job.total, len(listed(job)), JobPart.objects.count()) == (8, 3, 2)
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.state, job.done, job.refused) == ("finished", 8, 0)
    assert listed(job) == [(number, device.name) for number, device in enumerate(fleet)]
    assert not JobPart.objects.exists()
    assert IssuanceRequest.objects.count() == 8


def test_it_is_the_selection_that_was_seen(actor: Actor, fleet: list[Device]) -> None:
    job = start(actor)
    inventory.update_device(SYSTEM, fleet[6], location="Cellar")
    inventory.delete_device(SYSTEM, fleet[7])
    make_device(make_server(), name="mfp-9", location="Lobby")
    run.advance(job.pk, claim(job))
    assert [name for _, name in listed(job)] == [f"mfp-{number}" for number in range(8)]
    refused = job.items.get(state="refused")
    assert (refused.device_name, refused.device) == ("mfp-7", None)
    assert "deleted meanwhile" in refused.message


def test_what_counts_for_one_device_alone_stays_with_it(actor: Actor, fleet: list[Device]) -> None:
    pairs = [(device, {"key_name": f"for {device.name}"}) for device in fleet]
    job = service.start(actor, REQUEST, pairs, {"organization": "Example"})
    run.advance(job.pk, claim(job))
    made = IssuanceRequest.objects.values_list("device__name", "key_name", "organization")
    assert set(made) == {(device.name, f"for {device.name}", "Example") for device in fleet}


def test_starting_costs_the_same_queries_for_few_and_many(actor: Actor, fleet: list[Device]) -> None:
    start(actor)
    counts = []
    for more in (2, 40):
        Device.objects.bulk_create(
            Device(name=f"x-{more}-{number}", host="10.0.0.1", location="Lobby") for number in range(more)
        )
        with CaptureQueriesContext(connection) as captured:
            start(actor)
        counts.append(len(captured))
    assert counts[0] == counts[1]


class Killed(BaseException):
    """As kill -9 while a part is listed."""


def test_a_worker_that_is_killed_while_it_lists_leaves_none_out_and_none_twice(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(actor)
    make_rows = selection._make_rows

    def die(*args: Any) -> None:
        make_rows(*args)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(selection, "_make_rows", die)
        with pytest.raises(Killed):
            run.advance(job.pk, claim(job))
    assert len(listed(job)) == 3, "the part's rows fell with its transaction"
    run.advance(job.pk, claim(job, after=turn.LEASE + timedelta(seconds=1)))
    assert listed(job) == [(number, device.name) for number, device in enumerate(fleet)]
    assert IssuanceRequest.objects.count() == 8


def test_a_turn_that_ends_while_it_lists_is_given_back(actor: Actor, fleet: list[Device]) -> None:
    job = start(actor)
    now = timezone.now()
    ticks = iter(now + turn.TURN * step / 3 for step in range(100))
    run.advance(job.pk, claim(job), clock=lambda: next(ticks))
    job.refresh_from_db()
    assert (job.state, job.lease, job.done) == ("running", None, 0)
    assert not IssuanceRequest.objects.exists(), "nothing is done before all is listed"
    run.advance(job.pk, claim(job, after=timedelta(hours=1)))
    job.refresh_from_db()
    assert (job.state, job.done) == ("finished", 8)


def test_canceled_before_it_was_listed(actor: Actor, fleet: list[Device]) -> None:
    job = service.cancel(actor, start(actor))
    assert (job.state, job.total, job.done) == ("canceled", 8, 0)
    assert job.message == "5 devices were not listed yet, and nothing was done to them."
    assert not JobPart.objects.exists()
    assert set(job.items.values_list("state", flat=True)) == {"canceled"}
    assert AuditEvent.objects.get(action="job.cancel").changes == {"done": 0, "canceled": 8}


def test_canceled_while_it_is_listed(
    actor: Actor, fleet: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(actor)
    is_listed = selection.is_listed

    def cancel_then(of: Job) -> bool:
        found = is_listed(of)
        service.cancel(actor, of)
        return found

    monkeypatch.setattr(selection, "is_listed", cancel_then)
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.state, job.done, len(listed(job))) == ("canceled", 0, 3)
    assert not IssuanceRequest.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_deleted_in_the_moment_of_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Actor.of(User.objects.create_superuser("root"), AuditEvent.Source.API)
    server = make_server()
    made = [make_device(server, name=f"mfp-{number}", location="Lobby") for number in range(5)]
    job = start(actor)
    gone = made[4].pk
    inventory.delete_device(SYSTEM, made[4])
    there, looks = selection._there, []

    def as_before(ids: Any) -> set[int]:
        looks.append(ids)
        return there(ids) | ({gone} if len(looks) == 1 else set())

    monkeypatch.setattr(selection, "_there", as_before)
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert len(looks) == 2, "the database refused the first try"
    assert (job.state, job.done, job.refused) == ("finished", 4, 1)
