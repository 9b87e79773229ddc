"""The certification request of one enrollment.

PKCS #10 (RFC 2986) with PKCS #9 challengePassword (RFC 2985 section 5.4.1) and a subjectAltName
(RFC 5280 section 4.2.1.6).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import AttributeOID, NameOID

from scep import asn1, ber, keys
from scep.algorithms import SignatureAlgorithm
from scep.certificates import UNREADABLE
from scep.keys import KeyType, PrivateKey

__all__ = ["CertificateParameters", "KeyType", "SignatureAlgorithm", "challenge_password_of", "load_request"]


@dataclass(frozen=True, slots=True)
class CertificateParameters:
    """What the certificate is to say (R4).

    `common_name` is an IP address or an FQDN of 1 to 64 characters, `key_length` 1024 to 4096 bits and only looked at
    for an RSA key; `organization` and `challenge_password` may be empty and are left out then. `alternative_names`
    are addresses and names that stand in the subjectAltName after the common name. `subject` is the whole subject
    where there may be more to it than organization and common name, as in a certificate that is renewed.
    """

    common_name: str
    organization: str
    key_length: int
    signature_algorithm: SignatureAlgorithm
    challenge_password: str = field(repr=False)
    key_type: KeyType = KeyType.RSA
    alternative_names: tuple[str, ...] = ()
    subject: x509.Name | None = None


def subject_name(parameters: CertificateParameters) -> x509.Name:
    """The subject of the request. Raises ValueError for a name that X.509 cannot hold."""
    if parameters.subject is not None:
        return parameters.subject
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, parameters.common_name)]
    if parameters.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, parameters.organization))
    return x509.Name(attributes)


def alternative_name(*names: str) -> x509.SubjectAlternativeName:
    """iPAddress for an address, dNSName for a name (R5), each once."""
    return x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.removesuffix("."))


def certification_request(parameters: CertificateParameters, key: PrivateKey, subject: x509.Name) -> bytes:
    """DER of a PKCS #10 for `key`, signed with it. Raises ValueError for names that X.509 cannot hold."""
    alternatives = alternative_name(parameters.common_name, *parameters.alternative_names)
    # not critical (RFC 5280 section 4.2.1.6)
    extension = asn1.sequence_of(
        asn1.identifier(asn1.SUBJECT_ALT_NAME), asn1.octet_string(alternatives.public_bytes())
    )
    attributes = [asn1.attribute_of(asn1.EXTENSION_REQUEST, asn1.sequence_of(extension))]
    if password := parameters.challenge_password:
        # PrintableString where the characters allow: some servers read nothing else (quirk 18)
        value = asn1.printable(password) if asn1.is_printable(password) else password
        attributes.append(asn1.attribute(asn1.CHALLENGE_PASSWORD, value))
    info = asn1.sequence_of(
        asn1.encode(0),
        subject.public_bytes(),
        keys.public_der(key.public_key()),
        b"\xa0" + asn1.set_of(attributes)[1:],  # [0] IMPLICIT
    )
    algorithm = parameters.signature_algorithm
    signature = keys.sign(key, info, algorithm)
    # a BIT STRING without unused bits
    signature_bits = ber.wrap(0x03, b"\0" + signature)
    return asn1.sequence_of(info, keys.signature_identifier(key, algorithm), signature_bits)


def load_request(der: bytes) -> x509.CertificateSigningRequest:
    """A PKCS #10 whose version and subject can be read; `signed_bytes_of(der)` is what was signed. Raises ValueError.

    strongSwan does not sort the SET OF attributes, which cryptography refuses: they are sorted here.
    """
    info, *rest = ber.children(der)
    fields = list(ber.children(info))
    if fields and fields[-1][:1] == b"\xa0":
        fields[-1] = ber.wrap(0xA0, b"".join(sorted(ber.children(fields[-1]))))
    try:
        csr = x509.load_der_x509_csr(ber.wrap(0x30, b"".join((ber.wrap(0x30, b"".join(fields)), *rest))))
        _ = csr.subject  # read on demand, and then too late
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    return csr


def signed_bytes_of(der: bytes) -> bytes:
    """The CertificationRequestInfo of a PKCS #10, which its signature covers. Raises ValueError."""
    return next(ber.children(der), b"")


def challenge_password_of(csr: x509.CertificateSigningRequest) -> str:
    """The challengePassword in a request, "" where there is none. Raises ValueError for a malformed one."""
    try:
        return csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode()
    except x509.AttributeNotFound:
        return ""
