"""What can go wrong between a device and its SCEP server: one class for each line of R17.

Every error answers three questions: which [Details] line the status log shows (`details`), whether R11
polls for it (`worth_polling`), and, as its text, what was expected, what came and what the reader can do.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ConnectionFailed",
    "FailInfo",
    "HttpStatusError",
    "MessageCheckFailed",
    "NotScep",
    "RequestRefused",
    "ScepError",
    "UnsupportedAlgorithm",
    "WrongCertificate",
    "first_line",
]


class FailInfo(IntEnum):
    """The reasons a CertRep can give for a FAILURE (RFC 8894 section 3.2.1.4)."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4


FAIL_INFO_MEANING = {
    FailInfo.BAD_ALG: "unrecognised or unsupported algorithm (badAlg)",
    FailInfo.BAD_MESSAGE_CHECK: "the integrity check of the CMS message failed (badMessageCheck)",
    FailInfo.BAD_REQUEST: "transaction not permitted or supported (badRequest)",
    FailInfo.BAD_TIME: "signingTime was not close enough to the server's time (badTime)",
    FailInfo.BAD_CERT_ID: "no certificate matches the criteria (badCertId)",
}


class ScepError(Exception):
    """Base of all errors of this package.

    `details` is the exact [Details] line of R17. `worth_polling` is True when R11's polling may help:
    only a connection that failed. `str(error)` explains; it never contains a secret.
    """

    worth_polling = False

    def __init__(self, explanation: str, *, details: str) -> None:
        super().__init__(explanation)
        self.details = details


def _scep_details(fail_info: FailInfo) -> str:
    return f"Communication Error (SCEP ERROR Fail Info {fail_info:d})"


class ConnectionFailed(ScepError):
    """No connection, a timeout, a dropped connection, a body slower than the deadline, or a TLS failure."""

    worth_polling = True

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details="Communication Error (TOP ERROR)")


class HttpStatusError(ScepError):
    """The server answered with an HTTP status other than 200, a redirect included.

    `status` is that status (100-599).
    """

    def __init__(self, status: int, explanation: str = "") -> None:
        text = explanation or (
            f"The SCEP server answered with HTTP status {status} where 200 was expected. "
            "Check the SCEP server's URL and its log."
        )
        super().__init__(text, details=f"Communication Error (TOP ERROR {status})")
        self.status = status


class NotScep(ScepError):
    """The server answered, but not with SCEP: HTML, nothing, no CMS, or more than the limit (quirks 25, 29).

    `status` is the HTTP status that came with it, ordinarily 200.
    """

    def __init__(self, explanation: str, *, status: int = 200) -> None:
        super().__init__(explanation, details=f"Communication Error (TOP ERROR {status})")
        self.status = status


class RequestRefused(ScepError):
    """The server answered FAILURE.

    `fail_info` is the reason counted for R17: without failInfo, or with one that RFC 8894 does not know,
    it is BAD_REQUEST. `fail_text` is failInfoText ("" when absent), `hresult` what NDES sends ("" when
    absent), both for people (quirk 13).
    """

    def __init__(self, fail_info: int | None, fail_text: str = "", hresult: str = "") -> None:
        try:
            self.fail_info = FailInfo.BAD_REQUEST if fail_info is None else FailInfo(fail_info)
        except ValueError:
            self.fail_info = FailInfo.BAD_REQUEST
        self.fail_text = fail_text
        self.hresult = hresult
        said = "without a failInfo" if fail_info is None else f"with failInfo {fail_info}"
        parts = [f"The SCEP server refused the request {said}: {FAIL_INFO_MEANING[self.fail_info]}."]
        if fail_text:
            parts.append(f"It says: {fail_text!r}.")
        if hresult:
            parts.append(f"Its HRESULT is {hresult}.")
        if self.fail_info is FailInfo.BAD_REQUEST:
            parts.append("Check the challenge password, the common name and what the server permits.")
        super().__init__(" ".join(parts), details=_scep_details(self.fail_info))


class MessageCheckFailed(ScepError):
    """The reply is not what it claims to be: signature, digest, nonce, transaction ID, decryption, pin."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_MESSAGE_CHECK))


class UnsupportedAlgorithm(ScepError):
    """The server wants or uses an algorithm that this program does not know or is not allowed to use."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_ALG))


class WrongCertificate(ScepError):
    """SUCCESS, but without a usable certificate: not for our key, not from the CA, or not valid now."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_CERT_ID))


def first_line(error: Exception) -> str:
    """What a library's error says, fit for the middle of a sentence."""
    return str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
