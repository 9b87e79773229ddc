"""`Idempotency-Key` on what asks a device: it takes seconds, and the database is not held meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.utils import timezone
from rest_framework.test import APIClient

from devices import idempotency
from devices.delivery import connector_test, deploy, identify
from devices.delivery.connectors.base import Identity, Presented
from devices.models import AuditEvent, Device, IdempotentRequest
from tests.devices.conftest import client_of
from tests.devices.factories import make_device

pytestmark = pytest.mark.django_db(transaction=True)

FINGERPRINT = "ab" * 32
BODIES: dict[str, Any] = {
    "identity": None,
    "connector-test": None,
    "fingerprint": {"fingerprint": FINGERPRINT},
}


class Killed(BaseException):
    """As kill -9."""


class Seen(NamedTuple):
    """What was seen while the device was asked."""

    in_transaction: bool
    second: Any
    """The answer to the same POST, sent again meanwhile."""


@pytest.fixture
def root() -> APIClient:
    # a superuser: a transactional test may find no groups
    return client_of(User.objects.create_superuser("root"))


@pytest.fixture
def device() -> Device:
    settings = {"profile": "generic", "password": "s3cret", "login": "none"}
    return make_device(host="127.0.0.1", connector="http_upload", connector_settings=settings)


def post(api: APIClient, device: Device, what: str) -> Any:
    address = f"/api/v1/devices/{device.pk}/{what}/"
    return api.post(address, BODIES[what], headers={"Idempotency-Key": "k-1"})


@pytest.fixture
def asked(root: APIClient, device: Device, monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """While the device is asked, the same POST is sent by another thread."""
    found: list[Seen] = []

    def meanwhile(what: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def again() -> Any:
            try:
                return post(root, device, what)
            finally:
                connections.close_all()

        def slow(*args: Any) -> Any:
            with ThreadPoolExecutor(1) as pool:
                second = pool.submit(again).result(timeout=600)
            found.append(Seen(connection.in_atomic_block, second))
            return ask(*args)

        return slow

    told = {"IPP": lambda: Identity("Example", "MFP", "A1", "")}
    monkeypatch.setattr(identify, "_ways", meanwhile("identity", lambda _device: told))
    monkeypatch.setattr(connector_test, "can_test", meanwhile("connector-test", connector_test.can_test))
    shown = Presented(FINGERPRINT)
    monkeypatch.setattr(deploy, "presented", meanwhile("fingerprint", lambda *_: shown))
    return found


@pytest.mark.parametrize("what", BODIES)
def test_no_transaction_is_open_and_the_device_is_asked_once(
    root: APIClient, device: Device, asked: list[Seen], what: str
) -> None:
    first = post(root, device, what)
    assert first.status_code == 200, first.content
    ((in_transaction, second),) = asked
    assert not in_transaction
    assert (second.status_code, second.json()["code"]) == (409, "request_under_way")
    assert second["Retry-After"]
    replayed = post(root, device, what)
    assert (replayed.content, replayed["Idempotency-Replayed"]) == (first.content, "true")
    assert len(asked) == 1


def test_an_error_frees_the_key(root: APIClient, device: Device) -> None:
    Device.objects.update(connector="none", connector_settings={})
    assert post(root, device, "connector-test").json()["code"] == "connector_cannot_test"
    assert not IdempotentRequest.objects.exists()


def test_a_process_that_died_leaves_the_key_taken_for_five_minutes(
    root: APIClient, device: Device, asked: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(identify, "identify", die)
        # a process that was killed gives nothing up
        patched.setattr(idempotency, "give_up", lambda _claim: None)
        with pytest.raises(Killed):
            post(root, device, "identity")
    refused = post(root, device, "identity")
    assert (refused.status_code, refused.json()["code"]) == (409, "request_under_way")
    left = IdempotentRequest.objects.get().claimed_until - timezone.now()
    assert idempotency.CLAIM < left <= idempotency.CLAIM_WHILE_ASKING
    IdempotentRequest.objects.update(claimed_until=timezone.now())
    assert post(root, device, "identity").status_code == 200


def test_who_was_taken_over_does_not_answer_in_the_name_of_the_other(
    root: APIClient, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_device: Device) -> Any:
        # five minutes later somebody sends it again
        IdempotentRequest.objects.update(claim="00000000-0000-4000-8000-000000000000")
        return {"IPP": lambda: Identity("Example", "MFP", "A1", "")}

    monkeypatch.setattr(identify, "_ways", slow)
    refused = post(root, device, "identity")
    assert (refused.status_code, refused.json()["code"]) == (409, "request_under_way")
    assert IdempotentRequest.objects.get().status is None


def test_what_a_try_found_is_audited_once(root: APIClient, device: Device, asked: list[Seen]) -> None:
    for _ in range(3):
        post(root, device, "connector-test")
    assert AuditEvent.objects.filter(action="device.connector_test").count() == 1
