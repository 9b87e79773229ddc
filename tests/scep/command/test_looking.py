"""caps, ca, next-ca, cert and crl, with OpenSSL to judge what they fetch."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from scep.behavior import Behavior, CapabilitiesForm
from scep.responder import Responder
from tests.peers.scep_server import Peer
from tests.scep.command.running import openssl, scep
from tests.scep.enrolling import enrolled, transaction


def fingerprint_of(path: Path) -> str:
    """As OpenSSL prints it: `sha256 Fingerprint=AB:CD...`."""
    return openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256").strip()


# --- caps -------------------------------------------------------------------------------------------------


def test_caps_of_a_real_server(peer: Peer) -> None:
    ended = scep("caps", peer.url)
    assert (ended.code, ended.err) == (0, "")
    assert {"aes", "sha-256", "postpkioperation"} <= set(ended.out.splitlines())
    members = scep("caps", peer.url, "--json").json
    assert (members["method"], members["cipher"], members["digest"]) == ("POST", "AES-128", "SHA-256")
    assert members["http_status"] == 200


def test_caps_say_which_permission_an_old_server_needs(url: str, responder: Responder) -> None:
    responder.behavior = Behavior(keywords=("DES3", "SHA-1"))
    members = scep("caps", url, "--json").json
    assert (members["method"], members["cipher"], members["digest"]) == (
        "GET",
        "3DES, with --allow-3des",
        "SHA-1, with --allow-sha1",
    )


@pytest.mark.parametrize(
    ("form", "status"), [(CapabilitiesForm.NOT_FOUND, 404), (CapabilitiesForm.HTML, 200)]
)
def test_quirk_04_caps_tell_what_was_taken_for_an_old_server(
    url: str, responder: Responder, form: CapabilitiesForm, status: int
) -> None:
    responder.behavior = Behavior(capabilities_form=form)
    ended = scep("caps", url)
    assert ended.code == 0
    assert f"HTTP status {status}) names no capability" in ended.err


def test_what_a_server_says_cannot_steer_the_terminal(url: str, responder: Responder) -> None:
    responder.behavior = Behavior(keywords=("AES", "\x1b[31mred", "\x9b31m"))
    said = scep("caps", url).out
    assert "\x1b" not in said
    responder.behavior = Behavior(keywords=("AES", "\x1b[31mred"))
    said = scep("caps", url).out
    assert "\N{REPLACEMENT CHARACTER}[31mred" in said
    assert "\x1b" not in scep("caps", url, "--json").out


# --- ca ---------------------------------------------------------------------------------------------------


def test_ca_of_a_real_server_pinned(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    ended = scep("ca", peer.url, "--fingerprint", fingerprint_of(peer.ca_path), "--out", path)
    assert (ended.code, ended.err) == (0, "")
    assert fingerprint_of(path) == fingerprint_of(peer.ca_path)
    digits = fingerprint_of(path).partition("=")[2].replace(":", "").lower()
    assert digits in ended.out
    assert "issuing CA" in ended.out


def test_ca_says_that_nothing_vouches_for_it(peer: Peer) -> None:
    ended = scep("ca", peer.url)
    assert ended.code == 0
    assert "Compare the SHA-256 fingerprint" in ended.err


def test_quirk_28_a_wrong_fingerprint_writes_nothing(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    members = scep("ca", peer.url, "--fingerprint", "0" * 64, "--out", path, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (7, "message_check_failed")
    assert not path.exists()


def test_ca_overwrites_only_with_force(url: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("the CA that I checked")
    ended = scep("ca", url, "--out", path)
    assert (ended.code, ended.out) == (9, "")
    assert f"{path} exists already" in ended.err
    assert path.read_text() == "the CA that I checked"
    assert scep("ca", url, "--out", path, "--force").code == 0
    assert "Command CA" in openssl("x509", "-in", path, "-noout", "-subject")
    assert scep("ca", url, "--out", path).code == 0, "the same once more is no harm"


def test_quirk_01_ca_tells_the_registration_authorities(url: str, responder: Responder) -> None:
    responder.behavior = Behavior(ra_pair=True)
    members = scep("ca", url, "--json").json
    assert sorted(each["role"] for each in members["certificates"]) == [
        "issuing CA",
        "registration authority",
        "registration authority",
    ]


# --- next-ca ----------------------------------------------------------------------------------------------


def test_next_ca(url: str, responder: Responder, tmp_path: Path) -> None:
    responder.behavior = Behavior(next_ca=True)
    path = tmp_path / "next.pem"
    members = scep("next-ca", url, "--out", path, "--json").json
    expected = responder.next_authority.certificate
    assert x509.load_pem_x509_certificate(path.read_bytes()) == expected
    assert [each["sha256"] for each in members["certificates"]] == [
        expected.fingerprint(hashes.SHA256()).hex()
    ]


def test_next_ca_is_not_offered_by_a_real_server(peer: Peer) -> None:
    members = scep("next-ca", peer.url, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (8, "not_offered")


# --- cert and crl -----------------------------------------------------------------------------------------


def test_cert_by_the_serial_number_that_openssl_shows(url: str, tmp_path: Path) -> None:
    certificate = enrolled(url, transaction())
    (tmp_path / "known.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    serial = openssl("x509", "-in", tmp_path / "known.pem", "-noout", "-serial").strip()
    path = tmp_path / "found.pem"
    ended = scep("cert", url, "--serial", serial, "--out", path)
    assert (ended.code, ended.err) == (0, "")
    assert x509.load_pem_x509_certificate(path.read_bytes()) == certificate
    assert f"{certificate.serial_number:x}" in ended.out


def test_cert_that_nobody_knows(url: str) -> None:
    members = scep("cert", url, "--serial", "0xBAD", "--json").json
    assert (members["exit_code"], members["error"]["fail_info"]) == (4, 4)
    assert members["error"]["details"] == "Communication Error (SCEP ERROR Fail Info 4)"


def test_cert_is_asked_for_with_a_certificate_of_ones_own(
    url: str, responder: Responder, tmp_path: Path
) -> None:
    made = transaction()
    certificate = enrolled(url, made)
    own, key = tmp_path / "own.pem", tmp_path / "own.key"
    own.write_bytes(certificate.public_bytes(Encoding.PEM))
    key.write_bytes(made.private_key_der())
    question = ("cert", url, "--serial", f"{certificate.serial_number:x}")
    assert scep(*question, "--certificate", own, "--key", key).code == 0
    asked = responder.messages[-1]
    assert (asked.message_type, asked.public_key_sha256) == ("GetCert", made.transaction_id)
    ended = scep(*question, "--certificate", own)
    assert (ended.code, "belong together" in ended.err) == (2, True)
    key.write_bytes(transaction().private_key_der())
    ended = scep(*question, "--certificate", own, "--key", key)
    assert (ended.code, f"{key} is not the key of {own}" in ended.err) == (2, True)


def test_crl_lists_what_is_revoked_and_is_replaced(url: str, responder: Responder, tmp_path: Path) -> None:
    path, ca = tmp_path / "ca.crl", tmp_path / "ca.pem"
    assert scep("ca", url, "--out", ca).code == 0
    ended = scep("crl", url, "--out", path)
    assert (ended.code, ended.err) == (0, "")
    assert "verify OK" in openssl("crl", "-in", path, "-noout", "-CAfile", ca)
    serial_number = enrolled(url, transaction()).serial_number
    responder.revoke(serial_number)
    members = scep("crl", url, "--out", path, "--der", "--json").json
    assert members["revoked"] == 1
    assert f"{serial_number:X}" in openssl("crl", "-in", path, "-inform", "DER", "-noout", "-text")


def test_crl_that_a_real_server_does_not_have(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "ca.crl"
    path.write_text("of yesterday")
    members = scep("crl", peer.url, "--out", path, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (6, "http_status_error")
    assert members["error"]["server_words"] == "not implemented"
    assert path.read_text() == "of yesterday"
