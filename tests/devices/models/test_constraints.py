"""The database keeps the invariants, whoever writes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from devices import audit
from devices.models import LOG_LINES, AuditEvent, Device, IssuanceRequest, ScepSettings
from devices.rules.lifecycle import State
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def line(device: Device, sequence: int, **fields: Any) -> IssuanceRequest:
    """A closed line of the log, unless `fields` say otherwise."""
    closed = {"state": State.FAILED, "completed_at": NOW, "request_at": NOW, "trigger": "manual"}
    return IssuanceRequest(device=device, sequence=sequence, **closed | fields)


def refused(name: str) -> Any:
    """Expect the database itself to refuse, by the constraint `name`."""
    return pytest.raises(IntegrityError, match=name)


def test_one_open_request_per_device() -> None:
    device, waiting = make_device(), {"state": State.SCHEDULED, "completed_at": None, "next_action_at": NOW}
    line(device, 1, **waiting).save()
    with refused("issuance_one_open|issuancerequest.device_id"), transaction.atomic():
        line(device, 2, **waiting).save()
    line(make_device(), 1, **waiting).save()


def test_r18_no_more_than_20_lines_per_device() -> None:
    device = make_device()
    IssuanceRequest.objects.bulk_create(line(device, number) for number in range(1, LOG_LINES + 1))
    with refused("issuance_20_lines"), transaction.atomic():
        line(device, LOG_LINES + 1).save()


@pytest.mark.parametrize("secret", ["private_key_encrypted", "csr_encrypted", "challenge_password_encrypted"])
def test_r8_a_closed_request_holds_no_secret(secret: str) -> None:
    with refused("issuance_closed_holds_no_secret"), transaction.atomic():
        line(make_device(), 1, **{secret: b"x"}).save()


@pytest.mark.parametrize(
    "fields",
    [
        {"next_action_at": NOW},
        {"completed_at": None},
        {"state": State.SCHEDULED, "completed_at": None, "next_action_at": None},
    ],
)
def test_open_is_due_and_closed_is_not(fields: dict[str, Any]) -> None:
    with refused("issuance_open_is_due_closed_is_not"), transaction.atomic():
        line(make_device(), 1, **fields).save()


@pytest.mark.parametrize("state", [State.PREPARED, State.SENT, State.PENDING])
def test_a_request_under_way_has_its_transaction(state: State) -> None:
    with refused("issuance_under_way_has_its_transaction"), transaction.atomic():
        line(make_device(), 1, state=state, completed_at=None, next_action_at=NOW).save()


def test_key_names_are_unique_on_a_device_and_nowhere_else() -> None:
    device = make_device()
    make_key(device, name="SCEP")
    make_key(make_device(), name="SCEP")
    with refused("key_name_unique|keyandcertificate.name"), transaction.atomic():
        make_key(device, name="SCEP")


def test_a_function_has_one_key() -> None:
    device = make_device()
    make_key(device, name="a", key_use="tls")
    with refused("key_one_per_function|keyandcertificate.key_use"), transaction.atomic():
        make_key(device, name="b", key_use="tls")
    make_key(device, name="c")
    make_key(device, name="d")


def test_a_timer_that_is_on_is_complete() -> None:
    device = make_device()
    with refused("scep_settings_timer_is_complete"), transaction.atomic():
        ScepSettings.objects.filter(device=device).update(timer_enabled=True)


def test_an_audit_event_stays_as_it_is() -> None:
    device = make_device()
    audit.record(audit.SYSTEM, "device.test", device)
    event = AuditEvent.objects.filter(action="device.test").get()
    with pytest.raises(TypeError):
        event.save()
    with pytest.raises(TypeError):
        event.delete()
