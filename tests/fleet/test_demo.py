"""fleet/demo: a fleet that looks like one, made once, and gone on with at the next start."""

from __future__ import annotations

import argparse
import signal
import zoneinfo
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from devices.models import Device, DeviceGroup, IssuanceRequest, ScepServer, ScepSettings
from fleet.demo import names
from fleet.demo.__main__ import Memory, device_count
from fleet.demo.seed import DemoCa, connect, seed
from tests.fleet.start import Start, processes
from tests.peers.process import free_port, wait_until

FACTORY = "ab" * 32
CA = DemoCa(port=40_001, challenge_password="the right one", mfp_port=40_002, mfp_fingerprint=FACTORY)


def test_names_hosts_and_serial_numbers_are_unique_however_large_the_demo() -> None:
    rows = list(names.devices(0, 10_000))
    for field in ("name", "host", "serial_number"):
        assert len({row[field] for row in rows}) == 10_000, field


def test_device_number_n_is_the_same_in_every_demo() -> None:
    assert list(names.devices(0, 60))[40:] == list(names.devices(40, 60))


def test_sites_lie_in_real_time_zones_of_several_offsets() -> None:
    now = timezone.now()
    offsets = {now.astimezone(zoneinfo.ZoneInfo(site.time_zone)).utcoffset() for site in names.SITES}
    assert len(offsets) >= 4


@pytest.mark.django_db
def test_every_device_of_the_demo_has_its_timer_on_and_most_are_due_at_once() -> None:
    now = timezone.now()
    seed(0, 60, CA, now=now)
    assert Device.objects.count() == 60
    assert ScepSettings.objects.filter(timer_enabled=True, offset_seconds__range=(1, 600)).count() == 60
    requests = IssuanceRequest.objects.all()
    assert requests.count() == 60
    starts = ScepSettings.objects.values_list("request_start_at", flat=True)
    assert all(start and timedelta(minutes=4) < now - start < timedelta(minutes=10) for start in starts)
    due = requests.filter(request_at__lte=now).count()
    assert 25 <= due <= 58
    assert requests.filter(request_at__lte=now + timedelta(minutes=6)).count() == 60
    assert DeviceGroup.objects.count() == len(names.SITES)


@pytest.mark.django_db
def test_three_devices_have_faulty_settings_and_all_others_ask_the_demo_ca() -> None:
    seed(0, 60, CA, now=timezone.now())
    servers = [settings.server.endpoint for settings in ScepSettings.objects.all() if settings.server]
    assert servers.count(CA.url) == 58
    passwords = [settings.reveal_challenge_password() for settings in ScepSettings.objects.all()]
    assert passwords.count(CA.challenge_password) == 59


@pytest.mark.django_db
def test_seeding_again_leaves_what_people_changed_and_makes_what_is_missing() -> None:
    now = timezone.now()
    seed(0, 10, CA, now=now)
    Device.objects.filter(name="mfp-ber-01").update(location="moved to the cellar")
    created = seed(0, 12, CA, now=now)
    assert len(created) == 2
    assert Device.objects.get(name="mfp-ber-01").location == "moved to the cellar"
    assert (ScepServer.objects.count(), Device.objects.count()) == (3, 12)


@pytest.mark.django_db
def test_every_device_is_connected_to_its_virtual_mfp_and_some_restart_by_themselves() -> None:
    seed(0, 12, CA, now=timezone.now())
    for device in Device.objects.all():
        url = f"http://127.0.0.1:40002/mfp/{device.serial_number}"
        expected = {"url": url, "tls_fingerprint": FACTORY}
        assert (device.connector, device.connector_settings) == ("virtual", expected)
    assert ScepSettings.objects.filter(auto_restart=True).count() == 4


@pytest.mark.django_db
def test_devices_of_an_older_demo_get_their_connectors_and_others_are_left_alone() -> None:
    without = DemoCa(CA.port, CA.challenge_password)
    seed(0, 3, without, now=timezone.now())
    seed(3, 5, replace(CA, mfp_fingerprint=""), now=timezone.now())  # virtual MFPs that took no keys
    own = Device.objects.create(name="own", host="10.0.0.1")
    assert connect(5, CA) == 5
    assert [device.pk for device in Device.objects.filter(connector="none")] == [own.pk]
    for device in Device.objects.filter(connector="virtual"):
        assert device.connector_settings["tls_fingerprint"] == FACTORY
    assert connect(5, CA) == 0


def test_the_memory_of_an_older_demo_is_read(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    file.write_text('{"ca_port": 40001, "devices": 60}')
    assert Memory.load(file) == Memory(ca_port=40_001, devices=60, mfp_port=0)


@pytest.mark.django_db
def test_an_empty_fleet_has_its_servers_and_no_device() -> None:
    seed(0, 0, CA, now=timezone.now())
    assert (Device.objects.count(), ScepServer.objects.filter(name="Demo CA").count()) == (0, 1)


def test_the_ca_keeps_its_port(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    first = Memory.load(file)
    first.devices = 60
    first.save(file)
    assert Memory.load(file) == first
    assert Memory.load(tmp_path / "other.json").devices == -1


@pytest.mark.parametrize("text", ["-1", "10001"])
def test_a_number_of_devices_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 10000"):
        device_count(text)


def test_from_an_empty_folder_to_certificates_and_on_with_the_same_ca(
    start: Callable[..., Start], data_dir: Path
) -> None:
    first = start("fleet.demo", free_port(), "--devices", "3")
    wait_until(lambda: "First certificate: mfp-" in first.said(), timeout=300, what="the first certificate")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(300) == 0
    assert processes(data_dir) == {}

    second = start("fleet.demo", first.port, "--devices", "4")
    assert "Adding 1 to the demo devices" in second.said()
    [address] = {line for line in first.said().splitlines() if line.startswith("Demo CA: ")}
    assert address in second.said()
    second.process.terminate()
    assert second.process.wait(300) == 0
    assert processes(data_dir) == {}
