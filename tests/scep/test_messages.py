"""pkiMessages and the CMS below them, as peers build them: quirks, forgeries and noise."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from scep import asn1, ber, cms, envelope, messages
from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.authority import Authority
from scep.csr import CertificateParameters
from scep.errors import MessageCheckFailed, NotScep, RequestRefused, ScepError
from scep.messages import MessageType, PkiStatus, Reply
from scep.transaction import Transaction, new_transaction
from tests.scep.enrolling import with_encrypted_key, wrongly_padded

NOW = datetime.now(UTC)
NONCE = b"\x01" * 16
AUTHORITY = Authority.create("Messages CA", now=NOW)
MINE: Transaction = new_transaction(
    CertificateParameters("mfp.example.com", "", 2048, SignatureAlgorithm.SHA256, ""), now=NOW
)
ISSUED = AUTHORITY.issue(x509.load_der_x509_csr(MINE.csr), now=NOW)
ALL_CIPHERS = list(ContentCipher)


def attributes(status: PkiStatus, **changes: bytes | None) -> list[bytes]:
    """The signed attributes of a CertRep; `changes` replace, add (any name) or, with None, remove."""

    def text(oid: asn1.OID, value: object) -> bytes:
        return asn1.attribute(oid, asn1.printable(str(value)))

    usual: dict[str, bytes | None] = {
        "message_type": text(asn1.MESSAGE_TYPE, 3),
        "pki_status": text(asn1.PKI_STATUS, status.value),
        "transaction_id": text(asn1.TRANSACTION_ID, MINE.transaction_id),
        "sender_nonce": asn1.attribute(asn1.SENDER_NONCE, b"\x02" * 16),
        "recipient_nonce": asn1.attribute(asn1.RECIPIENT_NONCE, NONCE),
    }
    return [attribute for attribute in (usual | changes).values() if attribute is not None]


def cert_rep(
    status: PkiStatus,
    content: bytes | None = None,
    *,
    digest: SignatureAlgorithm = SignatureAlgorithm.SHA256,
    **changes: bytes | None,
) -> bytes:
    """A CertRep as some server might build it."""
    return cms.sign(
        content,
        certificate=AUTHORITY.certificate,
        key=AUTHORITY.key,
        attributes=attributes(status, **changes),
        algorithm=digest,
    )


def success() -> bytes:
    payload = envelope.envelop(cms.degenerate([ISSUED]), recipient=MINE.signer, cipher=ContentCipher.AES_128)
    return cert_rep(PkiStatus.SUCCESS, payload)


def read(data: bytes) -> Reply:
    return messages.read_reply(
        data,
        requester=MINE.requester,
        signers=[AUTHORITY.certificate],
        sender_nonce=NONCE,
        allowed=ALL_CIPHERS,
    )


def test_a_success() -> None:
    assert read(success()) == Reply(PkiStatus.SUCCESS, (ISSUED,))


@pytest.mark.parametrize("digest", SignatureAlgorithm)
def test_quirk_06_replies_may_be_signed_with_any_hash(digest: SignatureAlgorithm) -> None:
    assert read(cert_rep(PkiStatus.PENDING, digest=digest)) == Reply(PkiStatus.PENDING)


def test_quirk_10_the_signature_algorithm_may_name_its_hash_or_not() -> None:
    rsa = asn1.encode(asn1.AlgorithmIdentifier(algorithm=asn1.RSA_ENCRYPTION, parameters=asn1.Null()))
    for other in (
        asn1.AlgorithmIdentifier(algorithm=SignatureAlgorithm.SHA256.rsa_oid, parameters=asn1.Null()),
        asn1.AlgorithmIdentifier(algorithm=SignatureAlgorithm.SHA256.rsa_oid),
        asn1.AlgorithmIdentifier(algorithm=asn1.RSA_ENCRYPTION),
    ):
        # not in the certificate, whose bytes are signed: the last one is that of the SignerInfo
        changed = rebuilt(cert_rep(PkiStatus.PENDING), rsa, asn1.encode(other))
        assert read(changed) == Reply(PkiStatus.PENDING)


def rebuilt(der: bytes, old: bytes, new: bytes) -> bytes:
    """`der` with the last `old` inside replaced, all lengths around it right again."""
    if der == old:
        return new
    if der[0] & 0x20 == 0 or old not in der:
        return der
    parts = list(ber.children(der))
    for index in range(len(parts) - 1, -1, -1):
        if old in parts[index]:
            parts[index] = rebuilt(parts[index], old, new)
            break
    return ber.wrap(der[0], b"".join(parts))


def test_quirk_11_one_attribute_in_pieces_inside_of_der() -> None:
    pieces = ber.wrap(0x24, ber.wrap(0x04, NONCE[:9]) + ber.wrap(0x04, NONCE[9:]))
    whole = asn1.attribute(asn1.RECIPIENT_NONCE, NONCE)
    data = cert_rep(PkiStatus.PENDING)
    changed = rebuilt(data, whole, asn1.attribute_of(asn1.RECIPIENT_NONCE, pieces))
    assert len(changed) == len(data) + 4
    assert read(changed) == Reply(PkiStatus.PENDING)


def test_quirk_11_one_certificate_in_ber_inside_of_der() -> None:
    der = ISSUED.public_bytes(Encoding.DER)
    changed = rebuilt(cms.degenerate([AUTHORITY.certificate, ISSUED]), der, ber.to_indefinite(der))
    assert cms.certificates_in(changed) == (AUTHORITY.certificate, ISSUED)


@pytest.mark.parametrize("content", [None, b"", b"\0"], ids=["absent", "empty", "one NUL"])
@pytest.mark.parametrize("status", [PkiStatus.PENDING, PkiStatus.FAILURE])
def test_quirk_12_content_where_there_is_nothing_to_say(status: PkiStatus, content: bytes | None) -> None:
    data = cert_rep(status, content)
    if status is PkiStatus.PENDING:
        assert read(data) == Reply(PkiStatus.PENDING)
    else:
        with pytest.raises(RequestRefused):
            read(data)


@pytest.mark.parametrize("content", [None, b"", b"\0"])
def test_quirk_14_success_without_a_payload_is_pending(content: bytes | None) -> None:
    assert read(cert_rep(PkiStatus.SUCCESS, content)) == Reply(PkiStatus.PENDING)


@pytest.mark.parametrize("oid", [asn1.FAIL_INFO_TEXT, asn1.FAIL_INFO_TEXT_SEEN])
def test_quirk_13_what_the_server_says(oid: asn1.OID) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(
            cert_rep(
                PkiStatus.FAILURE,
                fail_info=asn1.attribute(asn1.FAIL_INFO, asn1.printable("2")),
                text=asn1.attribute(oid, "not today"),
                hresult=asn1.attribute(asn1.HRESULT, "0x80094806"),
                unknown=asn1.attribute(asn1.OID("1.2.3.4.5"), b"whatever"),
            )
        )
    assert refused.value.server_words == "not today"
    assert refused.value.hresult == "0x80094806"


@pytest.mark.parametrize("fail_info", ["7", "-1", "", "two", "99999999999999"])
def test_a_fail_info_that_nobody_knows_counts_as_bad_request(fail_info: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(cert_rep(PkiStatus.FAILURE, fail_info=asn1.attribute(asn1.FAIL_INFO, asn1.printable(fail_info))))
    assert refused.value.details == "Communication Error (SCEP ERROR Fail Info 2)"


@pytest.mark.parametrize("nonce", [None, asn1.attribute(asn1.SENDER_NONCE, NONCE)], ids=["missing", "echoed"])
def test_quirk_15_the_servers_own_nonce_matters_to_nobody(nonce: bytes | None) -> None:
    assert read(cert_rep(PkiStatus.PENDING, sender_nonce=nonce)) == Reply(PkiStatus.PENDING)


@pytest.mark.parametrize("nonce", [None, asn1.attribute(asn1.RECIPIENT_NONCE, b"\x03" * 16)])
def test_quirk_15_ours_does(nonce: bytes | None) -> None:
    with pytest.raises(MessageCheckFailed):
        read(cert_rep(PkiStatus.PENDING, recipient_nonce=nonce))


def test_quirk_16_the_transaction_id_may_come_back_as_another_kind_of_string() -> None:
    other = asn1.attribute(asn1.TRANSACTION_ID, MINE.transaction_id)  # UTF8String
    assert read(cert_rep(PkiStatus.PENDING, transaction_id=other)) == Reply(PkiStatus.PENDING)


@pytest.mark.parametrize(
    "changes",
    [
        {"message_type": asn1.attribute(asn1.MESSAGE_TYPE, asn1.printable("19"))},
        {"message_type": None},
        {"pki_status": asn1.attribute(asn1.PKI_STATUS, asn1.printable("1"))},
        {"pki_status": None},
    ],
)
def test_what_is_no_cert_rep(changes: dict[str, bytes | None]) -> None:
    with pytest.raises(NotScep):
        read(cert_rep(PkiStatus.PENDING, **changes))  # type: ignore[arg-type]


def test_a_request_is_read_as_it_was_built() -> None:
    data = messages.build_request(
        MessageType.PKCS_REQ,
        MINE.csr,
        requester=MINE.requester,
        recipient=AUTHORITY.certificate,
        sender_nonce=NONCE,
        cipher=ContentCipher.AES_256,
        digest=SignatureAlgorithm.SHA512,
    )
    request = messages.read_request(
        data, certificate=AUTHORITY.certificate, key=AUTHORITY.key, allowed=ALL_CIPHERS
    )
    assert (request.message_type, request.content, request.sender_nonce, request.cipher) == (
        MessageType.PKCS_REQ,
        MINE.csr,
        NONCE,
        ContentCipher.AES_256,
    )
    assert request.signer == MINE.signer


@pytest.mark.parametrize("cipher", ContentCipher)
def test_every_cipher_round(cipher: ContentCipher) -> None:
    for content in (b"", b"x" * 15, b"x" * 16, b"x" * 1000):
        sealed = envelope.envelop(content, recipient=MINE.signer, cipher=cipher)
        opened = envelope.open_envelope(sealed, certificate=MINE.signer, key=MINE.key, allowed=[cipher])
        assert opened == (content, cipher)


def test_every_reason_why_an_envelope_stays_closed_reads_the_same() -> None:
    other = new_transaction(CertificateParameters("other", "", 2048, SignatureAlgorithm.SHA256, ""), now=NOW)
    texts = {
        why_closed(lambda sealed: (sealed, other)),
        why_closed(lambda sealed: (sealed[:-1] + bytes([sealed[-1] ^ 1]), MINE)),
        why_closed(lambda sealed: (with_encrypted_key(sealed, wrongly_padded(MINE.signer)), MINE)),
        why_closed(lambda sealed: (with_encrypted_key(sealed, b"short"), MINE)),
    }
    assert len(texts) == 1


def test_noise_that_ends_in_a_sound_padding_reads_like_an_envelope_for_somebody_else() -> None:
    """A wrong key makes such noise once in some 200 times: by chance nothing may look like no SCEP at all."""
    noise = random.Random(8894).randbytes(900)
    texts = set()
    for content, recipient in ((noise, MINE.signer), (cms.degenerate([ISSUED]), AUTHORITY.certificate)):
        sealed = envelope.envelop(content, recipient=recipient, cipher=ContentCipher.AES_128)
        for _ in range(20):
            with pytest.raises(MessageCheckFailed) as refused:
                read(cert_rep(PkiStatus.SUCCESS, sealed))
            texts.add(str(refused.value))
    assert len(texts) == 1


@pytest.mark.parametrize(
    "content", [b"-----BEGIN CERTIFICATE-----\n", b"<html>", b"", ber.wrap(0x04, b"\xff")]
)
def test_an_envelope_for_us_that_holds_something_else_is_no_scep(content: bytes) -> None:
    with pytest.raises(NotScep):
        read(
            cert_rep(
                PkiStatus.SUCCESS,
                envelope.envelop(content, recipient=MINE.signer, cipher=ContentCipher.AES_128),
            )
        )


def why_closed(change: Callable[[bytes], tuple[bytes, Transaction]]) -> str:
    """The error that a changed envelope ends in; noise has a sound padding by chance, once in 256 times."""
    for _ in range(5):
        sealed = envelope.envelop(b"secret", recipient=MINE.signer, cipher=ContentCipher.AES_128)
        data, made = change(sealed)
        try:
            opened = envelope.open_envelope(data, certificate=made.signer, key=made.key, allowed=ALL_CIPHERS)
        except MessageCheckFailed as error:
            return str(error)
        assert b"secret" not in opened[0]
    raise AssertionError("it was opened five times")


SUCCESS = success()
READERS: list[Callable[[bytes], object]] = [
    read,
    cms.certificates_in,
    lambda data: messages.read_request(
        data, certificate=AUTHORITY.certificate, key=AUTHORITY.key, allowed=ALL_CIPHERS
    ),
    lambda data: envelope.open_envelope(data, certificate=MINE.signer, key=MINE.key, allowed=ALL_CIPHERS),
]


@pytest.mark.parametrize("reader", READERS, ids=["reply", "certificates", "request", "envelope"])
@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=300))
def test_quirk_29_noise_ends_as_a_scep_error(reader: Callable[[bytes], object], noise: bytes) -> None:
    with pytest.raises(ScepError):
        reader(noise)


# a flipped bit can make a serial number negative or a name too long, of which the library warns
@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:Attribute's length")
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 4))
def test_an_altered_reply_is_never_believed(seed: int, changes: int) -> None:
    dice, altered = random.Random(seed), bytearray(SUCCESS)
    for _ in range(changes):
        altered[dice.randrange(len(altered))] = dice.randrange(256)
    try:
        reply = read(bytes(altered))
    except ScepError:
        return
    # what is not signed may differ: the certificates that came along, and how lengths were written
    assert reply == Reply(PkiStatus.SUCCESS, (ISSUED,))


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(SUCCESS) - 1))
def test_a_reply_that_breaks_off_is_never_believed(cut: int) -> None:
    with pytest.raises(ScepError):
        read(SUCCESS[:cut])
