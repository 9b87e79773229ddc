"""The options that commands share, what their values must look like, and what is made of them."""

from __future__ import annotations

import argparse
import getpass
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from scep.algorithms import SignatureAlgorithm
from scep.client import ScepClient
from scep.command.files import explained, read
from scep.command.outcome import FileProblem, UsageProblem
from scep.keys import KeyType
from scep.profile import ServerPolicy
from scep.transaction import EcTransport, RenewalForm

Member = TypeVar("Member")

TIMEOUT = 30.0
DIGESTS = {each.value.replace("-", "").lower(): each for each in SignatureAlgorithm}
KEY_TYPES = {each.value.replace("-", "").lower(): each for each in KeyType}
FORMS = {each.value.replace("_", "-"): each for each in RenewalForm}
EC_TRANSPORTS = {each.value.replace("_", "-"): each for each in EcTransport}


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageProblem, takes no abbreviations, and never repeats what it does not know.

    What it does not know may be a password.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise UsageProblem."""
        raise UsageProblem(f"{message}. See {self.prog} --help")

    def parse(self, words: list[str]) -> argparse.Namespace:
        """The options. Raises UsageProblem."""
        options, unknown = self.parse_known_args(words)
        if unknown:
            named = [word.partition("=")[0] for word in unknown if word.startswith("--")]
            what = f"does not know {' '.join(named)}" if named else f"got {len(unknown)} arguments too many"
            self.error(f"this command {what}")
        return options


class _NoPassword(argparse.Action):
    """Refuses a password on the command line without repeating it."""

    def __call__(self, *_: object) -> NoReturn:
        raise UsageProblem(
            "A password on the command line is for everybody on this machine to see. Write it into a file of mode "
            "0600 and give --challenge-file FILE, or type it with --challenge-prompt."
        )


# --- what values must look like -----------------------------------------------------------------------------


def web_address(text: str) -> str:
    """An http or https URL without a password in it."""
    try:
        parts = urlsplit(text)
        host, _port, password = parts.hostname, parts.port, parts.password
    except ValueError:
        host = password = None
        parts = urlsplit("")
    if password is not None:
        raise argparse.ArgumentTypeError("a URL on the command line should hold no password")
    if parts.scheme not in ("http", "https") or not host:
        raise argparse.ArgumentTypeError("a URL such as http://ca.example.com/scep was expected")
    return text


def fingerprint(text: str) -> str:
    """SHA-256 in hexadecimal, in lower case; as OpenSSL prints it, too."""
    digits = text.rpartition("=")[2].replace(":", "").replace(" ", "").lower()
    if not _is_hexadecimal(digits) or len(digits) != 64:
        raise argparse.ArgumentTypeError(
            f"a SHA-256 fingerprint of 64 hexadecimal digits was expected, {len(digits)} characters came; with "
            "OpenSSL: openssl x509 -noout -fingerprint -sha256"
        )
    return digits


def serial_number(text: str) -> int:
    """A certificate's serial number in hexadecimal, colons allowed, as OpenSSL prints it."""
    digits = text.rpartition("=")[2].replace(":", "").removeprefix("0x")
    if not _is_hexadecimal(digits) or len(digits) > 40:
        raise argparse.ArgumentTypeError("at most 40 hexadecimal digits were expected, colons allowed")
    return int(digits, 16)


def _is_hexadecimal(text: str) -> bool:
    return bool(text) and all(each in "0123456789abcdefABCDEF" for each in text)


def alternative_name(text: str) -> str:
    """An IP address or a DNS name, without a prefix that says which."""
    if text.partition(":")[0].lower() in ("dns", "ip", "email", "uri"):
        raise argparse.ArgumentTypeError("the bare name or address was expected, without DNS: or IP:")
    if not text or not text.isascii() or any(each.isspace() for each in text):
        raise argparse.ArgumentTypeError(
            "an IP address or a DNS name was expected (punycode for other letters)"
        )
    return text


