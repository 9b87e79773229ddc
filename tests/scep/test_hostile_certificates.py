"""Certificates that a hostile or broken CA makes up, and a hostile device: answers and refusals, in bounded time."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import asn1, ber, cms, csr, keys, trust
from scep.algorithms import SignatureAlgorithm
from scep.authority import Authority
from scep.certificates import is_ca, key_usage_of, load_certificate, load_crl, subject_key_identifier
from scep.conversation import Failed, HttpReply
from scep.errors import NotScep, ScepError, UnsupportedAlgorithm, WrongCertificate
from scep.exchange import Exchange, Step
from scep.profile import ServerPolicy, ServerProfile
from scep.responder import Responder
from tests.scep.enrolling import NOW, signed_request, transaction
from tests.scep.enrolling import refusal as refusal_of

NAME = b"Odd CA"
ODD = {
    "no UTF-8 in a name": (NAME, b"\xff" * len(NAME)),
    "a BIT STRING for a name": (b"\x0c\x06" + NAME, b"\x03\x06\0" + NAME[1:]),
    "a version that nobody knows": (bytes.fromhex("a003020102"), bytes.fromhex("a00302017f")),
}


@pytest.fixture(scope="module")
def odd() -> Authority:
    return Authority.create(NAME.decode(), now=NOW)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Test CA", now=NOW)


def der_of(each: Any) -> bytes:
    return bytes(each.public_bytes(Encoding.DER))


def ca_certificates(body: bytes) -> object:
    """What an enrollment's first message is, or that it failed, after this answer to GetCACert."""
    exchange = Exchange(transaction(), Step.REQUEST, now=NOW, policy=ServerPolicy())
    exchange.start()
    exchange.receive(HttpReply(200, b"SCEPStandard\n"))
    return exchange.receive(HttpReply(200, body))


def error_of(outcome: object) -> ScepError:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


@pytest.mark.parametrize(("old", "new"), ODD.values(), ids=ODD)
def test_a_certificate_that_cannot_be_read_is_none(
    odd: Authority, authority: Authority, old: bytes, new: bytes
) -> None:
    alone = der_of(odd.certificate).replace(old, new)
    assert isinstance(error_of(ca_certificates(alone)), NotScep)
    both = cms.degenerate([odd.certificate, authority.certificate])
    # of the version, only the first: the length of nothing changes
    assert cms.certificates_in(both.replace(old, new, 2 if NAME in old else 1)) == (authority.certificate,)
    with pytest.raises(ValueError, match=r".+"):
        load_certificate(alone)
    with pytest.raises(ValueError, match=r".+"):
        ServerProfile.from_json({"capabilities": [], "ca_certificates": [base64.b64encode(alone).decode()]})


@pytest.mark.parametrize(("old", "new"), list(ODD.values())[:2], ids=list(ODD)[:2])
def test_a_crl_of_an_issuer_that_cannot_be_read_is_none(odd: Authority, old: bytes, new: bytes) -> None:
    der = der_of(odd.crl({}, now=NOW))
    load_crl(der)
    with pytest.raises(ValueError, match=r".+"):
        load_crl(der.replace(old, new))


def test_an_extension_that_comes_twice_says_nothing(authority: Authority) -> None:
    ski, usage = bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d0f")
    twice = load_certificate(der_of(authority.certificate).replace(ski, usage))
    assert (key_usage_of(twice), is_ca(twice), subject_key_identifier(twice)) == (None, False, None)
    assert not isinstance(ca_certificates(der_of(twice)), Failed)


def test_more_certificates_than_anybody_needs_are_refused(authority: Authority) -> None:
    most = [authority.certificate] * cms.MOST_CERTIFICATES
    assert len(cms.certificates_in(cms.degenerate(most))) == cms.MOST_CERTIFICATES
    with pytest.raises(NotScep, match="At most 20 certificates were expected, 21 came"):
        cms.certificates_in(cms.degenerate([*most, authority.certificate]))


def link(subject: str, issuer: str, key: RSAPrivateKey, signing: RSAPrivateKey) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )


