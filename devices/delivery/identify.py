"""What a device says it is, beside what is stored of it: asked on request, taken over when somebody confirms it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from django.utils.translation import gettext as _

from devices import access, restarts
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors import identity, ipp, registry
from devices.delivery.connectors.base import Capability, Identity
from devices.delivery.errors import DeliveryError
from devices.errors import Conflict
from devices.models import Device
from devices.secrets import SecretUnreadable
from devices.texts import localized

IPP_PORT = 631

FIELDS = ("vendor", "model", "serial_number", "firmware")
"""Of a device, and of an Identity."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a device said, and where that is not what is stored."""

    found: Mapping[str, str]
    answered_by: tuple[str, ...]
    """The ways that were answered: the connector's label, IPP, SNMP."""
    differences: Mapping[str, tuple[str, str]]
    """Stored and found, by field; what the device does not say is no difference."""


def identify(actor: Actor, device: Device) -> Comparison:
    """Ask the device over its connector, IPP and SNMP, as far as they are there; nothing is changed.

    Takes seconds, so no transaction may be open. Raises PermissionDenied, and Conflict with the reasons when nothing
    answered.
    """
    access.require(actor, Permission.CHANGE_DEVICE)
    told: dict[str, Identity] = {}
    problems: list[str] = []
    for name, ask in _ways(device).items():
        try:
            told[name] = identity.plain(ask())
        except (DeliveryError, SecretUnreadable) as error:
            problems.append(f"{name}: {localized(str(error))}")
    if not told:
        raise Conflict("not_identified", _("The device did not say what it is. %s") % " ".join(problems))
    found = asdict(identity.merged(*told.values()))
    stored = {name: getattr(device, name) for name in FIELDS}
    differences = {
        name: (stored[name], found[name]) for name in FIELDS if found[name] and found[name] != stored[name]
    }
    return Comparison(found, tuple(told), differences)


def _ways(device: Device) -> dict[str, Callable[[], Identity]]:
    ways: dict[str, Callable[[], Identity]] = {}
    connector = registry.known().get(device.connector)
    if connector is not None and Capability.IDENTIFY in connector.capabilities:
        ways[str(connector.label)] = lambda: device.connect().identify()
    settings = restarts.settings_of(device)
    settings.device = device
    if settings.has_snmp:
        ways["SNMP"] = lambda: settings.snmp_device().identify()
    port = settings.snmp.get("ipp_port", IPP_PORT)
    ways["IPP"] = lambda: ipp.identity_of(ipp.attributes(device.host, port))
    return ways
