"""Deliveries and fingerprints over REST (F5)."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import AuditEvent, Deployment, Device, KeyAndCertificate
from tests.devices.delivery.issued import issue
from tests.devices.factories import VIRTUAL, make_device, make_key
from tests.peers.mfps import Mfps

pytestmark = pytest.mark.django_db

DEVICES = "/api/v1/devices/"


def of(key: KeyAndCertificate) -> str:
    return f"{DEVICES}{key.device_id}/keys/{key.pk}/deployment/"


def make_deployment(key: KeyAndCertificate, **fields: Any) -> Deployment:
    now = timezone.now()
    values: dict[str, Any] = {"state": "failed", "key_use": "tls", "created_at": now, "since": now}
    if fields.get("state", "failed") in ("failed", "verified", "rolled_back", "not_verifiable"):
        values["completed_at"] = now
    else:
        values["next_action_at"] = now
    return Deployment.objects.create(key=key, device=key.device, **values | fields)


class TestDeliveries:
    def test_each_key_says_how_far_it_is(self, api: APIClient) -> None:
        device = make_device(**VIRTUAL)
        key = issue(device)
        bare = make_key(device, name="other")
        answer = api.get(f"{DEVICES}{device.pk}/keys/").json()["results"]
        shown = {row["name"]: row["deployment"] for row in answer}
        expected = {"state": "issued", "explanation": "", "tries": 0, "key_use": "tls", "sent_at": None}
        assert expected.items() <= shown["TLS"].items()
        assert shown["TLS"]["next_try_at"]
        assert shown["other"] is None
        assert api.get(of(key)).json() == shown["TLS"]
        assert api.get(of(bare)).status_code == 404
        assert "former" not in str(answer)

    def test_it_is_delivered_again(self, api: APIClient) -> None:
        key = make_key(make_device(**VIRTUAL), key_use="tls")
        row = make_deployment(key, explanation="Wrong password.", tries=3, for_administrator=True)
        answer = api.post(of(key))
        assert (answer.status_code, answer.json()["state"], answer.json()["tries"]) == (202, "issued", 0)
        row.refresh_from_db()
        assert (row.at_once, row.explanation, row.completed_at) == (True, "", None)
        event = AuditEvent.objects.get(action="deployment.create")
        assert (event.actor_name, event.source, event.changes["key"]) == ("administrator", "api", "SCEP")

    def test_a_key_that_had_no_delivery_gets_one(self, api: APIClient) -> None:
        key = make_key(make_device(**VIRTUAL), key_use="tls")
        assert api.post(of(key)).status_code == 202
        assert Deployment.objects.get(key=key).state == "issued"

    def test_one_that_was_brought_back_from_gets_its_function_again(self, api: APIClient) -> None:
        device = make_device(**VIRTUAL)
        former = make_key(device, name="old", key_use="tls", verified_at=timezone.now())
        key = make_key(device, name="new")
        make_deployment(key, state="rolled_back")
        assert api.post(of(key)).status_code == 202
        uses = dict(KeyAndCertificate.objects.values_list("name", "key_use"))
        assert uses == {"old": "none", "new": "tls"}
        row = Deployment.objects.get(key=key)
        assert row.former
        assert (row.former["name"], row.former["key_use"]) == (former.name, "tls")

    @pytest.mark.parametrize(
        ("fields", "row", "code"),
        [
            ({}, {}, "no_connector"),
            (
                {"connector": "pappl", "connector_settings": {}},
                {"key_use": "ipsec"},
                "connector_cannot_install",
            ),
            (VIRTUAL, {"state": "active"}, "delivery_open"),
            (VIRTUAL, {"state": "issued", "lease": "8d4ab1f6-6f43-4a3c-9d4e-0b1f6d1c1f11"}, "delivery_open"),
        ],
    )
    def test_conflicts(self, api: APIClient, fields: dict[str, Any], row: dict[str, Any], code: str) -> None:
        key = make_key(make_device(**fields), key_use="tls")
        if row:
            make_deployment(key, **row)
        answer = api.post(of(key))
        assert (answer.status_code, answer.json()["code"]) == (409, code)

    def test_another_devices_key_is_none_of_this_one(self, api: APIClient) -> None:
        key, other = make_key(make_device(**VIRTUAL), key_use="tls"), make_device(**VIRTUAL)
        assert api.post(f"{DEVICES}{other.pk}/keys/{key.pk}/deployment/").status_code == 404

    def test_operators_deliver_and_viewers_look(self, operator: User, viewer: User) -> None:
        key = make_key(make_device(**VIRTUAL), key_use="tls")
        make_deployment(key)
        client = APIClient()
        client.force_authenticate(viewer)
        assert (client.get(of(key)).status_code, client.post(of(key)).status_code) == (200, 403)
        assert client.get("/api/v1/deployments/").status_code == 200
        client.force_authenticate(operator)
        assert client.post(of(key)).status_code == 202

    def test_the_fleets_deliveries_by_state_at_one_cost(self, api: APIClient) -> None:
        counts = []
        for number in (2, 7):
            for _ in range(number):
                make_deployment(make_key(make_device(**VIRTUAL), key_use="tls"))
            with CaptureQueriesContext(connection) as captured:
                answer = api.get("/api/v1/deployments/", {"state": "failed"})
            counts.append(len(captured))
        assert counts[0] == counts[1]
        rows = answer.json()["results"]
        assert len(rows) == 9
        assert rows[0]["device_name"]
        assert rows[0]["key_name"] == "SCEP"
        assert api.get("/api/v1/deployments/", {"state": "verified"}).json()["results"] == []
        one = api.get("/api/v1/deployments/", {"device": rows[0]["device"]}).json()["results"]
        assert [row["id"] for row in one] == [rows[0]["id"]]
        assert api.get("/api/v1/deployments/", {"state": "lost"}).status_code == 400


class TestDevices:
    def test_tls_ports(self, api: APIClient) -> None:
        made = api.post(DEVICES, {"name": "a", "host": "10.9.9.1"}).json()
        assert made["tls_ports"] == [443, 631]
        address = f"{DEVICES}{made['id']}/"
        assert api.patch(address, {"tls_ports": [8443]}).json()["tls_ports"] == [8443]
        for wrong in ([], [0], [443, 443], ["https"], 443):
            assert api.patch(address, {"tls_ports": wrong}).status_code == 400, wrong

    def test_the_list_is_narrowed_by_delivery_and_by_drift(self, api: APIClient) -> None:
        failed, drifted, _fine = (make_device(**VIRTUAL) for _ in range(3))
        make_deployment(make_key(failed, key_use="tls"))
        Device.objects.filter(pk=drifted.pk).update(drift="expired", drift_explanation="Over.")

        def found(**query: str) -> list[int]:
            return [row["id"] for row in api.get(DEVICES, query).json()["results"]]

        assert found(deployment="failed") == [failed.pk]
        assert found(deployment="verified") == []
        assert found(drift="any") == found(drift="expired") == [drifted.pk]
        assert found(drift="weak_key") == []
        shown = api.get(f"{DEVICES}{drifted.pk}/").json()
        assert (shown["drift"], shown["drift_explanation"]) == ("expired", "Over.")

    def test_the_overview_counts_both(self, api: APIClient) -> None:
        device = make_device(**VIRTUAL)
        make_deployment(make_key(device, key_use="tls"))
        Device.objects.filter(pk=device.pk).update(drift="expired")
        answer = api.get("/api/v1/overview/").json()
        assert (answer["deliveries"]["failed"], answer["deliveries"]["verified"]) == (1, 0)
        assert answer["drifted"] == 1


class TestManyAtOnce:
    def test_a_job_delivers_what_a_filter_finds(self, api: APIClient) -> None:
        failed, _fine = make_device(**VIRTUAL), make_device(**VIRTUAL)
        make_deployment(make_key(failed, key_use="tls"), key_use="tls")
        body: dict[str, Any] = {"kind": "deliver", "filter": {"deployment": "failed"}}
        answer = api.post("/api/v1/jobs/", body)
        assert (answer.status_code, answer.json()["total"]) == (202, 1)
        refused = api.post("/api/v1/jobs/", body | {"parameters": {"force": True}})
        assert (refused.status_code, set(refused.json()["errors"])) == (400, {"parameters"})

    def test_viewers_may_not(self, viewer: User) -> None:
        client = APIClient()
        client.force_authenticate(viewer)
        assert client.post("/api/v1/jobs/", {"kind": "deliver", "filter": {}}).status_code == 403


class TestFingerprint:
    """It is looked at, compared by a person, and confirmed; until then nothing secret is sent."""

    def test_it_is_shown_and_confirmed(self, api: APIClient, mfps: Mfps) -> None:
        device = make_device(connector="virtual", connector_settings={"url": mfps.url(1)})
        address = f"{DEVICES}{device.pk}/fingerprint/"
        shown = api.get(address).json()
        factory = mfps.factory_fingerprint
        assert (shown["fingerprint"], shown["confirmed"], shown["is_confirmed"]) == (factory, "", False)
        assert "Virtual MFP" in shown["description"]
        written = ":".join(factory[i : i + 2] for i in range(0, 64, 2)).upper()
        assert api.post(address, {"fingerprint": written}).status_code == 200
        assert api.get(address).json()["is_confirmed"]
        device.refresh_from_db()
        assert device.connector_settings == {"url": mfps.url(1), "tls_fingerprint": factory}
        assert AuditEvent.objects.get(action="device.confirm_fingerprint").changes == {"fingerprint": factory}

    def test_another_one_than_it_shows_is_not_confirmed(self, api: APIClient, mfps: Mfps) -> None:
        device = make_device(connector="virtual", connector_settings={"url": mfps.url(1)})
        answer = api.post(f"{DEVICES}{device.pk}/fingerprint/", {"fingerprint": "ab" * 32})
        assert (answer.status_code, answer.json()["code"]) == (409, "fingerprint_changed")

    def test_a_delivery_that_waited_for_it_goes_on(self, api: APIClient, mfps: Mfps) -> None:
        device = make_device(connector="virtual", connector_settings={"url": mfps.url(1)})
        row = make_deployment(make_key(device, key_use="tls"), for_administrator=True)
        api.post(f"{DEVICES}{device.pk}/fingerprint/", {"fingerprint": mfps.factory_fingerprint})
        row.refresh_from_db()
        assert row.state == "issued"

    @pytest.mark.parametrize(("fields", "code"), [({}, "nothing_to_confirm"), (VIRTUAL, "unreachable")])
    def test_conflicts(self, api: APIClient, fields: dict[str, Any], code: str) -> None:
        answer = api.get(f"{DEVICES}{make_device(**fields).pk}/fingerprint/")
        assert (answer.status_code, answer.json()["code"]) == (409, code)

    def test_viewers_do_not_have_the_device_asked(self, viewer: User) -> None:
        client = APIClient()
        client.force_authenticate(viewer)
        assert client.get(f"{DEVICES}{make_device(**VIRTUAL).pk}/fingerprint/").status_code == 403
