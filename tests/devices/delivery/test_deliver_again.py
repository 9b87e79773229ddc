"""Deliver again for a selection (F5): which keys of a device that means, and why one is refused."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from devices import doorbell
from devices.access import OPERATOR, VIEWER
from devices.audit import SYSTEM, Actor
from devices.delivery import deploy
from devices.errors import Conflict
from devices.jobs import run, service
from devices.models import AuditEvent, Deployment, Device
from devices.models.choices import JobKindChoices
from tests.conftest import member_of
from tests.devices.api.test_deployments import make_deployment
from tests.devices.delivery.conftest import Bench
from tests.devices.factories import VIRTUAL, make_device, make_key

pytestmark = pytest.mark.django_db

DELIVER = JobKindChoices.DELIVER


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ring_jobs", "ring_deployment_dispatcher"):
        monkeypatch.setattr(doorbell, name, lambda: True)


def delivered_again(device: Device) -> list[str]:
    """The names of the keys that it means for `device`."""
    return [row.key.name for row in deploy.request_deliveries(SYSTEM, device)]


class TestWhichKeys:
    def test_the_ones_in_use_with_or_without_a_delivery_so_far(self) -> None:
        device = make_device(**VIRTUAL)
        make_deployment(make_key(device, name="web", key_use="tls"), state="verified")
        make_key(device, name="network", key_use="ieee_802_1x")
        make_key(device, name="unused")
        assert delivered_again(device) == ["web", "network"]
        assert set(Deployment.objects.values_list("state", "at_once")) == {("issued", True)}

    def test_the_new_key_where_the_old_one_came_back(self) -> None:
        device = make_device(**VIRTUAL)
        make_key(device, name="old", key_use="tls")
        new = make_key(device, name="new")
        make_deployment(new, state="rolled_back", key_use="tls")
        assert delivered_again(device) == ["new"]
        new.refresh_from_db()
        assert new.key_use == "tls"

    def test_one_without_a_function_only_when_its_delivery_failed(self) -> None:
        device = make_device(**VIRTUAL)
        for name, state in (("failed", "failed"), ("there", "not_verifiable")):
            make_deployment(make_key(device, name=name), state=state, key_use="none")
        assert delivered_again(device) == ["failed"]

    def test_one_on_its_way_stays_so_and_the_others_go(self) -> None:
        device = make_device(**VIRTUAL)
        make_deployment(make_key(device, name="web", key_use="tls"), state="active", key_use="tls")
        make_key(device, name="network", key_use="ieee_802_1x")
        assert delivered_again(device) == ["network"]
        assert Deployment.objects.get(key__name="web").state == "active"


class TestRefusals:
    def test_a_device_without_a_key(self) -> None:
        device = make_device(**VIRTUAL)
        make_key(device)
        with pytest.raises(Conflict, match="nothing to deliver") as refused:
            deploy.request_deliveries(SYSTEM, device)
        assert refused.value.code == "no_key"

    def test_a_device_whose_keys_are_all_on_their_way(self) -> None:
        device = make_device(**VIRTUAL)
        make_deployment(make_key(device, key_use="tls"), state="rolling_back")
        with pytest.raises(Conflict, match="is being delivered"):
            deploy.request_deliveries(SYSTEM, device)

    def test_whoever_may_not(self) -> None:
        device = make_device(**VIRTUAL)
        make_key(device, key_use="tls")
        viewer = Actor.of(member_of(VIEWER), AuditEvent.Source.API)
        with pytest.raises(PermissionDenied):
            deploy.request_deliveries(viewer, device)
        with pytest.raises(PermissionDenied):
            service.start(viewer, DELIVER, [device], {})


def test_a_job_delivers_a_selection_and_names_who_cannot() -> None:
    ready, empty, bare = make_device(**VIRTUAL), make_device(**VIRTUAL), make_device()
    for device in (ready, bare):
        make_key(device, name="web", key_use="tls")
    actor = Actor.of(member_of(OPERATOR), AuditEvent.Source.API)
    job = service.start(actor, DELIVER, [ready, empty, bare], {})
    ((job_id, lease),) = run.claim_due(timezone.now())
    run.advance(job_id, lease)
    results = list(job.items.order_by("position").values_list("state", "message"))
    assert results[0] == ("done", "Delivered soon: web.")
    assert (results[1][0], "nothing to deliver" in results[1][1]) == ("refused", True)
    assert (results[2][0], "has no connector" in results[2][1]) == ("refused", True)
    assert [row.device_id for row in Deployment.objects.all()] == [ready.pk]
    event = AuditEvent.objects.get(action="deployment.create")
    assert (event.actor_name, event.changes["key"]) == ("operator", "web")


def test_a_device_that_was_reset_gets_its_key_back(bench: Bench) -> None:
    key = bench.issue()
    assert bench.delivered_to_the_end(key).state == "verified"
    bench.behave(forgets=True)
    assert bench.served == bench.mfps.factory_fingerprint
    bench.behave()
    assert delivered_again(bench.device) == ["TLS"]
    assert bench.delivered_to_the_end(key).state == "verified"
    assert bench.served == key.fingerprint_sha256
