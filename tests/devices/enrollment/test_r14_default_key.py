"""R14: the default key is never overwritten. Which one it is, administrators say."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from devices import keystore
from devices.audit import SYSTEM, Actor
from devices.enrollment import connection as scep_connection
from devices.enrollment import requests
from devices.enrollment.default_key import set_default
from devices.errors import Conflict
from devices.models import AuditEvent, Device, IssuanceRequest, KeyAndCertificate
from devices.rules.lifecycle import DETAILS_KEY_LIMIT, UNDER_WAY_STATES
from tests.conftest import member_of
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import just_passed, make_device, make_key, make_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def device() -> Device:
    return make_device(make_server())


def defaults(device: Device) -> list[str]:
    return list(device.keys.filter(is_default=True).values_list("name", flat=True))


def make_under_way(device: Device, **fields: Any) -> IssuanceRequest:
    """A request that has been sent, as far as the default key looks at it."""
    request = requests.request_certificate(SYSTEM, device)
    values = {
        "state": "sent",
        "transaction_id": "T1",
        "private_key_encrypted": b"x",
        "csr_encrypted": b"x",
        "signer_certificate": b"x",
        "started_at": just_passed(),
        **fields,
    }
    IssuanceRequest.objects.filter(pk=request.pk).update(**values)
    request.refresh_from_db()
    assert request.state in UNDER_WAY_STATES
    return request


def test_one_takes_the_place_of_another_and_it_is_audited(actor: Actor, device: Device) -> None:
    first, second = make_key(device, name="A"), make_key(device, name="B")
    other = make_key(make_device(), name="C", is_default=True)
    set_default(actor, first, is_default=True)
    assert set_default(actor, second, is_default=True).is_default
    assert defaults(device) == ["B"]
    set_default(actor, second, is_default=True)
    set_default(actor, first, is_default=False)
    set_default(actor, second, is_default=False)
    assert defaults(device) == []
    assert defaults(other.device) == ["C"], "of another device"
    events = AuditEvent.objects.filter(action="key.set_default", target_id=device.pk).order_by("pk")
    assert [event.changes["default_key"] for event in events] == [[None, "A"], ["A", "B"], ["B", None]]
    assert {event.actor_name for event in events} == {actor.name}


def test_the_database_keeps_a_second_one_out(device: Device) -> None:
    make_key(device, name="A", is_default=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_key(device, name="B", is_default=True)


def test_of_several_that_were_marked_before_it_did_the_newest_stays(device: Device) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX key_one_default_of_a_device")
    for name, days in (("A", 3), ("B", 1), ("C", 2)):
        make_key(device, name=name, is_default=True, issued_at=just_passed() - timedelta(days=days))
    alone = make_key(make_device(), name="D", is_default=True)
    import_module("devices.migrations.0022_default_key").keep_one_default_key(apps, None)
    assert (defaults(device), defaults(alone.device)) == (["B"], ["D"])


@pytest.mark.parametrize("group", ["Operator", "Viewer", ""])
def test_r1_only_administrators(device: Device, group: str) -> None:
    with pytest.raises(PermissionDenied, match="administrator"):
        set_default(Actor.of(member_of(group), AuditEvent.Source.API), make_key(device), is_default=True)
    assert defaults(device) == []


def test_not_the_one_that_a_request_under_way_overwrites(actor: Actor, device: Device) -> None:
    key, spare = make_key(device, name="TLS", key_use="tls"), make_key(device, name="Spare")
    under_way = make_under_way(device, key_use="tls", delete_old_key=True)
    with pytest.raises(Conflict) as refused:
        set_default(actor, key, is_default=True)
    assert refused.value.code == "request_open"
    set_default(actor, spare, is_default=True)
    assert defaults(device) == ["Spare"]
    IssuanceRequest.objects.filter(pk=under_way.pk).update(delete_old_key=False)
    set_default(actor, key, is_default=True)
    assert defaults(device) == ["TLS"]


def test_one_that_was_overwritten_meanwhile(actor: Actor, device: Device) -> None:
    key = make_key(device)
    KeyAndCertificate.objects.all().delete()
    with pytest.raises(Conflict) as refused:
        set_default(actor, key, is_default=True)
    assert refused.value.code == "key_gone"


def test_a_key_that_comes_back_takes_the_mark_from_nobody(device: Device) -> None:
    former = make_key(device, name="Old", key_use="tls", fingerprint_sha256="aa", is_default=True)
    kept = keystore.snapshot(former, is_overwritten=True)
    former.delete()
    new = make_key(device, name="New", key_use="tls", fingerprint_sha256="bb", is_default=True)
    back = keystore.bring_back(new, kept.row, kept.private_key_encrypted)
    assert (back.name, back.key_use, back.is_default) == ("Old", "tls", False)
    assert defaults(device) == ["New"]


def test_it_costs_the_same_with_many_keys(actor: Actor, device: Device) -> None:
    keys = [
        make_key(device, name=f"K{number}", issued_at=just_passed() - timedelta(days=number))
        for number in range(9)
    ]
    counts = []
    for key in keys[:3]:
        with CaptureQueriesContext(connection) as captured:
            set_default(actor, key, is_default=True)
        counts.append(len(captured))
    assert counts[1] == counts[2]


def test_a_key_that_becomes_the_default_key_while_the_next_one_is_made_keeps_its_room(
    ca: Ca, clock: Clock, rings: Rings, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R11: making a key takes seconds, and the room was counted with one that R14 was to overwrite."""
    device = timed(ca, key_use="tls", delete_old_key=True)
    Device.objects.filter(pk=device.pk).update(key_limit=1)
    key = make_key(device, key_use="tls")
    make = scep_connection.make_transaction

    def marked_meanwhile(*given: Any, **named: Any) -> Any:
        set_default(actor, key, is_default=True)
        return make(*given, **named)

    monkeypatch.setattr(scep_connection, "make_transaction", marked_meanwhile)
    work(clock, rings)
    assert ended(device).details == DETAILS_KEY_LIMIT
    assert (ca.log, device.keys.count()) == ([], 1)
