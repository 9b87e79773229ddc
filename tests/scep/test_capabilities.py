"""GetCACaps read, and what is chosen from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scep.algorithms import ContentCipher, SignatureAlgorithm
from scep.capabilities import Capabilities
from scep.errors import UnsupportedAlgorithm


@pytest.mark.parametrize(
    "body",
    [
        b"AES\nPOSTPKIOperation\nSHA-256\n",
        b"aes\r\npostpkioperation\r\nsha-256",
        b"\nPOSTPKIOperation \n\tAES\nSHA-256\nSomethingNew\n",
    ],
)
def test_quirk_04_lines_in_any_case_and_any_ending(body: bytes) -> None:
    capabilities = Capabilities.read(body)
    assert capabilities.post
    assert capabilities.cipher(allow_3des=False) is ContentCipher.AES_128
    assert capabilities.digest(allow_sha1=False) is SignatureAlgorithm.SHA256


@pytest.mark.parametrize("body", [b"", b"<html>AES</html>", b"<!DOCTYPE html>", "AES\nSHA-256 ✓".encode()])
def test_quirk_04_a_page_or_nothing_means_the_legacy_defaults(body: bytes) -> None:
    assert Capabilities.read(body) == Capabilities()
    assert not Capabilities.read(body).post


def test_scep_standard_implies_what_the_rfc_says() -> None:
    capabilities = Capabilities.of(["SCEPStandard"])
    assert capabilities.post
    assert capabilities.cipher(allow_3des=True) is ContentCipher.AES_128
    assert capabilities.digest(allow_sha1=True) is SignatureAlgorithm.SHA256


def test_quirk_05_ndes_offers_no_aes() -> None:
    ndes = Capabilities.read(b"POSTPKIOperation\nRenewal\nSHA-512\nSHA-256\nSHA-1\nDES3\n")
    assert ndes.cipher(allow_3des=True) is ContentCipher.TRIPLE_DES
    assert ndes.digest(allow_sha1=False) is SignatureAlgorithm.SHA256
    with pytest.raises(UnsupportedAlgorithm, match="3DES") as refused:
        ndes.cipher(allow_3des=False)
    assert refused.value.details == "Communication Error (SCEP ERROR Fail Info 0)"


def test_quirk_06_sha1_by_permission_and_only_where_nothing_better_is_offered() -> None:
    old = Capabilities.of(["AES", "SHA-1"])
    assert old.digest(allow_sha1=True) is SignatureAlgorithm.SHA1
    with pytest.raises(UnsupportedAlgorithm, match="SHA-1"):
        old.digest(allow_sha1=False)
    better = Capabilities.of(["AES", "SHA-1", "SHA-512"])
    assert better.digest(allow_sha1=True) is SignatureAlgorithm.SHA512


KEYWORDS = st.frozensets(
    st.sampled_from(
        ["AES", "AES-192", "AES-256", "DES3", "SHA-1", "SHA-256", "SCEPStandard", "DES", "Update"]
    )
)


@given(KEYWORDS, st.booleans())
def test_quirk_08_des_is_never_sent(keywords: frozenset[str], prefer_aes_256: bool) -> None:
    cipher = Capabilities.of(keywords).cipher(allow_3des=True, prefer_aes_256=prefer_aes_256)
    assert cipher is not ContentCipher.DES


@given(KEYWORDS, st.booleans())
def test_quirk_09_aes_is_sent_with_128_or_256_bits(keywords: frozenset[str], prefer_aes_256: bool) -> None:
    capabilities = Capabilities.of(keywords)
    cipher = capabilities.cipher(allow_3des=True, prefer_aes_256=prefer_aes_256)
    offered = keywords & {"AES", "SCEPStandard"}
    if prefer_aes_256 and offered:
        assert cipher is ContentCipher.AES_256
    elif offered:
        assert cipher is ContentCipher.AES_128
    else:
        assert cipher is (ContentCipher.AES_256 if "AES-256" in keywords else ContentCipher.TRIPLE_DES)


@given(st.binary(max_size=300))
def test_whatever_comes_is_read(body: bytes) -> None:
    assert all(keyword == keyword.lower() for keyword in Capabilities.read(body).keywords)


def test_quirk_29_a_huge_answer_is_cut() -> None:
    assert len(Capabilities.read(b"X%d\n" % 1 * 1_000_000).keywords) <= 50
