"""What is delivered, in clear for as long as a step takes; and what the device serves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509

from devices import secrets
from devices.delivery import probe
from devices.delivery.connectors.base import Connector, Material
from devices.models import Deployment, KeyAndCertificate
from devices.rules.keys import KeyUse


def material_of(key: KeyAndCertificate, use: str, destination: str) -> Material:
    """The key in clear, for as long as the step takes. Raises SecretUnreadable."""
    return _installable(
        key.name, use, destination, secrets.decrypt(key.private_key_encrypted), key.certificate, key.chain
    )


def former_material(row: Deployment) -> Material | None:
    """The former key in clear; None when there is none. Raises SecretUnreadable."""
    former, private_key = row.former, row.former_private_key_encrypted
    if former is None or private_key is None:
        return None
    return _installable(
        *(former["name"], row.key_use, row.ipsec_destination, secrets.decrypt(private_key)),
        *(former["certificate"], former["chain"]),
    )


def _installable(
    name: str, use: str, destination: str, private_key: bytes, certificate: str, chain: str
) -> Material:
    return Material(
        name=name,
        key_use=KeyUse(use),
        ipsec_destination=destination,
        private_key=private_key,
        certificate=x509.load_pem_x509_certificate(certificate.encode()),
        chain=tuple(x509.load_pem_x509_certificates(chain.encode())) if chain else (),
    )


@dataclass(frozen=True, slots=True)
class Served:
    """What the TLS ports of a device showed."""

    fingerprints: frozenset[str]
    """SHA-256, of those that answered."""
    problem: str
    """Why the others showed nothing; empty when all answered."""

    def all_are(self, fingerprint: str) -> bool:
        """True when every port that answered showed it, and at least one did."""
        return self.fingerprints == {fingerprint}


def served_by(connector: Connector) -> Served:
    """Look at every TLS port of the device, at the same time."""
    looks = list(probe.look_at(connector.endpoints(), at_once=4))
    return Served(
        frozenset(hashlib.sha256(look.leaf).hexdigest() for look in looks if look.leaf is not None),
        next((look.problem for look in looks if look.problem), ""),
    )
