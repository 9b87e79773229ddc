"""Keys with certificates to install, by themselves: no device, no row."""

from __future__ import annotations

from devices.delivery.connectors.base import Material
from devices.rules.keys import KeyUse
from scep import keys
from tests.devices.delivery.issued import authority, certificate


def make_material(name: str = "TLS", *, common_name: str = "localhost", use: KeyUse = KeyUse.TLS) -> Material:
    """One with a chain of one."""
    key = keys.generate_rsa()
    return Material(
        name=name,
        key_use=use,
        ipsec_destination="",
        private_key=keys.private_der(key),
        certificate=certificate(common_name, key),
        chain=(certificate("Office CA", authority()),),
    )
