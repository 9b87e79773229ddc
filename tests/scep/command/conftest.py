"""The servers that the commands talk to, and the file with the challenge password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scep.authority import Authority
from scep.responder import Responder
from scep.server import serving
from tests.peers.scep_server import Peer, scep_server
from tests.scep.enrolling import CHALLENGE, NOW


@pytest.fixture(scope="package")
def authority() -> Authority:
    return Authority.create("Command CA", now=NOW)


@pytest.fixture
def responder(authority: Authority) -> Responder:
    return Responder(authority, challenge=CHALLENGE)


@pytest.fixture
def url(responder: Responder) -> Iterator[str]:
    with serving(responder) as url:
        yield url


@pytest.fixture(scope="package")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with scep_server(tmp_path_factory.mktemp("scepserver"), challenge=CHALLENGE) as running:
        yield running


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    path = tmp_path / "challenge"
    path.write_text(f"{CHALLENGE}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "printers" / "mfp"
