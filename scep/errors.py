"""What can go wrong between a device and its SCEP server: one class for each line of R17.

Every error answers three questions: which [Details] line the status log shows (`details`), whether R11
polls for it (`worth_polling`), and, as its text, what was expected, what came and what the reader can do.
"""

from __future__ import annotations

import re
from enum import IntEnum

__all__ = [
    "ConnectionFailed",
    "FailInfo",
    "HttpStatusError",
    "MessageCheckFailed",
    "NotOffered",
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


_REMEDIES = {
    FailInfo.BAD_ALG: "Compare the algorithms in use with what the server permits.",
    FailInfo.BAD_MESSAGE_CHECK: "If the CA's certificates changed, fetch them again, else look into its log.",
    FailInfo.BAD_REQUEST: "Check the challenge password, the common name and what the server permits.",
    FailInfo.BAD_TIME: "Compare the clocks of this server and the CA.",
    FailInfo.BAD_CERT_ID: "The server knows no such certificate or transaction; look into its log.",
}


class ScepError(Exception):
    """Base of all errors of this package.

    `str(error)` says what was expected, what came and what the reader can do; it never contains a secret, is
    printable and has at most 1,500 characters, whatever the server sent.
    `details` is the exact [Details] line of R17. `worth_polling` is True when R11's polling may help: only a
    connection that failed. `server_words` is what the server itself said, as far as it did: printable, at most
    500 characters, for people and not to be trusted.
    """

    worth_polling = False
    fail_info: FailInfo | None = None
    hresult = ""

    def __init__(self, explanation: str, *, details: str, server_words: str = "") -> None:
        # names, numbers and words of a server stand in it, and a server can write a million of them
        super().__init__(printable_words(explanation, most=_LONGEST_EXPLANATION))
        self.details = details
        self.server_words = server_words

    @property
    def kind(self) -> str:
        """The kind of error for programs: `connection_failed`, `request_refused`..."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def to_json(self) -> dict[str, str | int | bool | None]:
        """All that is known of the error, as JSON holds it."""
        return {
            "kind": self.kind,
            "explanation": str(self),
            "details": self.details,
            "worth_polling": self.worth_polling,
            "fail_info": None if self.fail_info is None else int(self.fail_info),
            "server_words": self.server_words,
            "hresult": self.hresult,
        }


def _scep_details(fail_info: FailInfo) -> str:
    return f"Communication Error (SCEP ERROR Fail Info {fail_info:d})"


_MOST_WORDS = 500
_LONGEST_EXPLANATION = 1500


def printable_words(text: str, *, most: int = _MOST_WORDS) -> str:
    """What a server said, fit to be shown: printable, on one line, at most `most` characters."""
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * most])
    return " ".join(shown.split())[:most]


class ConnectionFailed(ScepError):
    """No connection, a timeout, a dropped connection, a body slower than the deadline, or a TLS failure."""

    worth_polling = True

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details="Communication Error (TOP ERROR)")


class HttpStatusError(ScepError):
    """The server answered with an HTTP status other than 200; a redirect is not followed.

    `server_words` is the beginning of its body where that is plain text.
    """

    def __init__(self, status: int, explanation: str = "", *, server_words: str = "") -> None:
        said = printable_words(server_words)
        text = explanation or (
            f"The SCEP server answered with HTTP status {status} where 200 was expected. "
            "Check the SCEP server's URL and its log."
        )
        if said:
            text += f" It says: {said!r}."
        super().__init__(text, details=f"Communication Error (TOP ERROR {status})", server_words=said)
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
    it is BAD_REQUEST. `server_words` is failInfoText ("" when absent), `hresult` what NDES sends ("" when
    absent), both for people (quirk 13).
    """

    fail_info: FailInfo

    def __init__(
        self, fail_info: int | None, server_words: str = "", hresult: str = "", *, remedy: str = ""
    ) -> None:
        try:
            self.fail_info = FailInfo.BAD_REQUEST if fail_info is None else FailInfo(fail_info)
        except ValueError:
            self.fail_info = FailInfo.BAD_REQUEST
        self.hresult = printable_words(hresult)
        said = "without a failInfo" if fail_info is None else f"with failInfo {fail_info}"
        words = printable_words(server_words)
        parts = [f"The SCEP server refused the request {said}: {FAIL_INFO_MEANING[self.fail_info]}."]
        if words:
            parts.append(f"It says: {words!r}.")
        if self.hresult:
            parts.append(f"Its HRESULT is {self.hresult}.")
        parts.append(remedy or _REMEDIES[self.fail_info])
        super().__init__(" ".join(parts), details=_scep_details(self.fail_info), server_words=words)
        self._said = (fail_info, words, self.hresult)

    def with_remedy(self, remedy: str) -> RequestRefused:
        """The same refusal with other advice."""
        return type(self)(*self._said, remedy=remedy)


class NotOffered(ScepError):
    """The operation is not among the server's capabilities, and was not asked for."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_REQUEST))


class MessageCheckFailed(ScepError):
    """The reply is not what it claims to be: signature, digest, nonce, transaction ID, decryption, pin."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_MESSAGE_CHECK))


class UnsupportedAlgorithm(ScepError):
    """The server wants or uses an algorithm that this program does not know or is not allowed to use."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_ALG))


class WrongCertificate(ScepError):
    """SUCCESS, but without the certificate or CRL that was asked for.

    Not for our key, not from the CA, not valid now, or the old one where a new one was asked for (quirk 21).
    """

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation, details=_scep_details(FailInfo.BAD_CERT_ID))


def first_line(error: Exception) -> str:
    """What a library's error says, fit for the middle of a sentence."""
    return str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
