"""Whether a request is granted: what a registration authority checks before anything is issued."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scep.authority import Authority
from scep.behavior import Behavior
from scep.challenges import Challenges
from scep.csr import challenge_password_of, load_request, signed_bytes_of
from scep.errors import FailInfo
from scep.keys import PublicKey
from scep.messages import MessageType, Request
from scep.store import Store
from scep.transaction import RenewalForm


class Refused(Exception):
    """The request is not granted: the failInfo and failInfoText to answer with."""

    def __init__(self, fail_info: FailInfo, text: str) -> None:
        super().__init__(text)
        self.fail_info = fail_info
        self.text = text


UNREADABLE = "the message cannot be decrypted, or its content cannot be read"
"""One text for all that may be wrong inside an envelope: which it was is nobody's business (RFC 3218)."""


def check(
    request: Request,
    *,
    authority: Authority,
    behavior: Behavior,
    challenges: Challenges,
    store: Store,
    now: datetime,
) -> bytes:
    """The CSR of a PKCSReq or RenewalReq, once it may be granted. Raises Refused."""
    csr, key, challenge = _read(request.content)
    signer = request.signer
    if not isinstance(signer.public_key(), RSAPublicKey) and not challenge:
        raise Refused(
            FailInfo.BAD_ALG, "a reply for an EC key needs a challengePassword to be encrypted under"
        )
    if _is_of(signer, authority.certificate):
        _check_renewal(request, csr, behavior, store, now)
        return request.content
    if request.message_type is MessageType.RENEWAL_REQ:
        text = "a RenewalReq must be signed with the certificate to be renewed"
        raise Refused(FailInfo.BAD_REQUEST, text)
    # an EC key may be asked for by an RSA signer, since it cannot decrypt the reply itself
    if signer.public_key() != key and not isinstance(key, EllipticCurvePublicKey):
        raise Refused(FailInfo.BAD_MESSAGE_CHECK, "the message is not signed with the key in the CSR")
    if RenewalForm.PKCS_REQ_WITH_CHALLENGE not in behavior.renewal_forms and _has_one(csr.subject, store):
        text = "this subject has a certificate, and renewals must be signed with the old one"
        raise Refused(FailInfo.BAD_REQUEST, text)
    if not challenges.accept(challenge, now=now):
        raise Refused(FailInfo.BAD_REQUEST, "the challenge password is wrong")
    return request.content


def _read(content: bytes) -> tuple[x509.CertificateSigningRequest, PublicKey, str]:
    """The CSR, its key and its challengePassword ("" for none). Raises Refused."""
    try:
        csr = load_request(content)
        return csr, _verified_key(csr, signed_bytes_of(content)), challenge_password_of(csr)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(FailInfo.BAD_MESSAGE_CHECK, UNREADABLE) from error


def _verified_key(csr: x509.CertificateSigningRequest, signed: bytes) -> PublicKey:
    """The key that signed `csr`, which is the key in it. Raises ValueError and UnsupportedAlgorithm.

    By hand, because `is_signature_valid` is False for every SHA-1, which R4 still offers.
    """
    key, digest = csr.public_key(), csr.signature_hash_algorithm
    scheme = csr.signature_algorithm_parameters
    try:
        if isinstance(key, RSAPublicKey) and digest and scheme and not isinstance(scheme, ec.ECDSA):
            key.verify(csr.signature, signed, scheme, digest)
        elif isinstance(key, EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
            key.verify(csr.signature, signed, scheme)
        else:
            raise ValueError("it is signed neither with RSA nor with ECDSA")
    except InvalidSignature as error:
        raise ValueError("its signature is wrong") from error
    return key


def _is_of(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _has_one(subject: x509.Name, store: Store) -> bool:
    return any(x509.load_der_x509_certificate(der).subject == subject for der in store.issued())


def _check_renewal(
    request: Request,
    csr: x509.CertificateSigningRequest,
    behavior: Behavior,
    store: Store,
    now: datetime,
) -> None:
    """Whether the certificate that signed may be renewed so. Raises Refused."""
    renewal_req = request.message_type is MessageType.RENEWAL_REQ
    form = RenewalForm.RENEWAL_REQ if renewal_req else RenewalForm.PKCS_REQ_SIGNED_BY_OLD
    if form not in behavior.renewal_forms:
        raise Refused(FailInfo.BAD_REQUEST, f"renewals in the form {form} are not taken here")
    old = request.signer
    if old.serial_number in store.revoked():
        raise Refused(FailInfo.BAD_REQUEST, "the certificate to be renewed is revoked")
    if not old.not_valid_before_utc <= now < old.not_valid_after_utc:
        raise Refused(FailInfo.BAD_REQUEST, "the certificate to be renewed is not valid now")
    if csr.subject != old.subject:
        raise Refused(FailInfo.BAD_REQUEST, "a renewal must ask for the subject of the old certificate")
