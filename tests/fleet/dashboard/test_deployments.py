"""Deliveries on the pages: each key's own, the fleet's, the fingerprint, and drift (F5)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices.delivery.deployment.texts import BROUGHT_BACK, OUTSIDE_WINDOW
from devices.delivery.sweep import OTHER
from devices.models import AuditEvent, Deployment, Device, DeviceGroup, Job
from tests.devices.api.test_deployments import make_deployment
from tests.devices.factories import VIRTUAL, make_device, make_key
from tests.fleet.dashboard.filling import Form, entered, errors_at
from tests.fleet.dashboard.html import Document
from tests.peers.mfps import Mfps

pytestmark = pytest.mark.django_db


def page_of(client: Client, device: Device) -> Document:
    return Document(client.get(reverse("device-detail", args=[device.pk])))


def buttons(page: Document) -> list[str]:
    return [button.text for button in page.all("button")]


class TestDevicePage:
    def test_issued_delivered_and_verified_are_told_apart(self, viewer_client: Client) -> None:
        device, now = make_device(**VIRTUAL), timezone.now()
        key = make_key(device, key_use="tls", issued_at=now - timedelta(hours=5))
        page = page_of(viewer_client, device)
        assert "Not delivered from here yet" in page.text
        assert "5 hours ago" in page.text
        make_deployment(key, state="active")
        key.delivered_at = now - timedelta(hours=3)
        key.save()
        text = page_of(viewer_client, device).text
        assert "Activated" in text
        assert "3 hours ago" in text
        key.verified_at = now - timedelta(hours=2)
        key.save()
        Deployment.objects.update(state="verified", completed_at=now, next_action_at=None)
        text = page_of(viewer_client, device).text
        assert "Verified" in text
        assert "2 hours ago" in text

    def test_a_key_that_is_delivered_anew_is_no_longer_shown_as_verified(self, viewer_client: Client) -> None:
        device, now = make_device(**VIRTUAL), timezone.now()
        key = make_key(device, key_use="tls", verified_at=now - timedelta(hours=6))
        make_deployment(key, state="active")
        assert "6 hours ago" in page_of(viewer_client, device).text
        key.delivered_at = now - timedelta(hours=3)
        key.save()
        assert "6 hours ago" not in page_of(viewer_client, device).text

    def test_what_happened_stands_there_in_the_readers_language(self, viewer_client: Client) -> None:
        device = make_device(**VIRTUAL)
        make_deployment(
            make_key(device, key_use="tls"), explanation=f"{BROUGHT_BACK}\nThe device's own words."
        )
        text = page_of(viewer_client, device).text
        assert BROUGHT_BACK in text
        assert "The device's own words." in text
        viewer_client.post(reverse("set_language"), {"language": "pt-br", "next": "/"})
        text = page_of(viewer_client, device).text
        assert BROUGHT_BACK not in text
        assert "a chave antiga foi restaurada" in text

    def test_the_next_try_and_how_many_there_were(self, viewer_client: Client) -> None:
        device = make_device(**VIRTUAL)
        later = timezone.now() + timedelta(hours=3, minutes=1)
        make_deployment(
            make_key(device, key_use="tls"),
            state="issued",
            tries=4,
            next_action_at=later,
            explanation=OUTSIDE_WINDOW,
        )
        text = page_of(viewer_client, device).text
        assert "in 3 hours" in text
        assert "4 tries so far" in text

    def test_deliver_again_is_pressed(self, operator_client: Client) -> None:
        device = make_device(**VIRTUAL)
        key = make_key(device, key_use="tls")
        make_deployment(key, explanation="The key store of the device is full.")
        page = page_of(operator_client, device)
        assert "Deliver again" in buttons(page)
        address = reverse("key-deliver", args=[device.pk, key.pk])
        assert address in page.posts
        response = operator_client.post(address, follow=True)
        assert "The key is delivered soon." in Document(response).text
        assert Deployment.objects.get(key=key).state == "issued"
        assert AuditEvent.objects.get(action="deployment.create").actor_name == "operator"

    def test_one_under_way_is_not_delivered_twice(self, operator_client: Client) -> None:
        device = make_device(**VIRTUAL)
        key = make_key(device, key_use="tls")
        make_deployment(key, state="active")
        assert not {"Deliver", "Deliver again"} & set(buttons(page_of(operator_client, device)))
        response = operator_client.post(reverse("key-deliver", args=[device.pk, key.pk]))
        assert (response.status_code, "is being delivered" in Document(response).text) == (409, True)

    def test_a_viewer_has_no_button(self, viewer_client: Client) -> None:
        device = make_device(**VIRTUAL)
        make_key(device, key_use="tls")
        assert not {"Deliver", "Deliver again"} & set(buttons(page_of(viewer_client, device)))

    def test_without_a_connector_it_says_why(self, viewer_client: Client) -> None:
        device = make_device()
        make_key(device, key_use="tls")
        assert "install the key by hand" in page_of(viewer_client, device).text

    def test_many_keys_cost_no_query_more(self, viewer_client: Client) -> None:
        device, counts = make_device(**VIRTUAL), []
        for first, last in ((0, 2), (2, 9)):
            for number in range(first, last):
                make_deployment(make_key(device, name=f"key {number}"))
            with CaptureQueriesContext(connection) as captured:
                viewer_client.get(reverse("device-state", args=[device.pk]))
            counts.append(len(captured))
        assert counts[0] == counts[1]

    def test_drift_is_told_on_top(self, viewer_client: Client) -> None:
        device = make_device(**VIRTUAL)
        assert "Another certificate" not in page_of(viewer_client, device).text
        Device.objects.filter(pk=device.pk).update(
            drift="other_certificate", drift_explanation=OTHER, probed_at=timezone.now()
        )
        text = page_of(viewer_client, device).text
        assert "Another certificate." in text
        assert OTHER in text


class TestDeviceList:
    def test_each_devices_deliveries_and_drift_stand_in_its_row(self, viewer_client: Client) -> None:
        (one, other), counts = [make_device(**VIRTUAL) for _ in range(2)], []
        Device.objects.filter(pk=other.pk).update(drift="other_certificate", drift_explanation=OTHER)
        make_deployment(make_key(one, name="A", key_use="tls"), state="verified")
        for name, state in (("B", "verified"), ("C", "failed")):
            with CaptureQueriesContext(connection) as captured:
                viewer_client.get(reverse("device-list"))
            counts.append(len(captured))
            make_deployment(make_key(one, name=name), state=state)
        first, second = Document(viewer_client.get(reverse("device-list"))).all("tr")[1:]
        assert (first.text.count("Verified"), first.text.count("Delivery failed")) == (1, 1)
        assert "Another certificate" in second.text
        assert "Verified" not in second.text
        assert counts[0] == counts[1]


class TestFleet:
    def test_the_start_page_counts_and_leads_to_them(self, viewer_client: Client) -> None:
        make_device()
        assert "Deliveries to the devices" not in Document(viewer_client.get(reverse("start"))).text
        for state in ("failed", "failed", "verified", "rolled_back"):
            make_deployment(make_key(make_device(**VIRTUAL), key_use="tls"), state=state)
        page = Document(viewer_client.get(reverse("start")))
        for words in ("0 Issued", "0 Delivered", "1 Verified", "2 Delivery failed", "1 Old key brought back"):
            assert words in page.text
        address = f"{reverse('device-list')}?deployment=failed"
        assert address in page.links
        assert len(Document(viewer_client.get(address)).all("tr")) == 3

    def test_drifted_devices_are_counted_and_found(self, viewer_client: Client) -> None:
        drifted, _other = make_device(), make_device()
        Device.objects.filter(pk=drifted.pk).update(drift="weak_key")
        page = Document(viewer_client.get(reverse("start")))
        assert "1 device does not serve its certificate as it should." in page.text
        address = f"{reverse('device-list')}?drift=any"
        assert address in page.links
        listed = Document(viewer_client.get(address))
        assert "Weak key" in listed.text
        assert len(listed.all("tr")) == 2

    def test_a_selection_is_delivered_again(self, operator_client: Client) -> None:
        devices = [make_device(**VIRTUAL) for _ in range(2)]
        listed = Document(operator_client.get(reverse("device-list")))
        address = reverse("deliver-again")
        assert address in {button.get("formaction") for button in listed.all("button")}
        selected = f"{address}?device={devices[0].pk}&device={devices[1].pk}"
        asked = Document(operator_client.get(selected)).text
        assert "Deliver the keys of 2 devices again" in asked
        assert "also outside the maintenance windows" in asked
        response = operator_client.post(selected)
        job = Job.objects.get()
        assert (job.kind, job.total) == ("deliver", 2)
        assert response["Location"] == reverse("job-detail", args=[job.pk])
        assert operator_client.get(address).status_code == 400

    def test_a_viewer_is_offered_no_selection(self, viewer_client: Client) -> None:
        make_device(**VIRTUAL)
        listed = Document(viewer_client.get(reverse("device-list")))
        assert [box for box in listed.all("input") if box.get("name") == "device"] == []


class TestFingerprint:
    def test_it_is_compared_and_confirmed(self, operator_client: Client, mfps: Mfps) -> None:
        device = make_device(connector="virtual", connector_settings={"url": mfps.url(2)})
        page = page_of(operator_client, device)
        assert "not confirmed yet" in page.text
        address = reverse("device-fingerprint", args=[device.pk])
        assert address in page.links
        shown = Document(operator_client.get(address))
        factory = mfps.factory_fingerprint
        readable = ":".join(factory[i : i + 2] for i in range(0, 64, 2)).upper()
        assert readable in shown.text
        assert "It got neither a password nor a key." in shown.text
        response = operator_client.post(address, {"fingerprint": factory}, follow=True)
        assert "The fingerprint was confirmed." in Document(response).text
        device.refresh_from_db()
        assert device.connector_settings["tls_fingerprint"] == factory
        assert readable in page_of(operator_client, device).text
        assert "It is the one that was confirmed." in Document(operator_client.get(address)).text

    def test_another_than_the_one_that_is_shown_is_refused(self, operator_client: Client, mfps: Mfps) -> None:
        device = make_device(connector="virtual", connector_settings={"url": mfps.url(2)})
        response = operator_client.post(
            reverse("device-fingerprint", args=[device.pk]), {"fingerprint": "ab" * 32}
        )
        assert (response.status_code, "Compare it anew" in Document(response).text) == (409, True)

    def test_a_device_that_does_not_answer(self, operator_client: Client) -> None:
        device = make_device(**VIRTUAL)
        address = reverse("device-fingerprint", args=[device.pk])
        assert "Check that the device is switched on" in Document(operator_client.get(address)).text
        response = operator_client.get(address, headers={"Accept-Language": "pt-BR"})
        assert "Verifique se o dispositivo está ligado" in Document(response).text


class TestForms:
    def test_tls_ports_are_entered_as_a_list(self, operator_client: Client) -> None:
        device = make_device()
        form = Form(operator_client, "device-edit", device.pk)
        page = operator_client.get(form.address).content.decode()
        assert entered(page)["tls_ports"] == "443, 631"
        form.submit(tls_ports="8443;631")
        device.refresh_from_db()
        assert device.tls_ports == [8443, 631]
        refused = form.submit(422, tls_ports="https")
        assert "different port numbers" in errors_at(refused)["tls_ports"]

    def test_a_pappl_device_and_its_password_that_is_not_shown(self, operator_client: Client) -> None:
        device = make_device()
        form = Form(operator_client, "device-edit", device.pk)
        form.submit(connector="pappl", pappl__port="8443", pappl__password="s3cret-of-pappl")
        device.refresh_from_db()
        assert (device.connector_settings["port"], device.connector_secrets_set) == (8443, ["password"])
        assert "s3cret-of-pappl" not in operator_client.get(form.address).content.decode()

    def test_the_window_and_when_it_does_not_count(self, operator_client: Client) -> None:
        group = DeviceGroup.objects.create(name="Office")
        form = Form(operator_client, "group-edit", group.pk)
        form.submit(maintenance_start="22:00", maintenance_end="05:00", urgent_days="14")
        group.refresh_from_db()
        assert (str(group.maintenance_start), group.urgent_days) == ("22:00:00", 14)
        page = form.submit(422, maintenance_start="22:00", maintenance_end="")
        assert "enter both, or none" in page


class TestTheDefaultKey:
    """R14 never overwrites it."""

    def test_an_administrator_chooses_it(self, administrator_client: Client) -> None:
        device = make_device()
        first, second = make_key(device, name="A"), make_key(device, name="B", is_default=True)
        page = page_of(administrator_client, device)
        assert "Default key" in page.text
        address = reverse("key-default", args=[device.pk, first.pk])
        assert {address, reverse("key-default", args=[device.pk, second.pk])} <= set(page.links)
        assert "never overwritten" in Document(administrator_client.get(address)).text
        response = administrator_client.post(address, follow=True)
        assert "The default key was changed." in Document(response).text
        assert [key.name for key in device.keys.filter(is_default=True)] == ["A"]
        administrator_client.post(address)
        assert not device.keys.filter(is_default=True).exists()
        events = AuditEvent.objects.filter(action="key.set_default").order_by("pk")
        assert [event.changes["default_key"] for event in events] == [["B", "A"], ["A", None]]

    def test_others_see_which_one_it_is(self, operator_client: Client) -> None:
        device = make_device()
        key = make_key(device, is_default=True)
        page = page_of(operator_client, device)
        assert "Default key" in page.text
        address = reverse("key-default", args=[device.pk, key.pk])
        assert address not in page.links
        assert operator_client.post(address).status_code == 403
