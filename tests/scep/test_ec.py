"""EC device keys: through an RSA signer, and under the challenge password (RFC 8894 section 3.1)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import envelope, password_recipient
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.behavior import Behavior
from scep.csr import CertificateParameters, KeyType
from scep.errors import FailInfo, MessageCheckFailed, UnsupportedAlgorithm
from scep.exchange import Issued, Pending, ServerPolicy, Step
from scep.queries import FoundCrl, GetCrl
from scep.responder import Responder
from scep.server import serving
from scep.transaction import EcTransport, RenewalForm, Requester, Transaction, new_transaction
from tests.scep.enrolling import (
    CHALLENGE,
    NOW,
    ask,
    carry,
    enrolled,
    error_of,
    refusal,
    renewal,
    run,
    with_wrong_padding,
)

CURVES = [KeyType.P256, KeyType.P384]
AES = [ContentCipher.AES_128, ContentCipher.AES_256]


def make(
    key_type: KeyType = KeyType.P256,
    transport: EcTransport = EcTransport.PASSWORD,
    *,
    challenge: str = CHALLENGE,
    algorithm: SignatureAlgorithm = SignatureAlgorithm.SHA256,
) -> Transaction:
    parameters = CertificateParameters("mfp.example.com", "Example", 2048, algorithm, challenge, key_type)
    return new_transaction(parameters, now=NOW, ec_transport=transport)


@pytest.fixture(scope="module")
def rsa_ca() -> Authority:
    return Authority.create("RSA CA", now=NOW)


@pytest.fixture(scope="module")
def ec_ca() -> Authority:
    return Authority.create("EC CA", now=NOW, key_type=KeyType.P384)


@pytest.fixture
def url(rsa_ca: Authority) -> Iterator[str]:
    with serving(Responder(rsa_ca, challenge=CHALLENGE)) as url:
        yield url


def verified_by_openssl(certificate: x509.Certificate, ca: Authority, directory: Path) -> bool:
    (directory / "ca.pem").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    (directory / "own.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "own.pem"]
    return subprocess.run(command, cwd=directory, capture_output=True).stdout == b"own.pem: OK\n"


@pytest.mark.parametrize("transport", EcTransport)
@pytest.mark.parametrize("key_type", CURVES)
def test_a_certificate_for_an_ec_key(
    url: str, rsa_ca: Authority, tmp_path: Path, key_type: KeyType, transport: EcTransport
) -> None:
    made = make(key_type, transport)
    certificate = enrolled(url, made)
    key = certificate.public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert key == made.key.public_key()
    assert key.curve.name == {"P-256": "secp256r1", "P-384": "secp384r1"}[key_type]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment) == (True, False)
    assert verified_by_openssl(certificate, rsa_ca, tmp_path)


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_openssl_reads_the_request(algorithm: SignatureAlgorithm) -> None:
    command = ["openssl", "req", "-inform", "DER", "-verify", "-noout", "-text"]
    made = make(algorithm=algorithm)
    done = subprocess.run(command, input=made.csr, capture_output=True, check=True)
    assert b"verify OK" in done.stderr
    name = algorithm.value.replace("-", "")
    assert f"ecdsa-with-{name}" in done.stdout.decode()


def test_who_signs() -> None:
    through_rsa, by_itself = make(transport=EcTransport.RSA_SIGNER), make()
    assert isinstance(through_rsa.signer.public_key(), RSAPublicKey)
    assert through_rsa.signer.subject == x509.load_der_x509_csr(through_rsa.csr).subject
    assert by_itself.signer.public_key() == by_itself.key.public_key()
    assert by_itself.requester.challenge_password == CHALLENGE
    assert CHALLENGE not in repr(by_itself.requester)


@pytest.mark.parametrize("transport", EcTransport)
def test_it_is_restored_and_goes_on(rsa_ca: Authority, transport: EcTransport) -> None:
    made = make(transport=transport)
    again = Transaction.restore(**made.parts())
    assert again.parts() == made.parts()
    with serving(Responder(rsa_ca, challenge=CHALLENGE, behavior=Behavior(pending=1))) as url:
        assert isinstance(run(url, made), Pending)
        assert isinstance(run(url, again, Step.POLL), Issued)


def test_without_a_password_there_is_nothing_to_encrypt_under(rsa_ca: Authority) -> None:
    with pytest.raises(ValueError, match="challenge password"):
        make(challenge="")
    made = make()
    plain = make(transport=EcTransport.RSA_SIGNER, challenge="")
    refused = refusal(Responder(rsa_ca), Transaction(made.transaction_id, made.key, plain.csr, made.signer))
    assert refused == (
        FailInfo.BAD_ALG,
        "a reply for an EC key needs a challengePassword to be encrypted under",
    )


class TestEcCa:
    """A CA whose key cannot decrypt: requests come under the password too."""

    @pytest.mark.parametrize("key_type", KeyType)
    def test_each_kind_of_key(self, ec_ca: Authority, tmp_path: Path, key_type: KeyType) -> None:
        responder = Responder(ec_ca, challenge=CHALLENGE)
        with serving(responder) as url:
            outcome = run(url, make(key_type))
        assert isinstance(outcome, Issued)
        assert verified_by_openssl(outcome.certificate, ec_ca, tmp_path)

    def test_without_a_password_nothing_is_sent(self, ec_ca: Authority) -> None:
        made = make(KeyType.RSA, challenge="")
        responder = Responder(ec_ca)
        with serving(responder) as url:
            error = error_of(run(url, made))
        assert isinstance(error, UnsupportedAlgorithm)
        assert "Give a challenge password" in str(error)
        assert responder.messages == []

    def test_another_password_opens_nothing(self, ec_ca: Authority) -> None:
        responder = Responder(ec_ca, challenge="another")
        with serving(responder) as url:
            error = error_of(run(url, make()))
        assert error.fail_info is FailInfo.BAD_MESSAGE_CHECK

    def test_renewals(self, ec_ca: Authority) -> None:
        with serving(Responder(ec_ca, challenge=CHALLENGE)) as url:
            old = make()
            old_certificate = enrolled(url, old)
            for form in (RenewalForm.RENEWAL_REQ, RenewalForm.PKCS_REQ_SIGNED_BY_OLD):
                made = renewal(old_certificate, old, form, key_type=KeyType.P256)
                assert isinstance(run(url, made), Issued)

    def test_its_crl(self, ec_ca: Authority) -> None:
        asks = make()
        requester = Requester("crl-1", asks.signer, asks.key, CHALLENGE)
        with serving(Responder(ec_ca, challenge=CHALLENGE)) as url:
            outcome = carry(url, GetCrl(requester=requester, policy=ServerPolicy()))
        assert isinstance(outcome, FoundCrl)


class TestPasswordRecipient:
    """RFC 3211, against OpenSSL's implementation in both directions."""

    PASSWORD = "pässwörd ✓"

    @pytest.mark.parametrize("cipher", [*AES, ContentCipher.TRIPLE_DES])
    def test_openssl_opens_ours(self, cipher: ContentCipher) -> None:
        made = make()
        sealed = envelope.envelop(
            b"for an EC key", recipient=made.signer, cipher=cipher, password=self.PASSWORD
        )
        command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-binary", "-pwri_password", self.PASSWORD]
        done = subprocess.run(command, input=sealed, capture_output=True)
        assert (done.stdout, done.stderr) == (b"for an EC key", b"")

    @pytest.mark.parametrize(
        ("option", "cipher"),
        [
            ("-aes128", ContentCipher.AES_128),
            ("-aes256", ContentCipher.AES_256),
            ("-des3", ContentCipher.TRIPLE_DES),
        ],
    )
    def test_we_open_openssls(self, option: str, cipher: ContentCipher) -> None:
        made = make()
        command = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", option]
        command += ["-pwri_password", self.PASSWORD]
        sealed = subprocess.run(command, input=b"for an EC key", capture_output=True, check=True).stdout
        opened = envelope.open_envelope(
            sealed,
            certificate=made.signer,
            key=made.key,
            allowed=[cipher],
            passwords=["other", self.PASSWORD],
        )
        assert opened == (b"for an EC key", cipher)

    def test_why_it_stays_closed_does_not_show(self) -> None:
        made = make()
        sealed = envelope.envelop(
            b"for an EC key, and two blocks long",
            recipient=made.signer,
            cipher=ContentCipher.AES_128,
            password=self.PASSWORD,
        )
        altered = with_wrong_padding(sealed)
        texts = set()
        for data, passwords in ((sealed, ["other"]), (sealed, []), (altered, [self.PASSWORD])):
            with pytest.raises(MessageCheckFailed) as refused:
                envelope.open_envelope(
                    data, certificate=made.signer, key=made.key, allowed=AES, passwords=passwords
                )
            texts.add(str(refused.value))
        assert len(texts) == 1

    @pytest.mark.parametrize("cipher", [*AES, ContentCipher.TRIPLE_DES])
    def test_a_wrong_password_fails_the_check_value(self, cipher: ContentCipher) -> None:
        wrapped = password_recipient.wrap(bytes(cipher.key_size), password="right", cipher=cipher)
        unwrap = password_recipient.unwrap
        assert unwrap(wrapped, password="right", allowed=[cipher]) == bytes(cipher.key_size)
        for password in ("wrong", "", "right "):
            with pytest.raises(ValueError, match="check value"):
                unwrap(wrapped, password=password, allowed=[cipher])
        with pytest.raises(ValueError, match="not allowed"):
            unwrap(wrapped, password="right", allowed=[])

    def test_quirk_29_work_without_end_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(password_recipient, "_ITERATIONS", 1000)
        wrapped = password_recipient.wrap(bytes(16), password="right", cipher=ContentCipher.AES_128)
        few, many = b"\x02\x02\x03\xe8", b"\x02\x02\x7f\xff"
        assert wrapped.count(few) == 1
        assert password_recipient.unwrap(wrapped, password="right", allowed=AES) == bytes(16)
        with pytest.raises(ValueError, match="check value"):
            password_recipient.unwrap(wrapped.replace(few, many), password="right", allowed=AES)
        monkeypatch.setattr(password_recipient, "_MOST_ITERATIONS", 999)
        with pytest.raises(ValueError, match="iterations"):
            password_recipient.unwrap(wrapped, password="right", allowed=AES)


def test_a_poll_is_answered_under_the_password_of_the_request(rsa_ca: Authority) -> None:
    made, responder = make(), Responder(rsa_ca, challenge=CHALLENGE)
    assert ask(responder, made).certificates
    assert ask(responder, made).certificates, "the same once more"
