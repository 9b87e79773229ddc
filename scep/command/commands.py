"""Every command with its help and its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scep.algorithms import SignatureAlgorithm
from scep.command import options
from scep.command.console import PROGRAM
from scep.command.options import Parser
from scep.keys import KeyType
from scep.transaction import EcTransport, RenewalForm

_ABOUT = """\
SCEP (RFC 8894): look at a server, get certificates from it, renew them, and be a server for trying clients.
"""

_ENDING = f"""\
exit codes:
  0 done   2 wrong usage   3 pending   4 refused by the server   5 no connection   6 not an answer in SCEP
  7 an answer that is not believed   8 an algorithm or operation that is not permitted or not offered
  9 a file on this machine   130 Ctrl-C

Results go to stdout, progress and errors to stderr. Passwords come from files, a variable, or a prompt, never from
the command line. "{PROGRAM} COMMAND --help" has each command's options; docs/command.md is the manual page.

  {PROGRAM} caps http://ca.example.com/scep
  {PROGRAM} enroll http://ca.example.com/scep --common-name mfp.example.com --challenge-file challenge --out mfp
"""


@dataclass(frozen=True, slots=True)
class Command:
    """`function` is `module:function` within this package; `add` adds the options of its own.

    `synopsis` has what must be given; the rest is [options].
    """

    synopsis: str
    summary: str
    function: str
    add: Callable[[argparse.ArgumentParser], None]
    about: str = ""


def parser_of() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog=PROGRAM, description=_ABOUT, epilog=_ENDING)
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, command in COMMANDS.items():
        about = f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.about}"
        usage = f"{PROGRAM} {name} {command.synopsis} [options]"
        each = parsers.add_parser(name, usage=usage, help=command.summary, description=about.rstrip())
        command.add(each)
        options.add_output(each)
    return parser


def _url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", metavar="URL", type=options.web_address, help="of the SCEP server, with its path"
    )


def _caps(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    options.add_server(parser)


def _ca(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    _out(parser, "write the certificates to FILE, in PEM")
    options.add_server(parser)


def _cert(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument(
        "--serial",
        type=options.serial_number,
        required=True,
        metavar="HEX",
        help="serial number, as OpenSSL shows it",
    )
    _out(parser, "write the certificate to FILE, in PEM")
    _asking(parser)


def _crl(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the CRL to FILE, in place of what it holds"
    )
    parser.add_argument("--der", action="store_true", help="in DER, not PEM")
    parser.add_argument(
        "--serial",
        type=options.serial_number,
        metavar="HEX",
        help="the CRL that would list this certificate (default: the issuing CA's own)",
    )
    _asking(parser)


def _out(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)
    parser.add_argument("--force", action="store_true", help="overwrite FILE where it holds something else")


def _asking(parser: argparse.ArgumentParser) -> None:
    options.add_old_pair(
        parser, required=False, purpose="sign the question with this certificate, not a throwaway one"
    )
    options.add_server(parser)
    options.add_permissions(parser)


def _enroll(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    parser.add_argument("--common-name", required=True, metavar="NAME", help="IP address or DNS name")
    parser.add_argument("--organization", default="", metavar="NAME", help="O of the subject")
    _wanted(parser, KeyType.RSA, "rsa", 2048)
    _issuance(parser)


def _renew(parser: argparse.ArgumentParser) -> None:
    _url(parser)
    options.add_old_pair(parser, required=True, purpose="what is to be renewed")
    parser.add_argument(
        "--form",
        type=options.one_of(options.FORMS),
        default=RenewalForm.RENEWAL_REQ,
        metavar="FORM",
        help=f"how the server wants to be asked: {', '.join(options.FORMS)} (default: renewal-req)",
    )
    parser.add_argument("--common-name", metavar="NAME", help="in place of the old one")
    parser.add_argument("--organization", metavar="NAME", help="in place of the old one")
    _wanted(parser, None, "as before", None)
    _issuance(parser)


def _wanted(parser: argparse.ArgumentParser, key_type: KeyType | None, kind: str, length: int | None) -> None:
    """What the key and the certificate are to be."""
    parser.add_argument(
        "--san",
        action="append",
        default=[],
        type=options.alternative_name,
        metavar="NAME",
        help="further IP address or DNS name, beside the common name; may be repeated",
    )
    parser.add_argument(
        "--key-type",
        type=options.one_of(options.KEY_TYPES),
        default=key_type,
        metavar="TYPE",
        help=f"{', '.join(options.KEY_TYPES)} (default: {kind})",
    )
    parser.add_argument(
        "--key-length",
        type=int,
        choices=(2048, 3072, 4096),
        default=length,
        help=f"bits of an RSA key (default: {length or 'as before'})",
    )
    parser.add_argument(
        "--digest",
        type=options.one_of(options.DIGESTS),
        default=SignatureAlgorithm.SHA256,
        metavar="HASH",
        help="that the request is signed with: sha256, sha384, sha512 (default: sha256)",
    )
    parser.add_argument(
        "--ec-transport",
        type=options.one_of(options.EC_TRANSPORTS),
        default=EcTransport.RSA_SIGNER,
        metavar="WAY",
        help="how messages about an EC key travel: rsa-signer, password (default: rsa-signer)",
    )


def _issuance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for key and certificates; made when missing",
    )
    options.add_challenge(parser)
    options.add_polling(parser)
    options.add_server(parser)
    options.add_permissions(parser)


def _poll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="what --out was")
    options.add_polling(parser)
    options.add_server(parser, resumed=True)
    options.add_permissions(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    """Where the CA lives, and how it answers."""
    parser.add_argument(
        "--directory", type=Path, required=True, metavar="DIR", help="where the CA lives; made when missing"
    )
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--name", default="Fleetseal Demo CA", help="the CA's common name")
    parser.add_argument(
        "--days",
        type=options.lifetime,
        default=(365, 365),
        metavar="N[-M]",
        help="lifetime of certificates (default: 365)",
    )
    parser.add_argument("--pending", type=int, default=0, metavar="N", help="answer PENDING N times first")
    parser.add_argument("--fail-info", type=int, choices=range(5), help="refuse every request")
    parser.add_argument(
        "--delay", type=float, default=0, metavar="SECONDS", help="wait before each answer to a message"
    )
    options.add_challenge(parser)


COMMANDS = {
    "caps": Command(
        "URL",
        "show what a server can do",
        "looking:caps",
        _caps,
        "Asks GetCACaps. A server that answers with an error or a page is taken for an old one.",
    ),
    "ca": Command(
        "URL",
        "show or fetch the CA's certificates",
        "looking:ca",
        _ca,
        "Asks GetCACert. With --fingerprint only the CA that has it is believed; a wrong one ends with exit code 7.",
    ),
    "next-ca": Command(
        "URL",
        "show or fetch the certificates of the CA that takes over",
        "looking:next_ca",
        _ca,
        "Asks GetNextCACert; the CA of today has to have signed the answer.",
    ),
    "enroll": Command(
        "URL --common-name NAME --out DIR",
        "make a key and get a certificate for it",
        "enrolling:enroll",
        _enroll,
        "Writes key.pem (mode 0600), certificate.pem, chain.pem and ca.pem into DIR. Until then DIR/enrollment.json\n"
        f'holds the key and all that is needed to go on, after a kill too: "{PROGRAM} poll DIR". Where the server\n'
        "defers, and --poll-count is used up, it ends with exit code 3 and leaves that file.",
    ),
    "renew": Command(
        "URL --certificate FILE --key FILE --out DIR",
        "get a new key and certificate in place of an old one",
        "enrolling:renew",
        _renew,
        "Takes subject, names and kind of key from the old certificate. With --force, DIR may be its folder:\n"
        "its files are replaced when the new ones are there, not before.",
    ),
    "poll": Command(
        "DIR",
        "go on with an enrollment or renewal that is under way",
        "enrolling:poll",
        _poll,
        "Asks with CertPoll; sends the very same message again only where the server does not know the transaction\n"
        "and may not have had it. What is given here adds to what was given at first.",
    ),
    "cert": Command(
        "URL --serial HEX", "get a certificate by its serial number", "looking:cert", _cert, "Asks GetCert."
    ),
    "crl": Command(
        "URL",
        "get the list of revoked certificates",
        "looking:crl",
        _crl,
        "Asks GetCRL, and checks that the CA signed what comes.",
    ),
    "serve": Command(
        "--directory DIR",
        "be a SCEP server on 127.0.0.1, for demos and for trying clients",
        "serve:serve",
        _serve,
        "Not a CA for production. The CA's certificate is DIR/ca.pem, what it issued DIR/issued/, which\n"
        "messages came DIR/messages.jsonl. Ctrl-C and SIGTERM end it with exit code 0.",
    ),
}
