"""One transaction: the key and CSR that a certificate is asked for, and who signs and receives its messages.

| asked for | signs and receives |
|---|---|
| RSA key | a self-signed certificate with the CSR's subject and key (quirk 22) |
| EC key, `EcTransport.RSA_SIGNER` | a throwaway RSA certificate with the CSR's subject |
| EC key, `EcTransport.PASSWORD` | as with RSA; replies are encrypted under the challenge password |
| renewal, `PKCS_REQ_WITH_CHALLENGE` | as for a first certificate |
| renewal, the two other forms | the old certificate |
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep import keys
from scep.algorithms import SignatureAlgorithm
from scep.certificates import key_usage
from scep.csr import CertificateParameters, certification_request, challenge_password_of, subject_name
from scep.keys import KeyType, PrivateKey

__all__ = [
    "EcTransport",
    "RenewalForm",
    "Requester",
    "Transaction",
    "TransactionParts",
    "new_renewal",
    "new_requester",
    "new_transaction",
]

# The signer certificate only says "these messages are signed with the key in the CSR" (RFC 8894 section 2.3).
# Polls may need it for weeks, and clocks differ.
_SIGNER_BACKDATED = timedelta(days=1)
_SIGNER_LIFETIME = timedelta(days=365)


class RenewalForm(StrEnum):
    """How a server wants to be asked for a renewal; they differ (quirk 20)."""

    RENEWAL_REQ = "renewal_req"
    """RenewalReq 17, signed with the old certificate (RFC 8894 section 3.3.1.2)."""
    PKCS_REQ_SIGNED_BY_OLD = "pkcs_req_signed_by_old"
    """PKCSReq 19, signed with the old certificate (older drafts, NDES)."""
    PKCS_REQ_WITH_CHALLENGE = "pkcs_req_with_challenge"
    """PKCSReq 19 with a challenge password, as for the first certificate."""


class EcTransport(StrEnum):
    """How messages about an EC key travel, as that key cannot decrypt the reply."""

    RSA_SIGNER = "rsa_signer"
    """A throwaway RSA certificate signs the messages, and its key opens the replies."""
    PASSWORD = "password"  # noqa: S105 - the name of a form
    """The EC key signs; the reply is encrypted under the challenge password (RFC 8894 section 3.1)."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who signs the messages of one transaction and opens their replies.

    `transaction_id` is a PrintableString (RFC 8894 section 3.2.1.1). `challenge_password` is what messages are
    encrypted under where a key cannot decrypt, or "".
    """

    transaction_id: str
    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    challenge_password: str = field(default="", repr=False)


class TransactionParts(TypedDict):
    """What a transaction is stored as; DER where bytes. The last three may be None."""

    transaction_id: str
    private_key: bytes
    csr: bytes
    signer: bytes
    signer_key: bytes | None
    renewal_form: str | None
    old_certificate: bytes | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """What has to be kept to send, poll for, and read the answer to one request.

    `transaction_id` is a PrintableString (RFC 8894 section 3.2.1.1), `csr` DER for `key`. Messages are signed with
    `signer`, whose key is `signer_key`, or `key` itself where that is None. A renewal has its form and the old
    certificate.
    """

    transaction_id: str
    key: PrivateKey = field(repr=False)
    csr: bytes = field(repr=False)
    signer: x509.Certificate
    signer_key: PrivateKey | None = field(default=None, repr=False)
    renewal_form: RenewalForm | None = None
    old_certificate: x509.Certificate | None = None

    @property
    def requester(self) -> Requester:
        """Who signs and receives. Raises ValueError when the CSR is none."""
        password = challenge_password_of(x509.load_der_x509_csr(self.csr))
        return Requester(self.transaction_id, self.signer, self.signer_key or self.key, password)

    def private_key_der(self) -> bytes:
        """The key as unencrypted PKCS #8, for storage under the caller's encryption."""
        return keys.private_der(self.key)

    def parts(self) -> TransactionParts:
        """All of it, for storage under the caller's encryption: `restore(**parts)` is this transaction again."""
        old = self.old_certificate
        return TransactionParts(
            transaction_id=self.transaction_id,
            private_key=self.private_key_der(),
            csr=self.csr,
            signer=self.signer.public_bytes(Encoding.DER),
            signer_key=None if self.signer_key is None else keys.private_der(self.signer_key),
            renewal_form=None if self.renewal_form is None else self.renewal_form.value,
            old_certificate=None if old is None else old.public_bytes(Encoding.DER),
        )

    @classmethod
    def restore(
        cls,
        *,
        transaction_id: str,
        private_key: bytes,
        csr: bytes,
        signer: bytes,
        signer_key: bytes | None = None,
        renewal_form: str | None = None,
        old_certificate: bytes | None = None,
    ) -> Transaction:
        """The transaction that was stored in these parts. Raises ValueError for anything else.

        The keys are not validated again; `keys.load` says why.
        """
        return cls(
            transaction_id,
            keys.load(private_key),
            csr,
            x509.load_der_x509_certificate(signer),
            None if signer_key is None else keys.load(signer_key),
            None if renewal_form is None else RenewalForm(renewal_form),
            None if old_certificate is None else x509.load_der_x509_certificate(old_certificate),
        )


