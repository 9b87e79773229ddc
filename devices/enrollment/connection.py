"""From a stored SCEP server and request to what `scep` works with: client, policy and transaction."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from cryptography import x509
from django.conf import settings

from devices import keystore, secrets
from devices.models import IssuanceRequest, KeyAndCertificate, ScepServer
from devices.models.choices import RenewalFormChoices
from scep.client import ScepClient
from scep.csr import CertificateParameters
from scep.profile import ServerPolicy
from scep.transaction import RenewalForm, Transaction, new_renewal, new_transaction


def client_for(server: ScepServer) -> ScepClient:
    """Talks to `server` as its communication settings say."""
    return ScepClient(
        server.endpoint, timeout=server.timeout, ca_bundle=_ca_bundle(server), proxy=server.proxy
    )


def policy_of(server: ScepServer) -> ServerPolicy:
    """What the administrator decided about `server`."""
    return ServerPolicy(
        ca_identifier=server.ca_identifier,
        ca_fingerprint=server.ca_fingerprint,
        allow_sha1=server.allow_sha1,
        allow_3des=server.allow_3des,
        allow_des_replies=server.allow_des_replies,
        renewal_form=RenewalForm(server.renewal_form),
    )


def make_transaction(
    request: IssuanceRequest, parameters: CertificateParameters, *, now: datetime
) -> Transaction:
    """A new key and what is sent for it: as a renewal where one is due and the server wants it told apart.

    Raises ValueError for names that X.509 cannot hold, and SecretUnreadable.
    """
    old = _renewed_by(request, now)
    if old is None or request.server is None:
        return new_transaction(parameters, now=now)
    return new_renewal(
        parameters,
        form=RenewalForm(request.server.renewal_form),
        old_certificate=x509.load_pem_x509_certificate(old.certificate.encode()),
        old_key=keystore.private_key(old),
        now=now,
    )


def _renewed_by(request: IssuanceRequest, now: datetime) -> KeyAndCertificate | None:
    """The key whose certificate signs the request; None where it is asked for as for a first one.

    An automatic request renews what the same server issued for the same use, as long as that is valid (RFC 8894
    section 2.3 has the server believe the old certificate).
    """
    server = request.server
    if server is None or server.renewal_form == RenewalFormChoices.PKCS_REQ_WITH_CHALLENGE:
        return None
    if not request.is_automatic:
        return None
    old = keystore.current_key(request)
    if old is None or old.server_id != server.pk or not old.not_before <= now < old.not_after:
        return None
    return old


def stored(made: Transaction) -> dict[str, object]:
    """The columns of a request that hold `made`, its secrets encrypted."""
    parts = made.parts()
    signer_key = parts["signer_key"]
    return {
        "transaction_id": parts["transaction_id"],
        "private_key_encrypted": secrets.encrypt(parts["private_key"]),
        "csr_encrypted": secrets.encrypt(parts["csr"]),
        "signer_certificate": parts["signer"],
        "signer_key_encrypted": secrets.encrypt(signer_key) if signer_key else None,
        "renewal_form": parts["renewal_form"] or "",
    }


def restored(request: IssuanceRequest) -> Transaction:
    """The transaction of a request under way. Raises SecretUnreadable."""
    if not (request.private_key_encrypted and request.csr_encrypted and request.signer_certificate):
        raise AssertionError("the database keeps requests under way from lacking their transaction")
    signer = bytes(request.signer_certificate)
    signer_key = request.signer_key_encrypted
    return Transaction.restore(
        transaction_id=request.transaction_id,
        private_key=secrets.decrypt(request.private_key_encrypted),
        csr=secrets.decrypt(request.csr_encrypted),
        signer=signer,
        signer_key=secrets.decrypt(signer_key) if signer_key else None,
        renewal_form=request.renewal_form or None,
        # in the forms that are told apart the old certificate is the one that signs
        old_certificate=signer if request.renewal_form else None,
    )


def _ca_bundle(server: ScepServer) -> Path | None:
    """A file with the certificates that may vouch for `server`, named after what it holds; None: the public ones."""
    if not server.tls_ca_certificates:
        return None
    content = server.tls_ca_certificates.encode()
    folder = Path(settings.DATA_DIR) / "tls"
    file = folder / f"{hashlib.sha256(content).hexdigest()}.pem"
    if not file.exists():
        folder.mkdir(exist_ok=True)
        new = file.with_suffix(f".{server.pk}.new")
        new.write_bytes(content)
        new.replace(file)
    return file
