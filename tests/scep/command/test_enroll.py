"""enroll: what it leaves behind, how it fails, and that a failure leaves nothing that was not there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scep.algorithms import ContentCipher
from scep.authority import Authority
from scep.behavior import Behavior
from scep.csr import load_request
from scep.responder import Responder
from tests.peers.process import free_port
from tests.peers.scep_server import Peer, issued
from tests.scep.command.running import check_issued, mode, names, openssl, scep, state_of
from tests.scep.enrolling import CHALLENGE

NAME = ("--common-name", "mfp.example.com")


def certificate_in(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "certificate.pem").read_bytes())


# --- what it leaves behind --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2048, 3072])
def test_a_real_server_enrolls(peer: Peer, challenge: Path, out: Path, length: int) -> None:
    options = ("--organization", "Example", "--key-length", str(length), "--allow-des-replies")
    before = len(issued(peer))
    ended = scep("enroll", peer.url, *NAME, *options, "--challenge-file", challenge, "--out", out)
    assert ended.code == 0
    assert str(out / "certificate.pem") in ended.out
    check_issued(out)
    assert mode(out) == 0o700
    certificate = certificate_in(out)
    assert certificate.subject.rfc4514_string() == "CN=mfp.example.com,O=Example"
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == length
    assert len(issued(peer)) == before + 1
    assert openssl("verify", "-CAfile", peer.ca_path, out / "certificate.pem").endswith(": OK\n")


def test_names_organization_and_hash_reach_the_request(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    words = ("--common-name", "10.1.2.3", "--organization", "Example", "--digest", "SHA-384")
    names_of = ("--san", "mfp.example.com", "--san", "2001:db8::7", "--san", "10.1.2.3")
    members = scep(
        *("enroll", url, *words, *names_of, "--challenge-file", challenge, "--out", out, "--json")
    ).json
    transaction_id = members["transaction_id"]
    entry = responder.store.find(transaction_id)
    assert entry is not None
    request = load_request(entry.csr)
    assert isinstance(request.signature_hash_algorithm, hashes.SHA384)
    certificate = certificate_in(out)
    assert certificate.subject.rfc4514_string() == "CN=10.1.2.3,O=Example"
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in held] == ["10.1.2.3", "mfp.example.com", "2001:db8::7"]
    assert members["files"] == {
        "private_key": str(out / "key.pem"),
        "certificate": str(out / "certificate.pem"),
        "chain": str(out / "chain.pem"),
        "ca": str(out / "ca.pem"),
    }
    assert members["status"] == "issued"
    assert members["certificate"]["serial_number"] == f"{certificate.serial_number:x}"


@pytest.mark.parametrize(
    ("words", "curve", "signers_key"),
    [
        (("--key-type", "p256"), "secp256r1", False),
        (("--key-type", "P-384", "--ec-transport", "password"), "secp384r1", True),
    ],
)
def test_ec_keys_both_ways(
    url: str,
    responder: Responder,
    challenge: Path,
    out: Path,
    words: tuple[str, ...],
    curve: str,
    signers_key: bool,
) -> None:
    ended = scep("enroll", url, *NAME, *words, "--challenge-file", challenge, "--out", out)
    assert ended.code == 0
    check_issued(out)
    key = certificate_in(out).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert key.curve.name == curve
    logged = responder.messages[-1]
    assert (logged.public_key_sha256 == logged.transaction_id) is signers_key


def test_the_challenge_from_stdin_or_a_variable(url: str, tmp_path: Path) -> None:
    ended = scep(
        "enroll", url, *NAME, "--challenge-file", "-", "--out", tmp_path / "a", given=f"{CHALLENGE}\r\n"
    )
    assert ended.code == 0
    words = ("enroll", url, *NAME, "--challenge-env", "PASSWORD_OF_CA", "--out", tmp_path / "b")
    assert scep(*words, env={"PASSWORD_OF_CA": CHALLENGE}).code == 0
    ended = scep(*words)
    assert (ended.code, "'PASSWORD_OF_CA' is not set" in ended.err) == (2, True)


def test_modes_do_not_depend_on_the_umask(url: str, challenge: Path, out: Path) -> None:
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, umask=0).code == 0
    check_issued(out)


def test_chain_and_ca_where_there_is_a_registration_authority(
    url: str, responder: Responder, authority: Authority, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(ra_pair=True)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 0
    check_issued(out)
    assert x509.load_pem_x509_certificates((out / "ca.pem").read_bytes()) == [authority.certificate]
    assert x509.load_pem_x509_certificates((out / "chain.pem").read_bytes()) == [certificate_in(out)]


def test_a_pinned_ca_needs_no_note(url: str, authority: Authority, challenge: Path, out: Path) -> None:
    pin = authority.certificate.fingerprint(hashes.SHA256()).hex(":")
    ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "--fingerprint", pin)
    assert (ended.code, ended.err) == (0, "")


# --- how it fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_info", range(5))
def test_r17_what_a_server_refuses_is_forgotten(
    url: str, responder: Responder, challenge: Path, out: Path, fail_info: int
) -> None:
    responder.behavior = Behavior(fail_info=fail_info)
    members = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "--json").json
    assert (members["exit_code"], members["unfinished"]) == (4, None)
    error = members["error"]
    assert (error["kind"], error["fail_info"]) == ("request_refused", fail_info)
    assert error["details"] == f"Communication Error (SCEP ERROR Fail Info {fail_info})"
    assert not out.exists(), "the folder was made for it"


def test_a_real_server_refuses_a_wrong_challenge(peer: Peer, tmp_path: Path, out: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    out.mkdir(parents=True)
    ended = scep("enroll", peer.url, *NAME, "--challenge-file", wrong, "--out", out)
    assert (ended.code, ended.out) == (4, "")
    assert "Check the challenge password" in ended.err
    assert names(out) == []


def test_quirk_28_nothing_goes_to_a_ca_with_another_fingerprint(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    words = ("--challenge-file", challenge, "--out", out, "--fingerprint", "ab" * 32)
    members = scep("enroll", url, *NAME, *words, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (7, "message_check_failed")
    assert responder.messages == []
    assert not out.exists()


def test_r11_no_connection_is_tried_again_as_often_as_told(challenge: Path, out: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/scep"
    words = ("--challenge-file", challenge, "--out", out)
    ended = scep("enroll", url, *NAME, *words)
    assert (ended.code, ended.out) == (5, "")
    assert "Connection refused" in ended.err
    ended = scep("enroll", url, *NAME, *words, "-v", "--poll-count", "2", "--poll-interval", "0.01")
    assert (ended.code, ended.err.count("GetCACaps ...")) == (5, 3)
    assert not out.exists()


@pytest.mark.parametrize(
    ("behavior", "code", "kind"),
    [
        (Behavior(html=True), 6, "not_scep"),
        (Behavior(empty=True), 6, "not_scep"),
        (Behavior(http_status=503), 6, "http_status_error"),
        (Behavior(reply_for_somebody_else=True), 7, "message_check_failed"),
        (Behavior(sealed_for_somebody_else=True), 7, "message_check_failed"),
        (Behavior(keywords=("AES", "POSTPKIOperation")), 8, "unsupported_algorithm"),
        (Behavior(drop=True), 5, "connection_failed"),
    ],
)
def test_each_failure_has_its_exit_code(
    url: str, responder: Responder, challenge: Path, out: Path, behavior: Behavior, code: int, kind: str
) -> None:
    responder.behavior = behavior
    members = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (code, kind)
    # what may have reached the server is kept, what certainly did not is forgotten
    reached = kind != "unsupported_algorithm" and not behavior.html
    assert members["unfinished"] == (str(out) if reached else None)
    assert out.exists() is reached


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--common-name", "m" * 65), "1 to 64 characters"),
        (("--common-name", "größe.example.com"), "cannot be asked for"),
        ((*NAME, "--san", "DNS:mfp.example.com"), "without DNS: or IP:"),
        ((*NAME, "--san", "two words"), "an IP address or a DNS name"),
        ((*NAME, "--digest", "sha1"), "needs --allow-sha1"),
        ((*NAME, "--digest", "md5"), "one of sha256, sha384, sha512, sha1 was expected"),
        ((*NAME, "--key-length", "1024"), "invalid choice"),
        ((*NAME, "--fingerprint", "ab" * 20), "64 hexadecimal digits was expected, 40 characters came"),
        ((*NAME, "--timeout", "nan"), "--timeout"),
        ((*NAME, "--poll-count", "-1"), "--poll-count"),
        ((*NAME, "--poll-inter", "1"), "does not know --poll-inter"),
        ((), "--common-name"),
    ],
)
def test_wrong_usage_says_so_before_anything_happens(
    responder: Responder, url: str, out: Path, words: tuple[str, ...], said: str
) -> None:
    ended = scep("enroll", url, *words, "--out", out)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert responder.messages == []
    assert not out.exists()


@pytest.mark.parametrize(
    "address", ["ftp://ca.example.com/scep", "ca.example.com/scep", "http://", "http://[", "http://a:x/"]
)
def test_what_is_no_address(out: Path, address: str) -> None:
    ended = scep("enroll", address, *NAME, "--out", out)
    assert (ended.code, "http://ca.example.com/scep was expected" in ended.err) == (2, True)


# --- what was there before --------------------------------------------------------------------------------


def test_nothing_is_overwritten_without_force(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    out.mkdir(parents=True)
    (out / "key.pem").write_text("a key that is in use")
    ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out)
    assert (ended.code, f"{out / 'key.pem'} exists already" in ended.err) == (9, True)
    assert responder.messages == []
    assert names(out) == ["key.pem"]
    assert (out / "key.pem").read_text() == "a key that is in use"


def test_with_force_the_old_files_stay_until_the_new_ones_are_there(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    words = ("enroll", url, *NAME, "--challenge-file", challenge, "--out", out)
    assert scep(*words).code == 0
    before = {name: (out / name).read_bytes() for name in names(out)}
    responder.behavior = Behavior(fail_info=2)
    assert scep(*words, "--force").code == 4
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    responder.behavior = Behavior()
    assert scep(*words, "--force").code == 0
    check_issued(out)
    assert (out / "key.pem").read_bytes() != before["key.pem"]


def test_a_file_that_gets_in_the_way_meanwhile_is_not_overwritten(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(pending=1)
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out).code == 3
    (out / "certificate.pem").write_text("somebody else's")
    ended = scep("poll", out)
    assert (ended.code, "certificate.pem exists already" in ended.err) == (9, True)
    assert (out / "certificate.pem").read_text() == "somebody else's"
    assert state_of(out)["progress"] == "issued"
    assert scep("poll", out, "--force").code == 0
    check_issued(out)


def test_a_folder_that_cannot_be_made(url: str, challenge: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "folder"):
        ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", place)
        assert (ended.code, f"Cannot use the folder {place}" in ended.err) == (9, True)


def test_quirk_07_a_reply_in_des_is_read_later_with_the_same_key(
    url: str, responder: Responder, challenge: Path, out: Path
) -> None:
    responder.behavior = Behavior(reply_cipher=ContentCipher.DES)
    ended = scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", out)
    assert (ended.code, "Here that is --allow-des-replies." in ended.err) == (8, True)
    assert f"scep poll {out}" in ended.err
    made = state_of(out)["transaction"]["transaction_id"]
    assert scep("poll", out).code == 8
    assert scep("poll", out, "--allow-des-replies").code == 0
    check_issued(out)
    assert [message.outcome for message in responder.messages] == ["issued", "again", "again"]
    assert {message.transaction_id for message in responder.messages} == {made}


def test_quirk_07_a_real_server_answers_in_des(peer: Peer, challenge: Path, out: Path) -> None:
    assert scep("enroll", peer.url, *NAME, "--challenge-file", challenge, "--out", out).code == 8
    ended = scep("poll", out, "--allow-des-replies", "-v")
    assert ended.code == 0
    # it does not know CertPoll, so the very same request went again
    assert [line for line in ended.err.splitlines() if line.endswith(" ...")] == [
        "GetCACaps ...",
        "GetCACert ...",
        "CertPoll ...",
        "PKCSReq ...",
    ]
    check_issued(out)
