"""Commands that end with a certificate: enroll, renew, and poll, which goes on with either."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from scep.algorithms import SignatureAlgorithm
from scep.client import ScepClient
from scep.command import files, options, showing
from scep.command.outcome import Exit, Json, Report, ServerFailure, UsageProblem
from scep.command.run import Run
from scep.command.state import Enrollment, Folder, Progress
from scep.conversation import HttpRequest
from scep.csr import CertificateParameters
from scep.errors import RequestRefused
from scep.exchange import Exchange, Failed, Issued, Outcome, Pending, Step
from scep.keys import KeyType, PrivateKey
from scep.profile import ServerPolicy, ServerProfile
from scep.transaction import Transaction, new_renewal, new_transaction

_CURVES = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384}
_SHORTEST = 2048


def enroll(given: argparse.Namespace, run: Run) -> Report:
    """A new key, and a certificate for it."""
    policy = replace(options.policy(given), ec_transport=given.ec_transport)
    parameters = CertificateParameters(
        common_name=given.common_name,
        organization=given.organization,
        key_length=given.key_length,
        signature_algorithm=given.digest,
        challenge_password=_challenge(given, run),
        key_type=given.key_type,
        alternative_names=tuple(given.san),
    )
    _check(parameters, policy)
    return _begin(
        given,
        run,
        policy,
        lambda: new_transaction(parameters, now=run.now(), ec_transport=policy.ec_transport),
        _kind(parameters),
    )


def renew(given: argparse.Namespace, run: Run) -> Report:
    """A new key, and a certificate in place of an old one."""
    policy = replace(options.policy(given), ec_transport=given.ec_transport, renewal_form=given.form)
    old_certificate, old_key = files.read_certificate(given.certificate), files.read_key(given.key)
    if old_certificate.public_key() != old_key.public_key():
        raise UsageProblem(f"{given.key} is not the key of {given.certificate}.")
    parameters = _as_before(given, run, old_certificate, old_key)
    _check(parameters, policy)
    return _begin(
        given,
        run,
        policy,
        lambda: new_renewal(
            parameters,
            form=policy.renewal_form,
            old_certificate=old_certificate,
            old_key=old_key,
            now=run.now(),
            ec_transport=policy.ec_transport,
        ),
        _kind(parameters),
    )


def poll(given: argparse.Namespace, run: Run) -> Report:
    """Go on with what `enroll` or `renew` left in a folder."""
    with Folder(given.directory, create=False) as folder:
        enrollment = folder.load()
        run.unfinished = str(folder.path)
        before = enrollment.policy
        policy = replace(
            before,
            ca_fingerprint=given.fingerprint or before.ca_fingerprint,
            allow_sha1=before.allow_sha1 or given.allow_sha1,
            allow_3des=before.allow_3des or given.allow_3des,
            allow_des_replies=before.allow_des_replies or given.allow_des_replies,
            prefer_aes_256=before.prefer_aes_256 or given.aes_256,
        )
        enrollment = replace(
            enrollment,
            server=options.server(given, enrollment.server),
            policy=policy,
            overwrite=enrollment.overwrite or given.force,
        )
        run.console.conceal(enrollment.transaction.requester.challenge_password)
        return _Carrier(folder, enrollment, given, run).carry()


def _challenge(given: argparse.Namespace, run: Run) -> str:
    password = options.challenge(given)
    run.console.conceal(password)
    return password


def _check(parameters: CertificateParameters, policy: ServerPolicy) -> None:
    """Raise UsageProblem for what cannot be asked for."""
    if not 1 <= len(parameters.common_name) <= 64:
        raise UsageProblem("--common-name takes 1 to 64 characters: an IP address or a DNS name.")
    if parameters.signature_algorithm is SignatureAlgorithm.SHA1 and not policy.allow_sha1:
        raise UsageProblem(
            "--digest sha1 is broken and needs --allow-sha1 beside it. Take sha256 if the CA can."
        )


def _kind(parameters: CertificateParameters) -> str:
    length = f" {parameters.key_length}" if parameters.key_type is KeyType.RSA else ""
    return f"{parameters.key_type}{length}"


def _as_before(
    given: argparse.Namespace, run: Run, old: x509.Certificate, old_key: PrivateKey
) -> CertificateParameters:
    """The old certificate's subject, names and kind of key, as far as the options do not say otherwise.

    Raises UsageProblem where it has no common name. What cannot be asked for again is noted.
    """
    held = {each.oid: str(each.value) for each in old.subject}
    common_name = given.common_name or held.get(x509.NameOID.COMMON_NAME)
    if not common_name:
        raise UsageProblem("The old certificate has no common name; give one with --common-name.")
    changed = given.common_name is not None or given.organization is not None
    if changed and set(held) - {x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME}:
        run.console.note(
            f"The old subject is {old.subject.rfc4514_string()}; with --common-name or --organization only O and CN "
            "are asked for."
        )
    names, other = _alternative_names(old)
    if other:
        run.console.note(
            f"Alternative names of the old certificate that are not asked for again: {', '.join(other)}."
        )
    if isinstance(old_key, RSAPrivateKey):
        key_type, key_length = KeyType.RSA, max(old_key.key_size, _SHORTEST)
    else:
        # any other curve gives way to the usual one
        key_type, key_length = _CURVES.get(old_key.curve.name, KeyType.P256), _SHORTEST
    organization = held.get(x509.NameOID.ORGANIZATION_NAME, "")
    return CertificateParameters(
        common_name=common_name,
        organization=organization if given.organization is None else given.organization,
        key_length=given.key_length or key_length,
        signature_algorithm=given.digest,
        challenge_password=_challenge(given, run),
        key_type=given.key_type or key_type,
        alternative_names=tuple(given.san) or names,
        subject=None if changed else old.subject,
    )


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], list[str]]:
    """The addresses and DNS names, and the others as text."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return (), []
    names: list[str] = []
    other: list[str] = []
    for each in held:
        if isinstance(each, x509.DNSName | x509.IPAddress):
            names.append(str(each.value))
        else:
            other.append(str(each.value))
    return tuple(names), other


