"""A worker that is killed in the middle of an import leaves nothing half done, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone

from devices import imports, inventory
from devices.audit import SYSTEM, Actor
from devices.jobs import run, service, turn
from devices.models import AuditEvent, Device, Import, Job
from devices.transfer import apply, check
from tests.devices.transfer.files import checked, csv_file, work


class Killed(BaseException):
    """As kill -9 in the middle of a row."""


LATER = turn.SILENCE + timedelta(seconds=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "CHUNK", 3)
    monkeypatch.setattr(check, "CHUNK", 3)


def rows(count: int = 10) -> bytes:
    return csv_file([{"name": f"new-{n}", "host": f"10.2.0.{n}"} for n in range(count)])


def die_at(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, number: int, error: BaseException
) -> None:
    """The call number `number` of a function does its work, and then the process dies."""
    old, calls = getattr(module, name), iter(range(1000))

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = old(*args, **kwargs)
        if next(calls) == number:
            raise error
        return result

    monkeypatch.setattr(module, name, dying)


INTERRUPTED = "An earlier try was interrupted in the middle, and nothing of it was applied."


def told(job: Job) -> tuple[int, str]:
    """How many rows are done and what else the job says, as its page shows it."""
    job.refresh_from_db()
    return job.done, job.message


def claim(job: Job | None, *, after: timedelta = timedelta()) -> Any:
    assert job
    return run.claim(job.pk, timezone.now() + after)


@pytest.mark.django_db
@pytest.mark.parametrize("good_rows_only", [True, False])
def test_a_killed_worker_leaves_whole_chunks_or_nothing_and_the_next_one_ends_it(
    monkeypatch: pytest.MonkeyPatch, good_rows_only: bool
) -> None:
    found = checked(rows())
    job, begun = imports.apply(SYSTEM, found, good_rows_only=good_rows_only), timezone.now()
    with monkeypatch.context() as patched:
        die_at(patched, inventory, "store_devices", 2, Killed())
        with pytest.raises(Killed):
            run.advance(job.pk, claim(job))
    assert Device.objects.count() == (6 if good_rows_only else 0)
    assert found.rows.filter(state="done").count() == Device.objects.count()
    job.refresh_from_db()
    assert (job.state, job.done) == ("running", Device.objects.count())
    in_its_lease = begun + turn.SILENCE - timedelta(seconds=1)
    assert run.claim(job.pk, in_its_lease) is None, "the dead worker's lease still runs"
    assert found.rows.filter(state="waiting").exists()
    seen: list[tuple[int, str]] = []
    run.advance(job.pk, claim(job, after=LATER), tell=lambda _progress: seen.append(told(job)))
    assert seen[0] == ((9, "") if good_rows_only else (0, INTERRUPTED)), (
        "nobody takes what was undone for done"
    )
    job.refresh_from_db()
    assert job.message == ""
    assert (job.state, job.done, job.refused) == ("finished", 10, 0)
    assert Device.objects.count() == 10
    assert AuditEvent.objects.filter(action="device.create").count() == 10


@pytest.mark.django_db
def test_a_killed_check_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    found = imports.receive(SYSTEM, BytesIO(rows()))
    with monkeypatch.context() as patched:
        die_at(patched, check, "_check_doubles", 2, Killed())
        with pytest.raises(Killed):
            run.advance(found.check_job_id or 0, claim(found.check_job))
    assert found.rows.count() == 6
    run.advance(found.check_job_id or 0, claim(found.check_job, after=LATER))
    found = Import.objects.get()
    assert (found.state, found.added, found.rows.count()) == ("checked", 10, 10)
    assert sorted(found.rows.values_list("number", flat=True)) == list(range(10))


@pytest.mark.django_db
def test_a_long_check_is_given_back_after_a_turn() -> None:
    found = imports.receive(SYSTEM, BytesIO(rows(30)))
    now = timezone.now()
    ticks = iter(now + turn.TURN * step / 8 for step in range(1000))
    run.advance(found.check_job_id or 0, claim(found.check_job), clock=lambda: next(ticks))
    job = Job.objects.get()
    assert (job.state, job.lease) == ("running", None)
    assert 0 < found.rows.count() < 30
    assert job.total == 30
    Job.objects.update(next_action_at=now)
    work()
    assert Import.objects.get().added == 30


@pytest.mark.django_db
def test_canceling_keeps_what_was_done_and_leaves_the_rest_alone(
    monkeypatch: pytest.MonkeyPatch, actor: Actor
) -> None:
    found = checked(rows(), actor)
    job = imports.apply(actor, found, good_rows_only=True)
    lease = claim(job)
    monkeypatch.setattr(turn, "TURN", timedelta())
    monkeypatch.setattr("devices.jobs.steps.TURN", timedelta())
    run.advance(job.pk, lease)
    assert Device.objects.count() == 3
    service.cancel(actor, job)
    work()
    job.refresh_from_db()
    assert (job.state, job.done, Device.objects.count()) == ("canceled", 3, 3)
    assert sorted(found.rows.values_list("state", flat=True)) == ["canceled"] * 7 + ["done"] * 3


@pytest.mark.django_db
def test_all_or_nothing_that_was_canceled_meanwhile_is_nothing(
    monkeypatch: pytest.MonkeyPatch, actor: Actor
) -> None:
    found = checked(rows(), actor)
    job = imports.apply(actor, found)
    old = apply._apply

    def cancel_meanwhile(*args: Any, **kwargs: Any) -> Any:
        # what another connection does is here done by this one, as a canceled row reads to it
        Job.objects.filter(pk=job.pk).update(lease=None)
        return old(*args, **kwargs)

    monkeypatch.setattr(apply, "_apply", cancel_meanwhile)
    run.advance(job.pk, claim(job))
    assert not Device.objects.exists()


@pytest.mark.django_db
def test_a_name_that_is_taken_at_the_very_moment_costs_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(rows(3))
    job = imports.apply(SYSTEM, found, good_rows_only=True)
    old = inventory.store_devices

    def beaten_to_it(actor: Actor, planned: Any) -> None:
        if any(device.name == "new-1" for device, _changes in planned):
            raise IntegrityError("duplicate key value violates unique constraint")
        old(actor, planned)

    monkeypatch.setattr(inventory, "store_devices", beaten_to_it)
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.done, job.refused) == (2, 1)
    assert "took this name" in found.rows.get(state="refused").message


@pytest.mark.django_db
def test_a_database_that_is_away_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(rows(3))
    job = imports.apply(SYSTEM, found)
    with monkeypatch.context() as patched:
        die_at(patched, inventory, "store_devices", 0, OperationalError("server closed the connection"))
        with pytest.raises(OperationalError):
            run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert job.is_open
    assert found.rows.filter(state="waiting").count() == 3


@pytest.mark.django_db
def test_our_own_fault_ends_the_job_and_says_so_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(rows(3))
    job = imports.apply(SYSTEM, found)
    die_at(monkeypatch, inventory, "store_devices", 0, RuntimeError("a secret detail"))
    run.advance(job.pk, claim(job))
    job.refresh_from_db()
    assert (job.state, job.done) == ("refused", 0)
    assert "error of Fleetseal itself" in job.message
    assert not Device.objects.exists()


@pytest.mark.django_db
def test_rights_are_asked_for_anew_when_it_is_applied(actor: Actor) -> None:
    found = checked(rows(3), actor)
    job = imports.apply(actor, found)
    assert actor.user
    actor.user.is_active = False
    actor.user.save()
    work()
    job.refresh_from_db()
    assert job.state == "refused"
    assert "administrator" in job.message
    assert not Device.objects.exists()


@pytest.fixture
def ticking() -> Callable[[], datetime]:
    now = timezone.now()
    ticks = iter(now + timedelta(seconds=4 * step) for step in range(10_000))
    return lambda: next(ticks)


@pytest.mark.django_db(transaction=True)
def test_all_or_nothing_is_heard_of_while_it_runs_and_heeds_a_cancel(
    ticking: Any, monkeypatch: pytest.MonkeyPatch, actor: Actor
) -> None:
    found = checked(rows(30), actor)
    job = imports.apply(actor, found)
    seen: list[int] = []

    def look(_progress: Any) -> None:
        if connection.vendor != "postgresql":
            return  # one writer at a time: nobody hears of it meanwhile
        side = connection.copy()
        with side.cursor() as cursor:
            cursor.execute("SELECT done FROM devices_job WHERE id = %s", [job.pk])
            seen.append(cursor.fetchone()[0])
            if seen[-1] > 12:
                cursor.execute("UPDATE devices_job SET lease = NULL WHERE id = %s", [job.pk])
        side.close()

    run.advance(job.pk, claim(job), clock=ticking, tell=look)
    if connection.vendor == "postgresql":
        assert 0 < max(seen) <= 30, "others see the progress of the one transaction"
    assert Device.objects.count() == (0 if seen else 30), "and a job that was taken away does nothing"


@pytest.mark.django_db(transaction=True)
def test_who_is_in_the_middle_of_a_long_step_is_not_silent_and_nobody_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = imports.apply(SYSTEM, checked(rows(3)), good_rows_only=True)
    lease = claim(job)
    old, claimed = apply._apply, []

    def claim_meanwhile() -> None:
        try:
            claimed.append(claim(job, after=LATER))
        finally:
            connection.close()

    def look_meanwhile(*args: Any, **kwargs: Any) -> Any:
        if connection.vendor == "postgresql":  # where there is one writer at a time, nobody comes this far
            others = ThreadPoolExecutor(1)
            others.submit(claim_meanwhile).result(600)
            others.shutdown(wait=False)
        return old(*args, **kwargs)

    monkeypatch.setattr(apply, "_apply", look_meanwhile)
    run.advance(job.pk, lease)
    job.refresh_from_db()
    assert (job.state, job.done, {*claimed} - {None}) == ("finished", 3, set())
