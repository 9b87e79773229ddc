"""The interface of connectors: what Fleetseal can do to a device, and what the device says of itself.

A connector knows nothing of what is stored. It gets the device's address and its settings as plain values, talks to
the device, and raises the errors of devices/delivery/errors.py. Each call is bounded in time by `patience`, keeps
nothing between two calls, and never sleeps: whoever calls looks again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext_noop

from devices.delivery.connectors.material import (
    Material as Material,  # those who write connectors find all of it here
)
from devices.delivery.connectors.settings import Setting
from devices.delivery.errors import NotSupported
from devices.rules.keys import KeyUse
from devices.texts import Sentence

if TYPE_CHECKING:
    from devices.delivery.connectors.settings import Text


class Capability(StrEnum):
    """What a connector can do to a device."""

    IDENTIFY = "identify"
    RESTART = "restart"
    INSTALL = "install"
    """Put a key with its certificate on the device."""
    REMOVE = "remove"
    """Delete a key that it installed before."""


_CANNOT = Sentence(
    gettext_noop(
        "The connector of this device (%(label)s) cannot %(task)s. Choose one that can in the device's data, or do "
        "it at the device."
    ),
    words=["label", "task"],
)
_TASKS = {
    Capability.IDENTIFY: gettext_noop("ask it what it is"),
    Capability.RESTART: gettext_noop("restart it"),
    Capability.INSTALL: gettext_noop("install a key on it"),
    Capability.REMOVE: gettext_noop("delete a key from it"),
}
_PINS_NOTHING = Sentence(
    gettext_noop("The connector of this device (%(label)s) pins nothing, so there is nothing to confirm."),
    words=["label"],
)


class Activity(StrEnum):
    """What a device that answers is doing."""

    IDLE = "idle"
    BUSY = "busy"
    """It prints, copies, scans or sends. A batch import or export is not counted (R13)."""
    UNKNOWN = "unknown"
    """It does not say; counts as idle."""


@dataclass(frozen=True, slots=True)
class Target:
    """One device, as a connector sees it."""

    host: str
    """IP address or FQDN."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """In clear, for as long as the call takes."""
    tls_ports: tuple[int, ...] = (443,)
    """Where it serves a certificate."""
    installed_fingerprints: frozenset[str] = frozenset()
    """SHA-256, lower-case hexadecimal, of the certificates that this product sent to it: it is recognized by them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a certificate is served over TLS."""

    host: str
    port: int
    server_name: str = ""
    """What is asked for (SNI, RFC 6066); empty: nothing."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a device shows of itself before anything is sent to it: its certificate, or its SSH host key."""

    fingerprint: str
    """SHA-256; what is confirmed and stored in the setting `Connector.pin_setting`."""
    description: str = ""
    """What a reader can compare: subject, issuer, validity, or the kind of the key."""
    shown_by: str = ""
    """A command that prints the fingerprint on the device itself; empty: its panel or its own web page shows it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is; empty texts where it says nothing."""

    vendor: str = ""
    model: str = ""
    serial_number: str = ""
    firmware: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a device that answers says of its state."""

    activity: Activity = Activity.UNKNOWN
    boot_count: int | None = None
    """How often it has started; None: it does not count."""
    uptime_seconds: float | None = None
    """Since its last start; None: it does not say."""


class Connector:
    """One way of talking to one kind of device. Subclasses say what they can, and override that.

    Every method may raise any DeliveryError, and NotSupported for what is not among `capabilities`.
    """

    label: ClassVar[Text]
    """For people."""
    schema: ClassVar[Sequence[Setting]] = ()
    """What it is to be told."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    installs: ClassVar[frozenset[KeyUse]] = frozenset(KeyUse)
    """The uses for which it can install a key."""
    pin_setting: ClassVar[str] = ""
    """The name of the setting that pins what the device shows; empty: it pins nothing."""
    patience: ClassVar[float] = 30.0
    """Seconds that one call takes at most."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target.host}>"

    def setting(self, name: str) -> Any:
        """The value of a setting, or its default."""
        defaults = {setting.name: setting.default for setting in self.schema}
        return self.target.settings.get(name, defaults[name])

    def identify(self) -> Identity:
        """What the device says it is."""
        raise self._not_supported(Capability.IDENTIFY)

    def look(self) -> Sighting:
        """What the device is doing, and since when. Raises DeviceAway while it restarts."""
        raise self._not_supported(Capability.RESTART)

    def restart(self) -> None:
        """Ask the device to restart; returns when it has said that it will, not when it has.

        Raises DeviceBusy when it did not take the request for now, DeviceRefused when it will not.
        """
        raise self._not_supported(Capability.RESTART)

    def install(self, material: Material) -> None:
        """Put `material` on the device; the same twice does no harm.

        Returns when the device has said that it took it, which proves nothing: the probe does. Raises WrongPassword,
        WrongFingerprint, KeyStoreFull, DeviceRefused and others, whose types say whether another try makes sense.
        """
        raise self._not_supported(Capability.INSTALL)

    def activate(self, material: Material) -> None:
        """Have the device use what was installed for its use; nothing to do where installing did that."""

    @property
    def settle_seconds(self) -> float:
        """How long the device takes, as far as it is known, until it serves what it took: nobody looks before."""
        return 0.0

    def leaves(self, former: str, new: str) -> bool:
        """Whether the key named `former` still lies on the device when the one named `new` is in use, so that it is
        to be removed. Here a key takes the place of one with its name."""
        return Capability.REMOVE in self.capabilities and former != new

    def remove(self, material: Material) -> None:
        """Delete what was installed before; nothing happens when it is gone already."""
        raise self._not_supported(Capability.REMOVE)

    def endpoints(self) -> Sequence[Endpoint]:
        """Where the probe looks at the certificate that the device serves."""
        return [Endpoint(self.target.host, port) for port in self.target.tls_ports]

    def present(self) -> Presented:
        """What the device shows of itself now, for somebody to confirm; sends nothing that is secret.

        Raises NotSupported where `pin_setting` is empty.
        """
        raise NotSupported(_PINS_NOTHING(label=self.label))

    def _not_supported(self, capability: Capability) -> NotSupported:
        return NotSupported(_CANNOT(label=self.label, task=_TASKS[capability]))
