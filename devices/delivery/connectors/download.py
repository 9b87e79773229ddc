"""The connector of devices that nobody but a person, or another system, can put a key on: it is fetched, once."""

from __future__ import annotations

from typing import ClassVar

from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors.base import Capability, Connector
from devices.delivery.connectors.material import Material
from devices.delivery.connectors.settings import Kind, Setting
from devices.delivery.errors import AwaitsPerson
from devices.texts import Sentence

_WAITING = Sentence(
    gettext_noop(
        "Waiting for you: fetch the key “%(key)s” as PKCS #12 on the device's page, once, and import it on the "
        "device. The delivery is done when the device serves the certificate."
    )
)


class DownloadConnector(Connector):
    """Installs nothing itself: the delivery waits until the device is seen with the certificate."""

    label = gettext_lazy("Download by hand (PKCS #12)")
    schema = (
        Setting(
            name="legacy_pkcs12",
            label=gettext_lazy("PKCS #12 with 3DES and SHA-1, for old firmware"),
            kind=Kind.FLAG,
        ),
    )
    capabilities = frozenset({Capability.INSTALL})
    by_hand: ClassVar[bool] = True
    """A person installs; `install` only says so."""
    patience = 1.0

    def install(self, material: Material) -> None:
        """Raises AwaitsPerson, always."""
        raise AwaitsPerson(_WAITING(key=material.name))