def seconds(text: str) -> float:
    """More than 0 and at most a day."""
    number = float(text)
    if not (math.isfinite(number) and 0 < number <= 86400):
        raise argparse.ArgumentTypeError("a number of seconds above 0 and up to 86400 was expected")
    return number


def count(text: str) -> int:
    """0 to 10,000."""
    number = int(text)
    if not 0 <= number <= 10_000:
        raise argparse.ArgumentTypeError("a number from 0 to 10000 was expected")
    return number


def lifetime(text: str) -> tuple[int, int]:
    """A number of days or a range of them: from and to."""
    low, _, high = text.partition("-")
    days = (int(low), int(high or low))
    if not 1 <= days[0] <= days[1]:
        raise ValueError
    return days


def one_of(members: dict[str, Member]) -> Callable[[str], Member]:
    """One of these by its name, upper case and hyphens as one likes."""
    plain = {name.replace("-", ""): member for name, member in members.items()}

    def read_member(text: str) -> Member:
        try:
            return plain[text.lower().replace("-", "").replace("_", "")]
        except KeyError:
            raise argparse.ArgumentTypeError(f"one of {', '.join(members)} was expected") from None

    return read_member


# --- groups of options --------------------------------------------------------------------------------------


def add_output(parser: argparse.ArgumentParser) -> None:
    """--json and --verbose, which every command has."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object on stdout, for errors too")
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="progress on stderr where that is no terminal, and more of it",
    )


def add_server(parser: argparse.ArgumentParser, *, resumed: bool = False) -> None:
    """How to reach and believe a server; with `resumed`, what is not given is as it was."""
    group = parser.add_argument_group("the SCEP server")
    if not resumed:
        group.add_argument(
            "--ca-identifier", default="", metavar="NAME", help="which CA of several; sent with GetCACert"
        )
    group.add_argument(
        "--fingerprint",
        type=fingerprint,
        metavar="SHA256",
        help="believe only the CA certificate with this SHA-256 fingerprint, and what it issued",
    )
    default = "as before" if resumed else f"{TIMEOUT:g}"
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help=f"for the connection, and for each answer (default: {default})",
    )
    group.add_argument(
        "--ca-bundle", type=Path, metavar="FILE", help="PEM of the CAs that may vouch for an https server"
    )
    proxy = group.add_mutually_exclusive_group()
    proxy.add_argument(
        "--proxy", type=web_address, metavar="URL", help="HTTP proxy; none is taken from elsewhere"
    )
    proxy.add_argument(
        "--proxy-file", type=Path, metavar="FILE", help="file with its URL, a password in it allowed"
    )


def add_permissions(parser: argparse.ArgumentParser) -> None:
    """What old servers need leave for."""
    group = parser.add_argument_group("for old servers")
    group.add_argument(
        "--allow-sha1", action="store_true", help="sign with SHA-1 where nothing better is offered"
    )
    group.add_argument(
        "--allow-3des", action="store_true", help="encrypt with 3DES where no AES is offered, and read it"
    )
    group.add_argument(
        "--allow-des-replies", action="store_true", help="read replies encrypted with single DES"
    )
    group.add_argument("--aes-256", action="store_true", help="encrypt with AES-256 in place of AES-128")


def add_challenge(parser: argparse.ArgumentParser) -> None:
    """Where the challenge password comes from; never from the command line itself."""
    group = parser.add_argument_group("challenge password").add_mutually_exclusive_group()
    group.add_argument("--challenge-file", metavar="FILE", help="file with it; - is stdin")
    group.add_argument("--challenge-env", metavar="NAME", help="environment variable with it")
    group.add_argument(
        "--challenge-prompt", action="store_true", help="ask for it on the terminal, without echo"
    )
    for name in ("--challenge", "--challenge-password", "--password"):
        group.add_argument(name, action=_NoPassword, nargs="?", help=argparse.SUPPRESS)


def add_polling(parser: argparse.ArgumentParser) -> None:
    """How long to wait for a certificate that is not granted at once."""
    group = parser.add_argument_group("waiting for the certificate")
    group.add_argument(
        "--poll-count",
        type=count,
        default=0,
        metavar="N",
        help="ask so many times more while the server defers or cannot be reached (default: 0)",
    )
    group.add_argument("--poll-interval", type=seconds, default=60.0, metavar="SECONDS", help="default: 60")
    parser.add_argument("--force", action="store_true", help="overwrite what lies there, an old key too")


# --- what is made of them -----------------------------------------------------------------------------------


def policy(options: argparse.Namespace) -> ServerPolicy:
    """What the options permit and pin."""
    return ServerPolicy(
        ca_identifier=options.ca_identifier,
        ca_fingerprint=options.fingerprint or "",
        allow_sha1=options.allow_sha1,
        allow_3des=options.allow_3des,
        allow_des_replies=options.allow_des_replies,
        prefer_aes_256=options.aes_256,
    )


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how it is reached. `proxy` may hold a password."""

    url: str
    timeout: float
    ca_bundle: str
    proxy: str

    def client(self) -> ScepClient:
        """Raises FileProblem for a bundle that cannot be used."""
        bundle = Path(self.ca_bundle) if self.ca_bundle else None
        try:
            with explained(f"read {bundle}"):
                return ScepClient(self.url, timeout=self.timeout, ca_bundle=bundle, proxy=self.proxy)
        except ValueError as error:
            raise FileProblem(f"{error}.") from error


