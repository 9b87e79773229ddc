"""Trying the settings of a device's connector: a look that changes nothing on the device."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from devices import access, audit
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors import registry
from devices.delivery.connectors.self_test import Finding, SelfTesting
from devices.delivery.errors import NotConnected
from devices.errors import Conflict
from devices.models import Device
from devices.secrets import SecretUnreadable
from devices.texts import localized


def can_test(connector: str) -> bool:
    """True for a connector that can try its settings."""
    found = registry.known().get(connector)
    return found is not None and issubclass(found, SelfTesting)


def run(actor: Actor, device: Device) -> Sequence[Finding]:
    """What was found. Audited, for it signs in at the device.

    Takes seconds, so no transaction may be open. Raises PermissionDenied, and Conflict for a connector that cannot.
    """
    access.require(actor, Permission.CHANGE_DEVICE)
    if not can_test(device.connector):
        raise Conflict("connector_cannot_test", _("The connector of this device cannot try its settings."))
    try:
        connector = device.connect()
    except (NotConnected, SecretUnreadable) as error:
        raise Conflict("not_connected", localized(str(error))) from error
    if not isinstance(connector, SelfTesting):
        raise AssertionError("can_test has looked at its class")
    findings = connector.self_test()
    audit.record(actor, "device.connector_test", device, {"good": all(each.is_good for each in findings)})
    return findings
