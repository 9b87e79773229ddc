"""A small fleet with one of everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.utils import timezone, translation

from devices import imports, inventory, templates
from devices.audit import SYSTEM
from devices.delivery import discovery
from devices.jobs import service as jobs
from devices.models import Device, IssuanceRequest, KeyAndCertificate, summary
from devices.models.choices import JobKindChoices
from devices.webhooks import service as webhooks
from tests.devices.factories import CHALLENGE, make_device, make_server


def make_key(device: Device, **fields: Any) -> KeyAndCertificate:
    """A key with a certificate that is none, good enough to be listed."""
    now = timezone.now()
    values = {
        "name": "SCEP",
        "key_length": 2048,
        "private_key_encrypted": b"private-key-in-its-envelope",
        "certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "subject": "CN=mfp.example.com",
        "issuer": "CN=Example CA",
        "serial_number": "0A1B2C",
        "fingerprint_sha256": "ab" * 32,
        "not_before": now,
        "not_after": now + timedelta(days=90),
        "issued_at": now,
    }
    return KeyAndCertificate.objects.create(device=device, **values | fields)


def make_line(device: Device, sequence: int, **fields: Any) -> IssuanceRequest:
    """An ended line of the status log, [Error] unless told otherwise."""
    now = timezone.now()
    values = {
        "state": "failed",
        "details": "Communication Error (TOP ERROR)",
        "trigger": "timer",
        "request_at": now - timedelta(minutes=5),
        "completed_at": now,
        "server": device.scep_settings.server,
    }
    line = IssuanceRequest.objects.create(device=device, sequence=sequence, **values | fields)
    summary.refresh([device.pk])
    return line


@pytest.fixture(autouse=True)
def _language_of_the_site() -> Iterator[None]:
    """A request leaves its language active in the thread that answered it, which here is that of the tests."""
    yield
    translation.deactivate()


@pytest.fixture
def fleet() -> dict[str, Any]:
    """One device with a stored challenge password and a key, its server, its group in Tokyo, and a job that waits."""
    server = make_server()
    group = inventory.create_group(SYSTEM, name="Head office", time_zone="Asia/Tokyo")
    device = make_device(
        server,
        group=group,
        ipsec_destinations=["gateway-1"],
        settings={"challenge_password": CHALLENGE},
    )
    device = Device.objects.select_related("group", "scep_settings__server").get(pk=device.pk)
    webhook, _secret = webhooks.create(
        SYSTEM, name="CMDB", url="http://127.0.0.1:9/", events=["certificate.expiring"]
    )
    job = jobs.start(SYSTEM, JobKindChoices.MANUAL_REQUEST, [device], {"organization": "Example"})
    template = templates.create(SYSTEM, name="Office", settings={"key_length": 3072})
    return {
        "device": device,
        "server": server,
        "group": group,
        "key": make_key(device),
        "job": job,
        "webhook": webhook,
        "template": template,
        "search": discovery.start(SYSTEM, network="127.0.0.0/30"),
        "import": imports.receive(SYSTEM, BytesIO(b"name,host\nnew-1,10.1.2.3\n"), file_name="fleet.csv"),
    }