def _begin(
    given: argparse.Namespace, run: Run, policy: ServerPolicy, make: Callable[[], Transaction], kind: str
) -> Report:
    """Make the transaction, write it down, and carry it. What certainly never reached the server is forgotten."""
    out: Path = given.out
    server = options.server(given)
    client = server.client()
    with Folder(out, create=True) as folder:
        if not given.force:
            folder.check_free()
        run.console.step(f"Making a key ({kind}) ...")
        try:
            transaction = make()
        except ValueError as error:
            raise UsageProblem(f"This cannot be asked for: {error}.") from error
        enrollment = Enrollment(Progress.PREPARED, server, policy, transaction, overwrite=given.force)
        folder.save(enrollment)
        run.unfinished = str(out)
        carrier = _Carrier(folder, enrollment, given, run, client)
        try:
            return carrier.carry()
        finally:
            if carrier.enrollment.progress is Progress.PREPARED:
                folder.discard()
                run.unfinished = ""


@dataclass(slots=True)
class _Carrier:
    """Carries the enrollment in `folder` on, and writes down how far it is before anybody else can know."""

    folder: Folder
    enrollment: Enrollment
    given: argparse.Namespace
    run: Run
    client: ScepClient | None = None
    profile: ServerProfile | None = None

    def carry(self) -> Report:
        """The certificate, or that it is pending. Raises ServerFailure and FileProblem."""
        left: int = self.given.poll_count
        while self.enrollment.progress is not Progress.ISSUED:
            outcome = self._exchange()
            self.profile = outcome.profile or self.profile
            match outcome:
                case Issued():
                    self._issued(outcome)
                    break
                case Pending():
                    self._keep(Progress.PENDING)
                    self.run.console.step("The SCEP server has the request and defers its answer.")
                    if not left:
                        return self._pending()
                case Failed(error):
                    if not error.worth_polling or not left:
                        raise ServerFailure(error)
                    self.run.console.step(str(error))
            interval: float = self.given.poll_interval
            self.run.console.step(f"Asking again in {interval:g} s; {left} times left.")
            self.run.sleep(interval)
            left -= 1
        return self._finish()

    def _exchange(self) -> Outcome:
        step = self.enrollment.progress.step
        exchange = Exchange(
            self.enrollment.transaction,
            step,
            now=self.run.now(),
            policy=self.enrollment.policy,
            profile=self.profile,
        )
        if self.client is None:
            self.client = self.enrollment.server.client()
        outcome = self.client.run(exchange, before_send=self._sending, watch=self.run.console.watch)
        if step is Step.REQUEST and isinstance(outcome, Failed) and isinstance(outcome.error, RequestRefused):
            # the first and only message was answered with no: nothing is left to ask for
            self.folder.discard()
            self.run.unfinished = ""
        return outcome

    def _sending(self, _message: HttpRequest) -> None:
        if self.enrollment.progress is Progress.PREPARED:
            self._keep(Progress.SENT)

    def _keep(self, progress: Progress) -> None:
        self.enrollment = replace(self.enrollment, progress=progress)
        self.folder.save(self.enrollment)

    def _issued(self, outcome: Issued) -> None:
        known = outcome.profile.ca_certificates if outcome.profile else ()
        above = showing.issuers_of(outcome.certificate, [*outcome.chain, *known])
        self.enrollment = replace(
            self.enrollment,
            issued=(outcome.certificate, *above),
            ca_certificates=tuple(showing.ca_certificates(known)),
        )
        self._keep(Progress.ISSUED)

    def _finish(self) -> Report:
        certificate = self.enrollment.issued[0]
        written = {name: str(path) for name, path in self.folder.finish(self.enrollment).items()}
        self.run.unfinished = ""
        lines = [
            ("certificate", written["certificate"]),
            ("private key", written["private_key"]),
            ("chain", written["chain"]),
            ("CA", written["ca"]),
            *showing.certificate_lines(certificate),
        ]
        data: dict[str, Json] = {
            "status": "issued",
            "transaction_id": self.enrollment.transaction.transaction_id,
            "files": {**written},
            "certificate": showing.certificate_json(certificate),
        }
        if not self.enrollment.policy.ca_fingerprint:
            anchor = self.enrollment.ca_certificates[0]
            self.run.console.note(
                f"No --fingerprint was given, so the CA was believed as it came. Its SHA-256 fingerprint is "
                f"{showing.sha256(anchor)}."
            )
        return Report(lines, data)

    def _pending(self) -> Report:
        transaction_id, directory = self.enrollment.transaction.transaction_id, str(self.folder.path)
        lines = [("status", "pending"), ("transaction ID", transaction_id)]
        data: dict[str, Json] = {
            "status": "pending",
            "transaction_id": transaction_id,
            "unfinished": directory,
        }
        return Report(lines, data, code=Exit.PENDING)


__all__ = ["enroll", "poll", "renew"]
