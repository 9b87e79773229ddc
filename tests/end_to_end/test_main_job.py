"""The main job with every part real and in a process of its own; `main_job` runs the same with 200 devices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.end_to_end import main_job


def test_a_fleet_gets_its_certificates_from_a_real_scep_server(tmp_path: Path) -> None:
    figures = main_job.run(tmp_path, devices=12, real=True, kill=False, due_within=0)
    assert figures.status == Counter(successful=12), figures.details
    assert (figures.certificates, figures.public_keys, figures.verified) == (12, 12, 12)
    assert all(1 <= offset <= 600 for offset in figures.offsets)
    assert figures.pkcs_requests == 12, "one PKCSReq for each device"


def test_killed_workers_and_brokers_cost_no_request_and_no_second_certificate(tmp_path: Path) -> None:
    # answers that take a while, so that the worker dies while it waits for one
    figures = main_job.run(tmp_path, devices=20, real=False, kill=True, due_within=0, delay=0.5)
    assert len(figures.kills) == 2
    assert figures.status == Counter(successful=20), figures.details
    assert figures.issued == figures.verified == figures.public_keys == 20
    assert figures.transaction_ids_per_device == Counter({1: 20})
    assert figures.sent["CertPoll"] >= 1, "the worker died between sending and recording"
