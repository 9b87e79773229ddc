"""BER to DER, bounded: what Bouncy Castle and Go send (quirks 11, 29)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scep import asn1, ber
from scep.ber import MAX_DEPTH, MAX_SIZE, BerError, children, to_der, wrap


def h(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("given_ber", "der"),
    [
        ("3080 0201 05 0000", "3003 020105"),
        ("308103 020105", "3003 020105"),
        ("30820003 020105", "3003 020105"),
        ("2480 0402 6162 0401 63 0000", "0403 616263"),
        ("2407 0402 6162 0401 63", "0403 616263"),
        ("3080 3080 0000 0000", "3002 3000"),
        ("a080 0401 61 0000", "a003 040161"),
    ],
    ids=[
        "indefinite length",
        "long length",
        "longer length",
        "string in pieces",
        "pieces of definite length",
        "nested",
        "explicit tag",
    ],
)
def test_quirk_11_ber_becomes_der(given_ber: str, der: str) -> None:
    assert to_der(h(given_ber)) == h(der)


@given(st.binary(max_size=3000), st.integers(0, 2**64))
def test_quirk_11_indefinite_lengths_come_back_as_they_were(content: bytes, number: int) -> None:
    encrypted = asn1.EncryptedContent(
        content_type=asn1.DATA,
        algorithm=asn1.AlgorithmIdentifier(algorithm=asn1.DATA, parameters=b"iv"),
        content=content,
    )
    pair = asn1.encode(asn1.IssuerAndSerial(issuer=asn1.tlv(wrap(0x30, b"")), serial=number))
    for der in (asn1.encode(encrypted), pair, asn1.encode(content)):
        assert ber.to_der(ber.to_indefinite(der)) == der


def test_quirk_11_pieces_of_an_encrypted_content_are_joined() -> None:
    # EncryptedContentInfo: SEQUENCE { OID data, AlgorithmIdentifier, [0] IMPLICIT OCTET STRING in pieces }
    oid, algorithm = h("06092a864886f70d010701"), h("300b0609608648016503040102")
    pieces = h("a080 0402 6162 0401 63 0000")
    assert to_der(wrap(0x30, oid + algorithm + pieces)) == wrap(0x30, oid + algorithm + h("8003 616263"))


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b" \t", b"\0\0"])
def test_white_space_behind_is_dropped(tail: bytes) -> None:
    assert to_der(h("3003020105") + tail) == h("3003020105")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "30",
        "3080",
        "3005 0201",
        "0280 01 0000",
        "3003020105 020105",
        "1f8101 00",
        "3084ffffffff",
        "3089" + "01" * 9,
    ],
)
def test_what_is_no_ber_is_refused(broken: str) -> None:
    with pytest.raises(BerError):
        to_der(h(broken))


def test_quirk_29_bombs_are_refused_at_once() -> None:
    began = time.process_time()
    for bomb in (
        b"\x30\x80" * 500_000,
        b"\x24\x80" * 500_000,
        b"\x30" * (MAX_SIZE + 1),
        b"0\x80" * (MAX_DEPTH + 2),
    ):
        with pytest.raises(BerError):
            to_der(bomb)
    assert time.process_time() - began < 2


def test_what_is_der_is_read_as_it_is_and_ber_is_not() -> None:
    number = asn1.encode(5)
    seen: list[bytes] = []

    def reader(der: bytes) -> int:
        seen.append(der)
        return asn1.decode(int, der)

    assert ber.read(number, reader) == 5
    assert ber.read(number + b"\r\n", reader) == 5
    assert ber.read(h("028101 05"), reader) == 5
    assert seen == [number, number + b"\r\n", number, h("028101 05"), number]
    with pytest.raises(ValueError, match="parsing asn1"):
        ber.read(h("3000"), reader)
    with pytest.raises(BerError, match="limit"):
        ber.read(b"\x02" * (MAX_SIZE + 1), reader)


def test_contents() -> None:
    assert ber.contents(h("0403 616263")) == b"abc"
    assert ber.contents(h("3003 020105")) == h("020105")
    for broken in ("", "04", "0403 6162", "2480 0401610000"):
        with pytest.raises(BerError):
            ber.contents(h(broken))


def values(depth: int = 3) -> st.SearchStrategy[bytes]:
    """Any DER of primitives and constructed values."""
    primitive = st.builds(wrap, st.sampled_from([0x02, 0x04, 0x05, 0x0C, 0x13]), st.binary(max_size=200))
    return st.recursive(
        primitive,
        lambda inner: st.builds(
            wrap, st.sampled_from([0x30, 0x31, 0xA1]), st.lists(inner, max_size=4).map(b"".join)
        ),
        max_leaves=8,
    )


@given(values())
def test_der_comes_back_unchanged(der: bytes) -> None:
    assert to_der(der) == der


@given(st.lists(values(), max_size=5))
def test_children_are_what_was_put_in(inner: list[bytes]) -> None:
    assert list(children(wrap(0x30, b"".join(inner)))) == inner


@settings(max_examples=500)
@given(st.binary(max_size=400))
def test_anything_else_is_refused_and_never_crashes(data: bytes) -> None:
    try:
        der = to_der(data)
    except BerError:
        return
    assert to_der(der) == der, "and once more changes nothing"


def test_lengths_are_the_shortest() -> None:
    for length in (0, 1, 127, 128, 255, 256, 65535, 65536):
        whole = ber.wrap(0x04, b"x" * length)
        assert to_der(whole) == whole