def test_a_web_of_certificates_is_walked_once(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 19 CAs issued each other, and none of them is ours: 19 to the power of 4 paths lead nowhere."""
    key = keys.generate_rsa()
    web = [link("A", "A", key, key) for _ in range(19)]
    checks = count_checks(monkeypatch)
    with pytest.raises(WrongCertificate):
        trust.check_issued(link("leaf", "A", key, key), [authority.certificate], web)
    assert len(checks) <= 20 * 20
    checks.clear()
    fingerprint = web[0].fingerprint(hashes.SHA256()).hex()
    assert trust.pinned(web, fingerprint) == tuple(web)
    assert len(checks) <= 20 * 20


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    checks: list[object] = []
    issued_by = trust._issued_by

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        checks.append(issuer)
        return issued_by(certificate, issuer)

    monkeypatch.setattr(trust, "_issued_by", counted)
    return checks


def test_a_chain_of_five_is_followed_and_one_of_six_is_not(authority: Authority) -> None:
    chain_keys = [keys.generate_rsa() for _ in range(5)]
    assert isinstance(authority.key, RSAPrivateKey)
    signers, names = [authority.key, *chain_keys], ["Test CA", "1", "2", "3", "4", "5"]
    chain = [link(names[at + 1], names[at], chain_keys[at], signers[at]) for at in range(5)]
    trust.check_issued(chain[4], [authority.certificate], chain[:4])
    leaf = link("leaf", "5", keys.generate_rsa(), chain_keys[4])
    with pytest.raises(WrongCertificate):
        trust.check_issued(leaf, [authority.certificate], chain)


@pytest.mark.parametrize("bits", [64, 20_000])
def test_a_key_of_a_size_that_cannot_encrypt(authority: Authority, bits: int) -> None:
    modulus = (1 << (bits - 1)) | 1
    number = ber.wrap(0x02, b"\0" + modulus.to_bytes(bits // 8, "big")) + ber.wrap(0x02, b"\1\0\1")
    algorithm = asn1.encode(asn1.AlgorithmIdentifier(algorithm=asn1.RSA_ENCRYPTION, parameters=asn1.Null()))
    public_key = ber.wrap(0x30, algorithm + ber.wrap(0x03, b"\0" + ber.wrap(0x30, number)))
    tbs, *rest = ber.children(der_of(authority.certificate))
    fields = list(ber.children(tbs))
    fields[6] = public_key
    made = ber.wrap(0x30, b"".join((ber.wrap(0x30, b"".join(fields)), *rest)))
    error = error_of(ca_certificates(made))
    assert isinstance(error, UnsupportedAlgorithm)
    assert f"it has {bits} bits" in str(error)


def test_the_signers_name_may_be_written_with_other_string_types(authority: Authority) -> None:
    made = cms.sign(
        b"",
        certificate=authority.certificate,
        key=authority.key,
        attributes=[],
        algorithm=SignatureAlgorithm.SHA256,
        certificates=(),
    )
    utf8, printable = b"\x0c\x07Test CA", b"\x13\x07Test CA"
    assert made.count(utf8) == 1
    cms.parse_signed(made.replace(utf8, printable)).verify([authority.certificate])


# --- towards the responder -------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), ODD.values(), ids=ODD)
def test_a_device_whose_signer_cannot_be_read(authority: Authority, old: bytes, new: bytes) -> None:
    made, responder = transaction(NAME.decode()), Responder(authority)
    content = cms.degenerate([])
    message = signed_request(content, made.requester, b"n" * 16)
    changed = message.replace(old, new)
    assert changed != message
    assert responder.handle("POST", {"operation": "PKIOperation"}, changed).status == 400


@pytest.mark.parametrize(
    ("old", "new"),
    [*list(ODD.values())[:2], (bytes.fromhex("020100"), bytes.fromhex("02017f"))],
    ids=ODD,
)
def test_a_csr_that_cannot_be_read(authority: Authority, old: bytes, new: bytes) -> None:
    made, responder = transaction(NAME.decode()), Responder(authority)
    info, *rest = ber.children(made.csr)
    changed = info.replace(old, new, 1)
    signature = keys.sign(made.key, changed, SignatureAlgorithm.SHA256)
    der = ber.wrap(0x30, changed + rest[0] + ber.wrap(0x03, b"\0" + signature))
    with pytest.raises(ValueError, match=r".+"):
        csr.load_request(der)
    assert refusal_of(responder, made, content=der)[0] == 1
