"""A client that this project did not write enrolls at the responder: Debian's `scepclient` (micromdm)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep.authority import Authority
from scep.responder import Behavior, Responder
from scep.server import serving
from tests.scep.enrolling import CHALLENGE, NOW


def scepclient(directory: Path, url: str, challenge: str) -> subprocess.CompletedProcess[str]:
    """Its key, CSR and certificate lie in `directory` afterwards."""
    program = shutil.which("scepclient")
    assert program, "the tests need Debian's package scep (scripts/install-debian-packages)"
    command = [program, "-server-url", url, "-challenge", challenge, "-cn", "real client"]
    return subprocess.run(
        [*command, "-organization", "Example", "-private-key", "key.pem", "-certificate", "cert.pem"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("with_ra", [False, True], ids=["CA alone", "with RA"])
def test_the_real_scepclient_enrolls(tmp_path: Path, with_ra: bool) -> None:
    authority = Authority.create("Test CA", now=NOW, with_ra=with_ra)
    responder = Responder(authority, challenge=CHALLENGE)
    with serving(responder) as url:
        ended = scepclient(tmp_path, url, CHALLENGE)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "cert.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (verified.stdout, verified.stderr) == ("cert.pem: OK\n", "")
    certificate = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    assert "CN=real client" in certificate.subject.rfc4514_string()
    (logged,) = responder.messages
    # it signs its messages as "SCEP SIGNER"
    assert (logged.common_name, logged.message_type, logged.outcome) == ("real client", "PKCSReq", "issued")


@pytest.mark.parametrize(
    ("challenge", "fail_info"), [("wrong", None), (CHALLENGE, 4)], ids=["wrong challenge", "failInfo 4"]
)
def test_the_real_scepclient_is_refused(tmp_path: Path, challenge: str, fail_info: int | None) -> None:
    authority = Authority.create("Test CA", now=NOW)
    responder = Responder(authority, challenge=CHALLENGE, behavior=Behavior(fail_info=fail_info))
    with serving(responder) as url:
        ended = scepclient(tmp_path, url, challenge)
    assert ended.returncode != 0
    assert {None: "BadRequest", 4: "BadCertID"}[fail_info].lower() in (ended.stdout + ended.stderr).lower()
    assert not (tmp_path / "cert.pem").exists()
    assert [message.outcome for message in responder.messages] == [f"failure {fail_info or 2}"]