def server(options: argparse.Namespace, before: Server | None = None) -> Server:
    """From the options; what they leave out is as `before`. Raises FileProblem and UsageProblem."""
    proxy = options.proxy or (before.proxy if before else "")
    if options.proxy_file:
        proxy = _line_of(read(options.proxy_file), str(options.proxy_file))
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FileProblem(
                f"{options.proxy_file} should hold the URL of an HTTP proxy, such as http://proxy.example.com:3128."
            )
    # absolute: who goes on with it may stand elsewhere
    bundle = str(options.ca_bundle.absolute()) if options.ca_bundle else (before.ca_bundle if before else "")
    timeout = options.timeout or (before.timeout if before else TIMEOUT)
    return Server(before.url if before else options.url, timeout, bundle, proxy)


def challenge(options: argparse.Namespace) -> str:
    """The challenge password, "" where none is to be sent. Raises FileProblem and UsageProblem."""
    if options.challenge_file == "-":
        if sys.stdin.isatty():
            raise UsageProblem("What is typed into stdin shows on the terminal; give --challenge-prompt.")
        return _line_of(sys.stdin.buffer.read(10_000), "stdin")
    if options.challenge_file:
        return _line_of(read(Path(options.challenge_file)), options.challenge_file)
    if options.challenge_env:
        value = os.environ.get(options.challenge_env)
        if value is None:
            raise UsageProblem(f"The environment variable {options.challenge_env!r} is not set.")
        return _line_of(value.encode(errors="surrogateescape"), options.challenge_env)
    if options.challenge_prompt:
        return _typed()
    return ""


def _typed() -> str:
    try:
        with open("/dev/tty", "rb"):
            pass
    except OSError as error:
        raise UsageProblem("--challenge-prompt needs a terminal; give --challenge-file FILE.") from error
    return _line_of(
        getpass.getpass("Challenge password: ").encode(errors="surrogateescape"), "what was typed"
    )


def _line_of(data: bytes, source: str) -> str:
    """The one line that `source` holds. Raises FileProblem, which says nothing of the line."""
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise FileProblem(f"{source} should hold one line of text in UTF-8; it is no UTF-8.") from error
    if not text or "\n" in text:
        found = f"holds {len(text.splitlines())} lines" if text else "is empty"
        raise FileProblem(f"{source} should hold one line of text; it {found}.")
    return text


def add_old_pair(parser: argparse.ArgumentParser, *, required: bool, purpose: str) -> None:
    """--certificate and --key."""
    parser.add_argument(
        "--certificate", type=Path, required=required, metavar="FILE", help=f"{purpose}, PEM or DER"
    )
    parser.add_argument(
        "--key", type=Path, required=required, metavar="FILE", help="its private key, unencrypted"
    )
