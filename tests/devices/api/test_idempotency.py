"""`Idempotency-Key`: sent again is not done again, whoever sends it and whatever happens meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.test import APIClient

from devices import idempotency, inventory, tasks
from devices.api.idempotency import _digest
from devices.api.views import DeviceViewSet
from devices.models import Device, IdempotentRequest, Job
from tests.devices.conftest import client_of
from tests.devices.factories import CHALLENGE, make_device, make_server

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"
ONE = {"name": "mfp", "host": "10.0.0.1"}


def post(api: APIClient, address: str, body: Any, key: str = "k-1") -> Any:
    return api.post(address, body, headers={"Idempotency-Key": key})


class TestTheSameAgain:
    def test_is_answered_and_not_done(self, api: APIClient) -> None:
        first, second = post(api, DEVICES, ONE), post(api, DEVICES, ONE)
        assert first.status_code == second.status_code == 201
        assert first.content == second.content
        assert first["Content-Type"] == second["Content-Type"]
        assert "Idempotency-Replayed" not in first
        assert second["Idempotency-Replayed"] == "true"
        assert Device.objects.count() == 1

    def test_for_actions_too(self, api: APIClient) -> None:
        device = make_device(make_server())
        job = {
            "kind": "manual_request",
            "devices": [device.pk],
            "parameters": {"challenge_password": CHALLENGE},
        }
        answers = [post(api, "/api/v1/jobs/", job) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        assert Job.objects.count() == 1
        stored = [
            str(getattr(IdempotentRequest.objects.get(), field.name))
            for field in IdempotentRequest._meta.fields
        ]
        assert not [text for text in stored if CHALLENGE in text]

    def test_in_the_drafts_quotes_it_is_the_same_key(self, api: APIClient) -> None:
        post(api, DEVICES, ONE, "abc")
        assert post(api, DEVICES, ONE, '"abc"')["Idempotency-Replayed"] == "true"

    def test_without_a_key_nothing_is_kept(self, api: APIClient) -> None:
        api.post(DEVICES, ONE)
        assert not IdempotentRequest.objects.exists()


class TestAnotherRequest:
    @pytest.mark.parametrize(
        ("address", "body"),
        [
            (DEVICES, ONE | {"name": "other"}),
            ("/api/v1/device-groups/", {"name": "mfp"}),
            (DEVICES + "?x=1", ONE),
        ],
    )
    def test_under_the_same_key_is_refused(self, api: APIClient, address: str, body: dict[str, str]) -> None:
        post(api, DEVICES, ONE)
        refused = post(api, address, body)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert refused["Content-Type"] == "application/problem+json"

    def test_of_another_user_is_another(self, api: APIClient, viewer_api: APIClient) -> None:
        post(api, DEVICES, ONE)
        assert post(viewer_api, DEVICES, ONE).status_code == 403

    def test_of_a_token_with_other_scopes_is_another(self, administrator: User) -> None:
        post(client_of(administrator, "devices"), DEVICES, ONE)
        refused = post(client_of(administrator, "read"), DEVICES, ONE)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        again = post(client_of(administrator, "devices"), DEVICES, ONE)
        assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true"), "a renewed token"

    @pytest.mark.parametrize("key", ["", " ", "a b", "ä", "k" * 256, '""'])
    def test_under_a_key_that_is_none_is_refused(self, api: APIClient, key: str) -> None:
        refused = post(api, DEVICES, ONE, key)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_idempotency_key")
        assert not Device.objects.exists()


class TestWhatFailed:
    def test_was_not_done_and_can_be_mended_under_its_key(self, api: APIClient) -> None:
        assert post(api, DEVICES, {"name": "mfp"}).status_code == 400
        assert post(api, DEVICES, ONE).status_code == 201

    def test_leaves_nothing_behind_when_it_crashed_halfway(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create = inventory.create_devices

        def crash(*args: Any, **fields: Any) -> None:
            create(*args, **fields)
            raise RuntimeError("halfway")

        with monkeypatch.context() as patch:
            patch.setattr(inventory, "create_devices", crash)
            api.raise_request_exception = False
            assert post(api, DEVICES, [ONE]).status_code == 500
            assert not Device.objects.exists()
        assert post(api, DEVICES, [ONE]).status_code == 201

    def test_strangers_leave_nothing(self) -> None:
        assert post(APIClient(), DEVICES, ONE).status_code == 401
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION="Token wrong")
        assert post(client, DEVICES, ONE).status_code == 401
        assert not IdempotentRequest.objects.exists()


class TestSecrets:
    def test_a_token_is_issued_once_and_never_answered_again(self, api: APIClient) -> None:
        body = {"name": "CMDB", "scopes": ["read"]}
        token = post(api, "/api/v1/auth/tokens/", body).json()["token"]
        again = post(api, "/api/v1/auth/tokens/", body)
        assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
        assert token not in again.content.decode()
        assert IdempotentRequest.objects.get().body == ""


class TestTime:
    def test_while_it_is_under_way_it_is_refused(self, api: APIClient, actor: Any) -> None:
        row = self._begun(actor.user.pk)
        refused = post(api, DEVICES, ONE)
        assert (refused.status_code, refused.json()["code"]) == (409, "request_under_way")
        assert refused["Retry-After"]
        row.delete()

    def test_who_died_over_it_is_succeeded_and_cannot_come_back(self, api: APIClient, actor: Any) -> None:
        row = self._begun(actor.user.pk)
        lost = idempotency.Claim(row.pk, row.claim)
        IdempotentRequest.objects.update(claimed_until=timezone.now())
        assert post(api, DEVICES, ONE).status_code == 201
        with pytest.raises(idempotency.ClaimLost):
            idempotency.answered(lost, 201, "application/json", "{}")
        idempotency.give_up(lost)
        assert post(api, DEVICES, ONE)["Idempotency-Replayed"] == "true"

    def test_who_was_slow_finds_the_request_taken_over_and_undoes_what_was_done(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create = inventory.create_device

        def slow(*args: Any, **fields: Any) -> Any:
            IdempotentRequest.objects.update(claim=uuid.uuid4())
            return create(*args, **fields)

        monkeypatch.setattr(DeviceViewSet, "create_service", staticmethod(slow))
        refused = post(api, DEVICES, ONE)
        assert (refused.status_code, refused.json()["code"]) == (409, "request_under_way")
        assert not Device.objects.exists()

    def test_after_a_day_the_key_is_free(self, api: APIClient) -> None:
        post(api, DEVICES, ONE)
        IdempotentRequest.objects.update(expires_at=timezone.now())
        assert post(api, DEVICES, ONE).status_code == 400, "done anew, and the name is taken"

    def test_beat_has_them_removed(self, api: APIClient) -> None:
        for number in range(2):
            post(api, DEVICES, {"name": f"m{number}", "host": "10.0.0.1"}, f"k{number}")
        IdempotentRequest.objects.filter(key="k0").update(expires_at=timezone.now() - timedelta(seconds=1))
        tasks.clean_up()
        assert [row.key for row in IdempotentRequest.objects.all()] == ["k1"]

    def _begun(self, user_id: int) -> IdempotentRequest:
        made = RequestFactory().post(
            DEVICES, b'{"name":"mfp","host":"10.0.0.1"}', content_type="application/json"
        )
        claim = idempotency.begin(user_id, "k-1", _digest(made, BytesIO()), timezone.now())
        assert isinstance(claim, idempotency.Claim)
        return IdempotentRequest.objects.get(pk=claim.row_id)


class TestBodies:
    def test_a_large_one_is_no_obstacle(self, api: APIClient) -> None:
        rows = [{"name": f"mfp-{n}", "host": "10.0.0.1", "location": "x" * 190} for n in range(12_000)]
        body = str(rows).replace("'", '"')
        assert len(body) > 2_621_440, "more than Django lets forms have"
        keyed = {"Idempotency-Key": "large"}
        refused = api.generic("POST", DEVICES, body[:-1], content_type="application/json", headers=keyed)
        assert refused.json()["code"] == "parse_error", "read to its end"

    def test_files_count_with_what_is_in_them(self) -> None:
        def digest(content: bytes, name: str = "f.csv", mode: str = "check") -> str:
            file = SimpleUploadedFile(name, content)
            return _digest(RequestFactory().post("/api/v1/x/", {"file": file, "mode": mode}), BytesIO())

        assert digest(b"a,b") == digest(b"a,b"), "the boundary does not count"
        assert len({digest(b"a,b"), digest(b"a,c"), digest(b"a,b", "g.csv"), digest(b"a,b", mode="go")}) == 4


@pytest.mark.django_db(transaction=True)
def test_at_once_it_is_done_once(at_once: Callable[..., list[Any]]) -> None:
    # a superuser: a transactional test may find no groups
    root = User.objects.create_superuser("root")
    clients = [client_of(root) for _ in range(6)]
    answers = at_once([lambda client=client: post(client, DEVICES, ONE) for client in clients])
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 409}
    assert statuses.count(201) >= 1
    assert sum("Idempotency-Replayed" not in a for a in answers if a.status_code == 201) == 1
    assert Device.objects.count() == 1
    assert {answer.content for answer in answers if answer.status_code == 201} == {
        next(answer.content for answer in answers if answer.status_code == 201)
    }


@pytest.fixture
def at_once() -> Callable[..., list[Any]]:
    """Calls all of them in threads that start together."""

    def run(calls: list[Callable[[], Any]]) -> list[Any]:
        barrier = Barrier(len(calls))

        def one(call: Callable[[], Any]) -> Any:
            try:
                barrier.wait(timeout=600)
                return call()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result(timeout=600) for future in [pool.submit(one, call) for call in calls]]

    return run
