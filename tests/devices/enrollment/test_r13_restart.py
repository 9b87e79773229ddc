"""R13: [Automatically Restart Device After Acquiring Certificate]."""

from __future__ import annotations

import pytest

from devices.delivery.connectors.base import Capability
from devices.delivery.connectors.virtual import VirtualConnector
from devices.enrollment.ending import FUNCTION_IS_OFF, RESTART_BY_HAND
from devices.models import Deployment, Device, Restart, ScepSettings
from tests.devices.enrollment.steps import Ca, Clock, Rings, ended, timed, work
from tests.devices.factories import VIRTUAL

pytestmark = pytest.mark.django_db


@pytest.fixture
def restarts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connector that can restart the device, and cannot install keys."""
    monkeypatch.setattr(VirtualConnector, "capabilities", frozenset({Capability.RESTART}))


@pytest.mark.usefixtures("restarts_only")
def test_r13_a_certificate_opens_a_restart(ca: Ca, clock: Clock, rings: Rings) -> None:
    device = timed(ca, auto_restart=True)
    Device.objects.filter(pk=device.pk).update(**VIRTUAL)
    work(clock, rings)
    line = ended(device)
    assert (line.state, line.explanation) == ("successful", "")
    restart = Restart.objects.get(device=device)
    assert (restart.state, restart.trigger, restart.asked_by) == ("waiting", "automatic", "system")


def test_r13_a_device_that_is_to_get_the_key_first_restarts_when_it_has_it(
    ca: Ca, clock: Clock, rings: Rings
) -> None:
    device = timed(ca, auto_restart=True, key_use="tls")
    Device.objects.filter(pk=device.pk).update(**VIRTUAL)
    work(clock, rings)
    line = ended(device)
    assert (line.state, line.explanation) == ("successful", "")
    assert not Restart.objects.exists()
    delivery = Deployment.objects.get(device=device)
    assert (delivery.state, delivery.restart_wanted, delivery.key_id) == (
        "issued",
        True,
        line.certificate_id,
    )


def test_r13_one_that_gets_the_key_and_cannot_be_restarted_is_restarted_by_hand(
    ca: Ca, clock: Clock, rings: Rings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VirtualConnector, "capabilities", frozenset({Capability.INSTALL}))
    device = timed(ca, auto_restart=True, key_use="tls")
    Device.objects.filter(pk=device.pk).update(**VIRTUAL)
    work(clock, rings)
    assert ended(device).explanation == RESTART_BY_HAND
    assert Deployment.objects.filter(device=device).exists()


def test_r13_without_a_connector_the_line_says_to_do_it_by_hand(ca: Ca, clock: Clock, rings: Rings) -> None:
    device = timed(ca, auto_restart=True, key_use="ieee_802_1x")
    work(clock, rings)
    line = ended(device)
    assert line.state == "successful"
    assert line.explanation.split("\n") == [FUNCTION_IS_OFF, RESTART_BY_HAND]
    assert not Restart.objects.exists()


def test_r13_only_where_it_is_on_and_only_after_a_success(ca: Ca, clock: Clock, rings: Rings) -> None:
    off, failed = timed(ca), timed(ca, auto_restart=True, challenge_password="wrong")
    Device.objects.update(**VIRTUAL)
    work(clock, rings)
    assert (ended(off).state, ended(off).explanation, ended(failed).state) == ("successful", "", "failed")
    assert not Restart.objects.exists()


def test_r13_the_sentence_stands_beside_the_option() -> None:
    help_text = ScepSettings._meta.get_field("auto_restart").help_text
    assert help_text == "The device restarts even during a batch import or export."
