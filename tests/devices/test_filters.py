"""One filter set for devices."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.filters import DEVICE_ORDERINGS, DeviceFilter, device_queryset
from devices.models import Device
from tests.devices.factories import make_device, make_server, make_timed_device

pytestmark = pytest.mark.django_db


def names(**data: str) -> set[str]:
    """Names of the devices that the filter finds; the data must be valid."""
    found = DeviceFilter(data, device_queryset())
    assert found.is_valid(), found.errors
    return {device.name for device in found.qs}


@pytest.fixture
def fleet() -> None:
    server = make_server()
    make_device(name="alpha", host="10.0.0.1", location="Berlin 3rd floor", model="X100")
    make_device(name="beta", host="beta.example.com", serial_number="SN-77", location="Berlin lobby")
    make_timed_device(server)
    Device.objects.filter(name="alpha").update(status="error", details="Deferred")
    Device.objects.filter(name="beta").update(expires_at=timezone.now() + timedelta(days=10))


@pytest.mark.usefixtures("fleet")
class TestDeviceFilter:
    def test_every_word_of_a_search_must_occur_somewhere(self) -> None:
        assert names(search="berlin") == {"alpha", "beta"}
        assert names(search="berlin x100") == {"alpha"}
        assert names(search="sn-77") == {"beta"}
        assert names(search="BETA.example") == {"beta"}
        assert names(search="berlin 10.0.0.2") == set()

    def test_status_and_details(self) -> None:
        assert names(status="error", details="Deferred") == {"alpha"}
        assert names(status="none") == {"beta"}
        assert names(status="to_be_processed") == names(timer_enabled="true")

    def test_expiry(self) -> None:
        assert names(expires_before=(timezone.now() + timedelta(days=11)).isoformat()) == {"beta"}
        assert names(expires_before=(timezone.now() + timedelta(days=9)).isoformat()) == set()

    def test_nonsense_is_refused_with_the_field_named(self) -> None:
        refused = DeviceFilter({"status": "broken", "group": "77"}, device_queryset())
        assert not refused.is_valid()
        assert set(refused.errors) == {"status", "group"}

    @pytest.mark.parametrize("name", DEVICE_ORDERINGS)
    def test_every_ordering_is_a_column(self, name: str) -> None:
        assert list(device_queryset().order_by(name, "pk"))
