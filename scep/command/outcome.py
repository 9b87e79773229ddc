"""How a command ends: its exit code, and a report for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from scep.errors import (
    ConnectionFailed,
    HttpStatusError,
    MessageCheckFailed,
    NotOffered,
    NotScep,
    RequestRefused,
    ScepError,
    UnsupportedAlgorithm,
    WrongCertificate,
)

__all__ = ["Exit", "FileProblem", "Json", "Report", "ServerFailure", "Stopped", "UsageProblem"]

Json = str | int | bool | None | Sequence["Json"] | dict[str, "Json"]


class Exit(IntEnum):
    """The exit codes; docs/command.md lists them."""

    DONE = 0
    FAULT = 1
    """A fault in this program, which Python ends with."""
    USAGE = 2
    PENDING = 3
    REFUSED = 4
    NO_CONNECTION = 5
    BAD_ANSWER = 6
    NOT_BELIEVED = 7
    NOT_PERMITTED = 8
    LOCAL_FILE = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_OF: dict[type[ScepError], Exit] = {
    RequestRefused: Exit.REFUSED,
    ConnectionFailed: Exit.NO_CONNECTION,
    HttpStatusError: Exit.BAD_ANSWER,
    NotScep: Exit.BAD_ANSWER,
    MessageCheckFailed: Exit.NOT_BELIEVED,
    WrongCertificate: Exit.NOT_BELIEVED,
    UnsupportedAlgorithm: Exit.NOT_PERMITTED,
    NotOffered: Exit.NOT_PERMITTED,
}

OPTION_OF: dict[str, str] = {
    '"Sign with SHA-1"': "--allow-sha1",
    '"Encrypt with 3DES"': "--allow-3des",
    '"allow 3DES"': "--allow-3des",
    '"allow DES replies"': "--allow-des-replies",
    "[Communication Timeout]": "--timeout",
    "setting of this SCEP server chooses another one": "--form",
    "Choose another form of renewal": "--form",
    "Put them into its URL": "--proxy-file",
    "which authorities are trusted": "--ca-bundle",
    "check its new fingerprint": "--fingerprint",
}
"""What the errors of `scep` call a setting, and the option that it is here."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a command. `lines` are for people, `data` is the same for programs."""

    lines: Sequence[tuple[str, str]]
    data: dict[str, Json]
    code: Exit = Exit.DONE


class Stopped(Exception):
    """A command ends without its result. `str(...)` is for people and never holds a secret."""

    code: Exit = Exit.FAULT
    kind = ""

    def to_json(self) -> dict[str, Json]:
        """As the member `error` of the JSON output."""
        return {"kind": self.kind, "explanation": str(self)}


class UsageProblem(Stopped):
    """The command line is wrong, or what it names does not go together."""

    code = Exit.USAGE
    kind = "usage"


class FileProblem(Stopped):
    """A file or folder on this machine is missing, in the way, damaged, or cannot be written."""

    code = Exit.LOCAL_FILE
    kind = "local_file"


class ServerFailure(Stopped):
    """A ScepError, with the options of this command that its text is about."""

    def __init__(self, error: ScepError) -> None:
        text = str(error)
        self.error = error
        self.options = list(dict.fromkeys(option for label, option in OPTION_OF.items() if label in text))
        if self.options:
            text += f" Here that is {' or '.join(self.options)}."
        super().__init__(text)
        self.code = EXIT_OF.get(type(error), Exit.FAULT)

    def to_json(self) -> dict[str, Json]:
        """All that is known of the error, and the options that may help."""
        return {**self.error.to_json(), "explanation": str(self), "options": self.options}
