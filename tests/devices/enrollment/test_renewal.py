"""Renewal that looks at the certificate, and the warning where nothing renews it in time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from devices.audit import Actor
from devices.enrollment import requests
from devices.filters import DeviceFilter, device_queryset
from devices.models import Device, IssuanceRequest, KeyAndCertificate, summary
from devices.rules.lifecycle import State
from devices.statistics import fleet_overview
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import make_device, make_key

pytestmark = pytest.mark.django_db


def following(device: Device) -> IssuanceRequest:
    """The device's next request."""
    return IssuanceRequest.objects.get(device=device, state=State.SCHEDULED)


def test_the_next_request_goes_by_the_certificate(ca: Ca, clock: Clock, rings: Rings) -> None:
    device = timed(ca, key_use="tls", renew_at_percent=50, renew_days_before=30, request_interval_days=3000)
    work(clock, rings)
    key = KeyAndCertificate.objects.get(device=device)
    half = key.not_before + (key.not_after - key.not_before) / 2
    assert following(device).request_at == half
    device.refresh_from_db()
    assert not device.expires_unrenewed


def test_a_failed_renewal_is_tried_again_before_the_end(ca: Ca, clock: Clock, rings: Rings) -> None:
    device = timed(ca, key_use="tls", renew_days_before=40)
    work(clock, rings)
    key = KeyAndCertificate.objects.get(device=device)
    ca.behave(fail_info=2)
    clock.ahead = following(device).request_at - timezone.now() + timedelta(seconds=1)
    work(clock, rings)
    assert ended(device).state == State.FAILED
    assert following(device).request_at < key.not_after


def test_changed_rules_move_what_waits(ca: Ca, clock: Clock, rings: Rings, actor: Actor) -> None:
    device = timed(ca, key_use="tls", request_interval_days=3000)
    work(clock, rings)
    device.refresh_from_db()
    assert device.expires_unrenewed, "the interval is longer than the lifetime"
    requests.save_settings(actor, device, renew_days_before=30)
    key = KeyAndCertificate.objects.get(device=device)
    assert following(device).request_at == key.not_after - timedelta(days=30)
    requests.save_settings(actor, device, renew_days_before=None, request_interval_days=None)
    assert not IssuanceRequest.objects.filter(device=device, state=State.SCHEDULED).exists()


class TestWarning:
    @pytest.fixture
    def fleet(self, ca: Ca, clock: Clock, rings: Rings) -> dict[str, Device]:
        """A device for each case, by name."""
        devices = {
            "too late": timed(ca, key_use="tls", request_interval_days=3000),
            "in time": timed(ca, key_use="tls", request_interval_days=90),
            "never again": timed(ca, key_use="tls"),
        }
        work(clock, rings)
        devices["no certificate"] = make_device()
        return devices

    def test_it_is_said_wherever_one_looks(
        self, fleet: dict[str, Device], administrator_client: Client
    ) -> None:
        found = DeviceFilter({"expires_unrenewed": "true"}, device_queryset()).qs
        expected = {fleet["too late"].pk, fleet["never again"].pk}
        assert {device.pk for device in found} == expected
        assert {device.pk for device in Device.objects.all() if device.expires_unrenewed} == expected
        assert fleet_overview(timezone.now()).expires_unrenewed == 2
        start = administrator_client.get(reverse("start")).content.decode()
        assert "The certificates of 2 devices expire before their next request." in start
        for name, text in (
            ("too late", "The next request is not sent before"),
            ("never again", "No request is scheduled"),
        ):
            page = administrator_client.get(reverse("device-detail", args=[fleet[name].pk])).content.decode()
            assert text in page
        page = administrator_client.get(reverse("device-detail", args=[fleet["in time"].pk])).content.decode()
        assert "The certificate expires on" not in page

    def test_a_spare_key_warns_of_nothing(self) -> None:
        device, now = make_device(), timezone.now()
        make_key(device, name="old", not_after=now + timedelta(days=1))
        make_key(device, name="used", key_use="tls", not_after=now + timedelta(days=300))
        summary.refresh([device.pk])
        device.refresh_from_db()
        assert device.expires_at == now + timedelta(days=300)
