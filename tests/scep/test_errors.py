"""Every kind of error: its line of R17, whether R11 polls for it, and what it says."""

from __future__ import annotations

import json

import pytest

from scep import errors
from scep.errors import (
    ConnectionFailed,
    FailInfo,
    HttpStatusError,
    MessageCheckFailed,
    NotOffered,
    NotScep,
    RequestRefused,
    ScepError,
    UnsupportedAlgorithm,
    WrongCertificate,
)

EACH: list[tuple[ScepError, str, str]] = [
    (ConnectionFailed("x"), "connection_failed", "Communication Error (TOP ERROR)"),
    (HttpStatusError(503), "http_status_error", "Communication Error (TOP ERROR 503)"),
    (NotScep("x"), "not_scep", "Communication Error (TOP ERROR 200)"),
    (RequestRefused(3), "request_refused", "Communication Error (SCEP ERROR Fail Info 3)"),
    (NotOffered("x"), "not_offered", "Communication Error (SCEP ERROR Fail Info 2)"),
    (MessageCheckFailed("x"), "message_check_failed", "Communication Error (SCEP ERROR Fail Info 1)"),
    (UnsupportedAlgorithm("x"), "unsupported_algorithm", "Communication Error (SCEP ERROR Fail Info 0)"),
    (WrongCertificate("x"), "wrong_certificate", "Communication Error (SCEP ERROR Fail Info 4)"),
]


def test_there_is_no_other_kind() -> None:
    assert {type(error) for error, _kind, _details in EACH} == set(ScepError.__subclasses__())


@pytest.mark.parametrize(("error", "kind", "details"), EACH)
def test_r11_r17_each_kind(error: ScepError, kind: str, details: str) -> None:
    assert (error.kind, error.details) == (kind, details)
    assert error.worth_polling is isinstance(error, ConnectionFailed)
    assert json.loads(json.dumps(error.to_json())) == {
        "kind": kind,
        "explanation": str(error),
        "details": details,
        "worth_polling": error.worth_polling,
        "fail_info": 3 if kind == "request_refused" else None,
        "server_words": "",
        "hresult": "",
    }


@pytest.mark.parametrize("fail_info", FailInfo)
def test_r17_a_refusal_says_what_it_means_and_what_to_do(fail_info: FailInfo) -> None:
    error = RequestRefused(fail_info, "no\x00 such\n thing", "0x80070057")
    text = str(error)
    assert errors.FAIL_INFO_MEANING[fail_info] in text
    assert "It says: 'no such thing'. Its HRESULT is 0x80070057." in text
    assert text.count(". ") >= 3, "expected, came, and a remedy"
    assert (error.server_words, error.hresult) == ("no such thing", "0x80070057")


def test_other_advice_keeps_what_the_server_said() -> None:
    error = RequestRefused(2, "too early", "0x80070057").with_remedy("Wait.")
    assert str(error).endswith("It says: 'too early'. Its HRESULT is 0x80070057. Wait.")
    assert (error.fail_info, error.server_words) == (FailInfo.BAD_REQUEST, "too early")


def test_a_server_cannot_fill_the_log_with_its_words() -> None:
    error = RequestRefused(2, "x" * 1_000_000)
    assert len(error.server_words) == 500
    assert len(str(error)) < 1000
    assert HttpStatusError(500, server_words="y" * 1_000_000).server_words == "y" * 500


def test_an_explanation_is_printable_and_not_too_long() -> None:
    error = NotScep("It came:\x1b[31m\n" + "x" * 1_000_000)
    assert str(error).startswith("It came: [31m xxx")
    assert len(str(error)) == 1500
