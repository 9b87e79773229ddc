"""R13 [Automatically Restart Device After Acquiring Certificate]. The device restarts even during a batch import or
export, and the product says so beside the option."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.manual.mfp import Mfp
from tests.manual.office import DAY, Office, definitions, log_rows
from tests.manual.real_ca import RealCa

pytestmark = pytest.mark.django_db

LABEL = "Automatically Restart Device After Acquiring Certificate"


def test_the_label_and_the_warning_beside_the_option(office: Office) -> None:
    device = office.add_device()
    page = office.page("device-settings", device)
    assert page.label_of("auto_restart") == LABEL
    assert page.described("auto_restart") == "The device restarts even during a batch import or export."
    assert definitions(office.device_page(device))[LABEL] == "no"
    office.save(device, auto_restart=True)
    assert definitions(office.device_page(device))[LABEL] == "yes"


def test_the_device_restarts_after_it_acquired_a_certificate(
    office: Office, scepserver: RealCa, mfp: Mfp
) -> None:
    device = office.timed(
        scepserver.id,
        device=mfp.connected(office, scepserver.id),
        auto_restart=True,
        request_interval_days=30,
    )
    starts = mfp.starts
    assert office.work_on_restarts() == 0, "not before"
    office.work()
    assert office.certificate(device)
    restart = mfp.watched(office, device)
    assert (restart["state"], restart["trigger"], restart["asked_by"]) == ("done", "automatic", "system")
    assert mfp.starts == starts + 1
    assert "After a certificate" in office.device_page(device).text
    assert office.work_at(office.clock() + 30 * DAY + timedelta(minutes=1)) == 1
    assert mfp.watched(office, device)["state"] == "done"
    assert mfp.starts == starts + 2, "and so after the next one"


def test_off_it_does_not(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device = office.timed(scepserver.id, device=mfp.connected(office, scepserver.id))
    starts = mfp.starts
    office.work()
    assert office.certificate(device)
    assert office.work_on_restarts() == 0
    assert (office.restarts(device), mfp.starts) == ([], starts)


def test_nor_after_an_error(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device = office.timed(
        scepserver.id,
        device=mfp.connected(office, scepserver.id),
        auto_restart=True,
        challenge_password="wrong",
    )
    office.work()
    assert office.ended(device)["status"] == "error"
    assert (office.work_on_restarts(), office.restarts(device)) == (0, [])


def test_nor_after_a_manual_request_which_takes_no_settings_over(
    office: Office, scepserver: RealCa, mfp: Mfp
) -> None:
    device = mfp.connected(office, scepserver.id)
    office.save(device, auto_restart=True)
    office.send_request(device)
    office.work()
    assert office.certificate(device)
    assert (office.work_on_restarts(), office.restarts(device)) == (0, [])


def test_it_restarts_even_while_a_batch_works_on_it(office: Office, scepserver: RealCa, mfp: Mfp) -> None:
    device = office.timed(scepserver.id, device=mfp.connected(office, scepserver.id), auto_restart=True)
    starts = mfp.starts
    body = {"kind": "manual_request", "devices": [device], "parameters": {}}
    office.call("post", "jobs/", body, status=202)
    office.work()
    assert mfp.watched(office, device)["state"] == "done"
    assert mfp.starts == starts + 1


def test_a_device_that_nobody_here_can_restart_keeps_its_certificate_and_the_user_is_told(
    office: Office, scepserver: RealCa
) -> None:
    device = office.timed(scepserver.id, auto_restart=True)
    office.work()
    assert office.certificate(device)
    line = office.ended(device)
    assert line["status"] == "successful"
    assert "must be restarted by hand" in line["explanation"]
    assert "must be restarted by hand" in log_rows(office.device_page(device))[0][2]
