"""Commands that look at a server and leave nothing behind but what was asked for: caps, ca, next-ca, cert, crl."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep.command import files, options, showing
from scep.command.outcome import Json, Report, ServerFailure, UsageProblem
from scep.command.run import Run
from scep.conversation import Conversation, Failed, HttpReply, HttpRequest
from scep.errors import UnsupportedAlgorithm
from scep.profile import ServerPolicy
from scep.queries import GetCaCaps, GetCaCert, GetCert, GetCrl, GetNextCaCert
from scep.transaction import Requester, new_requester

Result = TypeVar("Result")

_NOT_PINNED = (
    "Nothing vouches for these certificates yet. Compare the SHA-256 fingerprint of the CA with what its "
    "administrator says, and give it as --fingerprint from then on."
)


def caps(given: argparse.Namespace, run: Run) -> Report:
    """What the server says it can do."""
    status = 0

    def watch(event: HttpRequest | HttpReply) -> None:
        nonlocal status
        run.console.watch(event)
        if isinstance(event, HttpReply):
            status = event.status

    client = options.server(given).client()
    found = client.run(GetCaCaps(policy=ServerPolicy(ca_identifier=given.ca_identifier)), watch=watch)
    if isinstance(found, Failed):
        raise ServerFailure(found.error)
    if not found.keywords:
        run.console.note(
            f"The answer (HTTP status {status}) names no capability, which means the legacy defaults. `ca` shows "
            "whether this is a SCEP server at all."
        )
    method = "POST" if found.post else "GET"
    cipher = _chosen(lambda: found.cipher(allow_3des=False), "3DES, with --allow-3des")
    digest = _chosen(lambda: found.digest(allow_sha1=False), "SHA-1, with --allow-sha1")
    lines = [
        *(("", keyword) for keyword in sorted(found.keywords)),
        ("messages go by", method),
        ("encrypted with", cipher),
        ("signed with", digest),
    ]
    data: dict[str, Json] = {
        "capabilities": sorted(found.keywords),
        "http_status": status,
        "method": method,
        "cipher": cipher,
        "digest": digest,
    }
    return Report(lines, data)


def _chosen(choose: Callable[[], str], otherwise: str) -> str:
    try:
        return str(choose())
    except UnsupportedAlgorithm:
        return otherwise


def ca(given: argparse.Namespace, run: Run) -> Report:
    """The CA's certificates."""
    profile = _carry(given, run, GetCaCert(policy=_policy(given)))
    return _authorities(given, run, profile.ca_certificates)


def next_ca(given: argparse.Namespace, run: Run) -> Report:
    """The certificates of the CA that takes over."""
    found = _carry(given, run, GetNextCaCert(policy=_policy(given)))
    return _authorities(given, run, found.ca_certificates)


def cert(given: argparse.Namespace, run: Run) -> Report:
    """A certificate by its serial number."""
    requester = _requester(given, run)
    found = _carry(given, run, GetCert(given.serial, requester=requester, policy=options.policy(given)))
    lines = showing.certificate_lines(found.certificate)
    data: dict[str, Json] = {"certificate": showing.certificate_json(found.certificate), "file": None}
    return _written(given, files.certificates_pem([found.certificate]), Report(lines, data))


def crl(given: argparse.Namespace, run: Run) -> Report:
    """The CA's list of revoked certificates."""
    requester = _requester(given, run)
    question = GetCrl(requester=requester, policy=options.policy(given), serial_number=given.serial)
    found = _carry(given, run, question).crl
    last, following, revoked = found.last_update_utc, found.next_update_utc, len(found)
    lines = [
        ("issuer", found.issuer.rfc4514_string()),
        ("last update", showing.moment(last)),
        ("next update", showing.moment(following) if following else "not said"),
        ("revoked", str(revoked)),
    ]
    data: dict[str, Json] = {
        "issuer": found.issuer.rfc4514_string(),
        "last_update": last.isoformat(),
        "next_update": following.isoformat() if following else None,
        "revoked": revoked,
        "file": None,
    }
    if following is not None and following <= run.now():
        run.console.note(
            f"This CRL should have been replaced by {showing.moment(following)}. Look after the CA."
        )
    encoding = Encoding.DER if given.der else Encoding.PEM
    report = Report(lines, data)
    return _written(given, found.public_bytes(encoding), report, overwrite=True)


def _authorities(given: argparse.Namespace, run: Run, found: tuple[x509.Certificate, ...]) -> Report:
    if not given.fingerprint:
        run.console.note(_NOT_PINNED)
    lines: list[tuple[str, str]] = []
    certificates: list[Json] = []
    for each in found:
        role = showing.role(each, found)
        if lines:
            lines.append(("", ""))
        lines += [("role", role), *showing.certificate_lines(each)]
        certificates.append({"role": role, **showing.certificate_json(each)})
    report = Report(lines, {"certificates": certificates, "file": None})
    return _written(given, files.certificates_pem(found), report)


def _written(given: argparse.Namespace, content: bytes, report: Report, *, overwrite: bool = False) -> Report:
    """The report with the file that --out names, written."""
    out: Path | None = given.out
    if out is None:
        return report
    files.write(out, content, overwrite=overwrite or given.force)
    return Report([*report.lines, ("file", str(out))], {**report.data, "file": str(out)})


def _policy(given: argparse.Namespace) -> ServerPolicy:
    return ServerPolicy(ca_identifier=given.ca_identifier, ca_fingerprint=given.fingerprint or "")


def _requester(given: argparse.Namespace, run: Run) -> Requester:
    """Who asks: the owner of a certificate where one is given, else somebody with a throwaway one."""
    if given.certificate is None and given.key is None:
        return new_requester("python -m scep", now=run.now())
    if given.certificate is None or given.key is None:
        raise UsageProblem("--certificate and --key belong together; give both or none.")
    certificate, key = files.read_certificate(given.certificate), files.read_key(given.key)
    if certificate.public_key() != key.public_key():
        raise UsageProblem(f"{given.key} is not the key of {given.certificate}.")
    return Requester(secrets.token_hex(16), certificate, key)


def _carry(given: argparse.Namespace, run: Run, conversation: Conversation[Result]) -> Result:
    found = options.server(given).client().run(conversation, watch=run.console.watch)
    if isinstance(found, Failed):
        raise ServerFailure(found.error)
    return found