def new_transaction(
    parameters: CertificateParameters,
    *,
    now: datetime,
    ec_transport: EcTransport = EcTransport.RSA_SIGNER,
) -> Transaction:
    """Make a key, its CSR, its signer certificate and a transaction ID. `now` is aware.

    The transaction ID is the SHA-256 of the public key in hexadecimal (RFC 8894 section 3.2.1.1 recommends a
    hash of it), so that it names this key and no other. Raises ValueError for names that X.509 cannot hold, and
    for an EC key that is to travel under a challenge password that is empty.
    """
    subject = subject_name(parameters)
    with_rsa_signer = parameters.key_type is not KeyType.RSA and ec_transport is EcTransport.RSA_SIGNER
    if parameters.key_type is not KeyType.RSA and not with_rsa_signer:
        _require_password(parameters)
    key = keys.generate(parameters.key_type, parameters.key_length)
    signer_key = keys.generate_rsa() if with_rsa_signer else None
    return Transaction(
        transaction_id=keys.fingerprint(key.public_key()),
        key=key,
        csr=certification_request(parameters, key, subject),
        signer=_self_signed(signer_key or key, subject, parameters.signature_algorithm, now),
        signer_key=signer_key,
    )


def new_renewal(
    parameters: CertificateParameters,
    *,
    form: RenewalForm,
    old_certificate: x509.Certificate,
    old_key: PrivateKey,
    now: datetime,
    ec_transport: EcTransport = EcTransport.RSA_SIGNER,
) -> Transaction:
    """As `new_transaction`, in place of `old_certificate` with `old_key`; the new key is another one (quirk 21).

    Raises ValueError as that does, for an old key that is not the certificate's, and where an old EC key would
    sign without a challenge password under which the reply could come back.
    """
    if form is RenewalForm.PKCS_REQ_WITH_CHALLENGE:
        made = new_transaction(parameters, now=now, ec_transport=ec_transport)
        return Transaction(
            made.transaction_id, made.key, made.csr, made.signer, made.signer_key, form, old_certificate
        )
    if old_certificate.public_key() != old_key.public_key():
        raise ValueError("the old private key does not belong to the old certificate")
    if not isinstance(old_key, RSAPrivateKey):
        _require_password(parameters)
    key = keys.generate(parameters.key_type, parameters.key_length)
    return Transaction(
        transaction_id=keys.fingerprint(key.public_key()),
        key=key,
        csr=certification_request(parameters, key, subject_name(parameters)),
        signer=old_certificate,
        signer_key=old_key,
        renewal_form=form,
        old_certificate=old_certificate,
    )


def new_requester(common_name: str, *, now: datetime) -> Requester:
    """Somebody with a throwaway RSA certificate and a random transaction ID, to ask for certificates and CRLs."""
    key = keys.generate_rsa()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    certificate = _self_signed(key, subject, SignatureAlgorithm.SHA256, now)
    return Requester(secrets.token_hex(16), certificate, key)


def _require_password(parameters: CertificateParameters) -> None:
    if not parameters.challenge_password:
        raise ValueError(
            "an EC key cannot decrypt the reply: give a challenge password for it, or send through an RSA signer"
        )


def _self_signed(
    key: PrivateKey, subject: x509.Name, algorithm: SignatureAlgorithm, now: datetime
) -> x509.Certificate:
    usage = key_usage(decrypts=isinstance(key, RSAPrivateKey))
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SIGNER_BACKDATED)
        .not_valid_after(now + _SIGNER_LIFETIME)
        .add_extension(usage, critical=True)
        # SHA-1 is what a CSR may say by permission; a certificate with it cannot be made, nor needs to be
        .sign(key, (SignatureAlgorithm.SHA256 if algorithm is SignatureAlgorithm.SHA1 else algorithm).hash)  # type: ignore[arg-type]
    )
