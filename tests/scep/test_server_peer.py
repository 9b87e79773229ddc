"""The counterpart itself: Debian's scepserver starts, is counted by its own log, and ends with its block."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from scep.exchange import Issued, ServerPolicy, Step
from tests.peers.process import is_listening
from tests.peers.scep_server import issued, pkcs_requests, scep_server, transactions
from tests.scep.enrolling import CHALLENGE, renamed, run, transaction


def test_it_runs_for_its_block_and_counts(tmp_path: Path) -> None:
    first, second, policy = transaction("10.1.2.3"), transaction(), ServerPolicy(allow_des_replies=True)
    # a base64 transaction ID has characters that a log might quote
    second = renamed(second, "qEfrcuNs61+LsPO/sG1aBMsXpR0=")
    with scep_server(tmp_path, challenge=CHALLENGE) as peer:
        port = urlsplit(peer.url).port
        assert port is not None
        assert issued(peer) == []
        assert pkcs_requests(peer.log) == 0
        outcome = run(peer.url, first, policy=policy)
        run(peer.url, first, Step.INQUIRE, policy=policy)
        run(peer.url, second, policy=policy)
    assert not is_listening(port)
    assert isinstance(outcome, Issued)
    ca = x509.load_pem_x509_certificate(peer.ca_path.read_bytes())
    outcome.certificate.verify_directly_issued_by(ca)
    found = [x509.load_pem_x509_certificate(path.read_bytes()) for path in issued(peer)]
    # it heeds no transaction ID: the repeated request was issued again
    assert len(found) == pkcs_requests(peer.log) == 3
    assert outcome.certificate in found
    assert sorted(transactions(peer.log).values()) == [1, 2]
    assert transactions(peer.log)[first.transaction_id] == 2


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install scep"), scep_server(tmp_path):
        pass
