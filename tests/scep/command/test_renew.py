"""renew: each form, what is taken over from the old certificate, and that the old pair is safe."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from scep import keys
from scep.behavior import Behavior
from scep.command import files
from scep.command.options import FORMS
from scep.csr import CertificateParameters, SignatureAlgorithm
from scep.responder import Responder
from scep.transaction import new_transaction
from tests.peers.scep_server import Peer, issued
from tests.scep.command.running import check_issued, names, openssl, scep, state_of
from tests.scep.enrolling import CHALLENGE, NOW, enrolled

NAME = ("--common-name", "10.1.2.3", "--organization", "Example", "--san", "mfp.example.com")


@pytest.fixture
def old(url: str, challenge: Path, tmp_path: Path) -> Path:
    """The folder of a first certificate."""
    directory = tmp_path / "old"
    assert scep("enroll", url, *NAME, "--challenge-file", challenge, "--out", directory).code == 0
    return directory


def pair(directory: Path) -> tuple[str | Path, ...]:
    """The options that name the old pair."""
    return ("--certificate", directory / "certificate.pem", "--key", directory / "key.pem")


def certificate_in(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "certificate.pem").read_bytes())


def names_in(certificate: x509.Certificate) -> list[str]:
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in held]


@pytest.mark.parametrize("form", FORMS)
def test_quirk_20_each_form(
    url: str, responder: Responder, challenge: Path, old: Path, out: Path, form: str
) -> None:
    with_password = ("--challenge-file", challenge) if form == "pkcs-req-with-challenge" else ()
    ended = scep("renew", url, *pair(old), "--form", form, *with_password, "--out", out)
    assert ended.code == 0
    check_issued(out)
    before, after = certificate_in(old), certificate_in(out)
    assert after.subject == before.subject
    assert names_in(after) == names_in(before) == ["10.1.2.3", "mfp.example.com"]
    assert after.public_key() != before.public_key()
    expected = "RenewalReq" if form == "renewal-req" else "PKCSReq"
    assert responder.messages[-1].message_type == expected


def test_a_real_server_renews(peer: Peer, challenge: Path, tmp_path: Path, out: Path) -> None:
    first = tmp_path / "first"
    words = ("--challenge-file", challenge, "--allow-des-replies")
    assert scep("enroll", peer.url, *NAME, *words, "--out", first).code == 0
    before = len(issued(peer))
    assert scep("renew", peer.url, *pair(first), *words, "--out", out).code == 0
    check_issued(out)
    assert len(issued(peer)) == before + 1
    assert openssl("verify", "-CAfile", peer.ca_path, out / "certificate.pem").endswith(": OK\n")


def test_options_change_what_is_taken_over(url: str, challenge: Path, old: Path, out: Path) -> None:
    # a CA wants the old subject where the old certificate vouches for the request
    form = ("--form", "pkcs-req-with-challenge", "--challenge-file", challenge, "--key-length", "3072")
    words = ("--common-name", "new.example.com", "--organization", "", "--san", "10.9.9.9")
    assert scep("renew", url, *pair(old), *words, *form, "--out", out).code == 0
    certificate = certificate_in(out)
    assert certificate.subject.rfc4514_string() == "CN=new.example.com"
    assert names_in(certificate) == ["new.example.com", "10.9.9.9"]
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 3072


def test_the_kind_of_key_is_taken_over(url: str, challenge: Path, tmp_path: Path, out: Path) -> None:
    first = tmp_path / "first"
    words = ("--challenge-file", challenge, "--key-type", "p384")
    assert scep("enroll", url, *NAME, *words, "--out", first).code == 0
    ended = scep("renew", url, *pair(first), "--out", out)
    assert (ended.code, "challenge password" in ended.err) == (2, True), "an EC key cannot open the reply"
    assert scep("renew", url, *pair(first), "--challenge-file", challenge, "--out", out).code == 0
    check_issued(out)
    key = certificate_in(out).public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert key.curve.name == "secp384r1"


def test_in_its_own_folder_the_old_pair_stays_until_the_new_one_is_there(
    url: str, responder: Responder, old: Path
) -> None:
    words = ("renew", url, *pair(old), "--out", old)
    assert scep(*words).code == 9, "not without --force"
    before = {name: (old / name).read_bytes() for name in names(old)}
    responder.behavior = Behavior(pending=1)
    assert scep(*words, "--force").code == 3
    assert {name: (old / name).read_bytes() for name in before} == before
    # the permission to overwrite was given, and lasts
    assert scep("poll", old).code == 0
    check_issued(old)
    assert (old / "key.pem").read_bytes() != before["key.pem"]


def test_a_renewal_goes_on_after_its_answer_was_lost(
    url: str, responder: Responder, old: Path, out: Path
) -> None:
    responder.behavior = Behavior(drop_replies=1)
    assert scep("renew", url, *pair(old), "--out", out).code == 5
    assert state_of(out)["transaction"]["renewal_form"] == "renewal_req"
    assert scep("poll", out).code == 0
    check_issued(out)
    assert [message.message_type for message in responder.messages] == ["PKCSReq", "RenewalReq", "CertPoll"]
    assert len(list(responder.store.issued())) == 2


def test_quirk_21_the_old_certificate_is_no_success(
    url: str, responder: Responder, old: Path, out: Path
) -> None:
    responder.behavior = Behavior(old_certificate_at_renewal=True)
    members = scep("renew", url, *pair(old), "--out", out, "--json").json
    assert (members["exit_code"], members["error"]["kind"]) == (7, "wrong_certificate")
    assert members["error"]["options"] == ["--form"]


PRINTERS = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Printers"),
        x509.NameAttribute(NameOID.COMMON_NAME, "10.1.2.3"),
    ]
)


def keep(directory: Path, certificate: x509.Certificate, key: keys.PrivateKey) -> None:
    """Write a pair where `pair` finds it."""
    directory.mkdir()
    (directory / "certificate.pem").write_bytes(files.certificates_pem([certificate]))
    (directory / "key.pem").write_bytes(files.key_pem(key))


def test_the_whole_subject_is_asked_for_again(url: str, tmp_path: Path, out: Path) -> None:
    parameters = CertificateParameters(
        "10.1.2.3", "", 2048, SignatureAlgorithm.SHA256, CHALLENGE, subject=PRINTERS
    )
    made = new_transaction(parameters, now=NOW)
    keep(tmp_path / "first", enrolled(url, made), made.key)
    assert scep("renew", url, *pair(tmp_path / "first"), "--out", out).code == 0
    assert certificate_in(out).subject == PRINTERS


def test_what_cannot_be_asked_for_again_is_said(url: str, tmp_path: Path, out: Path) -> None:
    key = keys.generate_rsa(2048)
    certificate = (
        x509.CertificateBuilder(PRINTERS, PRINTERS, key.public_key(), 1, NOW, NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("mfp@example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    keep(tmp_path / "elsewhere", certificate, key)
    words = ("renew", url, *pair(tmp_path / "elsewhere"), "--out", out, "--organization", "Example")
    members = scep(*words, "--json").json
    # this CA did not issue it, and refuses: then what was not asked for matters most
    assert members["exit_code"] == 4
    about_subject, about_names = members["notes"]
    assert about_subject.startswith("The old subject is CN=10.1.2.3,OU=Printers,C=DE; with --common-name or")
    assert about_names.endswith("that are not asked for again: mfp@example.com.")
    assert scep(*words).err.count("Note: ") == 2


# --- the old pair -----------------------------------------------------------------------------------------


def test_a_key_of_another_certificate(url: str, old: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "other.pem").write_bytes(files.key_pem(keys.generate_rsa(2048)))
    words = ("--certificate", old / "certificate.pem", "--key", tmp_path / "other.pem", "--out", out)
    ended = scep("renew", url, *words)
    assert (ended.code, "is not the key of" in ended.err) == (2, True)
    assert not out.exists()


def test_an_encrypted_key_says_what_to_do(url: str, old: Path, tmp_path: Path, out: Path) -> None:
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", old / "key.pem", "-aes256", "-passout", "pass:open", "-out", locked)
    ended = scep("renew", url, "--certificate", old / "certificate.pem", "--key", locked, "--out", out)
    assert (ended.code, "openssl pkey -in FILE" in ended.err) == (9, True)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA", b"\x30\x03\x02\x01\x01"]
)
def test_files_that_hold_something_else(
    url: str, old: Path, tmp_path: Path, out: Path, content: bytes
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(content)
    ended = scep("renew", url, "--certificate", wrong, "--key", old / "key.pem", "--out", out)
    assert (ended.code, f"{wrong} should hold a certificate" in ended.err) == (9, True)
    ended = scep("renew", url, "--certificate", old / "certificate.pem", "--key", wrong, "--out", out)
    assert (ended.code, f"{wrong} should hold a private key" in ended.err) == (9, True)


def test_pairs_in_der(url: str, old: Path, tmp_path: Path, out: Path) -> None:
    certificate, key = tmp_path / "old.crt", tmp_path / "old.key"
    openssl("x509", "-in", old / "certificate.pem", "-outform", "DER", "-out", certificate)
    openssl("pkey", "-in", old / "key.pem", "-outform", "DER", "-out", key)
    assert scep("renew", url, "--certificate", certificate, "--key", key, "--out", out).code == 0
