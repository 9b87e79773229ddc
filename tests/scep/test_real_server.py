"""Debian's scepserver, which this project did not write (tests/peers/scep_server.py)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from scep.client import ScepClient
from scep.csr import CertificateParameters, SignatureAlgorithm
from scep.exchange import Exchange, Failed, Issued, Outcome, ServerPolicy, Step
from scep.transaction import Transaction, new_transaction
from tests.peers.scep_server import Peer, issued, pkcs_requests, scep_server
from tests.scep.enrolling import PATIENCE

CHALLENGE = "opensesame-8894"


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with scep_server(tmp_path_factory.mktemp("scepserver"), challenge=CHALLENGE) as running:
        yield running


def transaction(name: str, *, challenge: str = CHALLENGE, bits: int = 2048) -> Transaction:
    parameters = CertificateParameters(name, "Example", bits, SignatureAlgorithm.SHA256, challenge)
    return new_transaction(parameters, now=datetime.now(UTC))


def run(url: str, made: Transaction, step: Step = Step.REQUEST, *, allow_des_replies: bool = True) -> Outcome:
    policy = ServerPolicy(allow_des_replies=allow_des_replies)
    return ScepClient(url, timeout=PATIENCE).run(Exchange(made, step, now=datetime.now(UTC), policy=policy))


@pytest.mark.parametrize(("name", "bits"), [("10.1.2.3", 2048), ("mfp.example.com", 3072)])
def test_it_enrolls(peer: Peer, tmp_path: Path, name: str, bits: int) -> None:
    before = len(issued(peer))
    outcome = run(peer.url, transaction(name, bits=bits))
    assert isinstance(outcome, Issued)
    (tmp_path / "mfp.pem").write_bytes(outcome.certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-CAfile", str(peer.ca_path), str(tmp_path / "mfp.pem")]
    assert subprocess.run(command, capture_output=True, text=True).stdout.endswith(": OK\n")
    assert len(issued(peer)) == before + 1


def test_a_wrong_challenge(peer: Peer) -> None:
    outcome = run(peer.url, transaction("wrong", challenge="wrong"))
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (SCEP ERROR Fail Info 2)"


def test_quirk_07_its_des_replies_need_permission(peer: Peer) -> None:
    outcome = run(peer.url, transaction("des"), allow_des_replies=False)
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (SCEP ERROR Fail Info 0)"
    assert "allow DES replies" in str(outcome.error)


def test_a_wrong_path(peer: Peer) -> None:
    outcome = run(peer.url.replace("/scep", "/nowhere"), transaction("path"))
    assert isinstance(outcome, Failed)
    assert outcome.error.details == "Communication Error (TOP ERROR 404)"


def test_it_does_not_know_polling_and_gets_the_same_request_again(peer: Peer) -> None:
    made, before = transaction("again"), pkcs_requests(peer.log)
    first, second = run(peer.url, made), run(peer.url, made, Step.INQUIRE)
    assert isinstance(first, Issued)
    assert isinstance(second, Issued)
    assert first.certificate.public_key() == second.certificate.public_key()
    assert pkcs_requests(peer.log) == before + 2
    polled = run(peer.url, made, Step.POLL)
    assert isinstance(polled, Failed)
    assert polled.error.details == "Communication Error (TOP ERROR 500)"
