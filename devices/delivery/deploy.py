"""Who may have a key delivered again, and who confirms what a device shows of itself (F5)."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, deployments, inventory, keystore, restarts
from devices.access import Permission
from devices.audit import Actor
from devices.delivery import fingerprints
from devices.delivery.connectors import registry
from devices.delivery.connectors.base import Presented
from devices.delivery.connectors.registry import NO_CONNECTOR
from devices.delivery.errors import DeliveryError, NotConnected
from devices.errors import Conflict
from devices.models import Deployment, Device, KeyAndCertificate, ScepSettings, summary
from devices.rules.deployment import TRANSITIONS, DeploymentEvent, DeploymentState
from devices.rules.keys import KeyUse
from devices.secrets import SecretUnreadable
from devices.texts import localized


def obstacle(key: KeyAndCertificate, row: Deployment | None) -> Conflict | None:
    """Why the key cannot be delivered now, or None; `row` is its delivery so far."""
    device = key.device
    if device.connector == NO_CONNECTOR:
        return Conflict(
            "no_connector",
            _("This device has no connector. Choose one in the device's data, or install the key by hand."),
        )
    if not deployments.can_install(device, row.key_use if row else key.key_use):
        return Conflict(
            "connector_cannot_install", _("The connector of this device cannot install a key for this use.")
        )
    if row is not None and (
        row.lease is not None or (DeploymentState(row.state), DeploymentEvent.AGAIN) not in TRANSITIONS
    ):
        return Conflict("delivery_open", _("The key is being delivered. Wait until that has ended."))
    return None


@transaction.atomic
def request_delivery(actor: Actor, key: KeyAndCertificate, *, ring: bool = True) -> Deployment:
    """Have `key` delivered now, whatever the maintenance window; what comes of it stands in the row. Audited.

    A key that was brought back from gets its function again. Without `ring` it waits for the next tick.
    Raises PermissionDenied, and Conflict without a connector that can, or while it is being delivered.
    """
    access.require(actor, Permission.DEPLOY_DEVICE)
    restarts.lock(key.device_id)
    row = Deployment.objects.select_for_update().filter(key=key).first()
    if problem := obstacle(key, row):
        raise problem
    use, destination = (row.key_use, row.ipsec_destination) if row else (key.key_use, key.ipsec_destination)
    former = keystore.give_function(key, use, destination)
    summary.refresh([key.device_id])
    settings = ScepSettings.objects.filter(device=key.device_id).first()
    return deployments.again(
        actor,
        key,
        former,
        restart_wanted=row.restart_wanted if row else bool(settings and settings.auto_restart),
        now=timezone.now(),
        ring=ring,
    )


def _of_device(device: Device) -> list[KeyAndCertificate]:
    """What delivering again means for a device: for each function the key that is on its way to it or was last,
    else the one that uses it; and of the keys without a function those whose delivery failed. The oldest first."""
    found: dict[object, KeyAndCertificate] = {}
    rows = Deployment.objects.filter(device=device)
    deliveries = {row.key_id: row for row in rows}
    for key in KeyAndCertificate.objects.filter(device=device).order_by("issued_at", "pk"):
        row = deliveries.get(key.pk)
        function = (row.key_use, row.ipsec_destination) if row else (key.key_use, key.ipsec_destination)
        if function[0] == KeyUse.NONE:
            if row is not None and row.state == DeploymentState.FAILED:
                found[key.pk] = key
        elif row is not None:
            found[function] = key
        else:
            # a key that was brought back uses the function, and the one that it came back for has the delivery
            found.setdefault(function, key)
    return sorted(found.values(), key=lambda key: (key.issued_at, key.pk))


@transaction.atomic
def request_deliveries(actor: Actor, device: Device, *, ring: bool = True) -> list[Deployment]:
    """Have the keys of `device` delivered again, as `request_delivery` does with each; those on their way stay so.

    Raises PermissionDenied; Conflict when there is no such key, and, when none of them can be delivered, for the
    first one's obstacle.
    """
    access.require(actor, Permission.DEPLOY_DEVICE)
    restarts.lock(device.pk)
    keys = _of_device(device)
    if not keys:
        raise Conflict(
            "no_key",
            _(
                "No key of this device is in use, so there is nothing to deliver. Request a certificate first."
            ),
        )
    made: list[Deployment] = []
    refused: list[Conflict] = []
    for key in keys:
        try:
            made.append(request_delivery(actor, key, ring=ring))
        except Conflict as conflict:
            refused.append(conflict)
    if not made:
        raise refused[0]
    return made


# --- the fingerprint --------------------------------------------------------------------------------------


def pins(device: Device) -> bool:
    """True when the device's connector pins what the device shows."""
    connector = registry.known().get(device.connector)
    return connector is not None and bool(connector.pin_setting)


def confirmed(device: Device) -> str:
    """The fingerprint that somebody confirmed, as it is stored; empty: none."""
    connector = registry.known().get(device.connector)
    return str(device.connector_settings.get(connector.pin_setting, "")) if connector else ""


def _address(device: Device) -> tuple[object, ...]:
    """What was asked: the connector, the host, and the settings that are a part of the address."""
    settings = registry.address_in(device.connector, device.connector_settings)
    return device.connector, device.host, settings


def presented(actor: Actor, device: Device) -> Presented:
    """What the device shows of itself now. It is asked over the network, and gets nothing that is secret.

    Raises PermissionDenied, and Conflict when its connector pins nothing, or the device cannot be reached.
    """
    access.require(actor, Permission.CHANGE_DEVICE)
    if not pins(device):
        raise Conflict("nothing_to_confirm", _("The connector of this device has no fingerprint to confirm."))
    try:
        return device.connect(with_secrets=False).present()
    except (NotConnected, SecretUnreadable) as error:
        raise Conflict("not_connected", localized(str(error))) from error
    except DeliveryError as error:
        raise Conflict("unreachable", localized(str(error))) from error


def confirm(actor: Actor, device: Device, fingerprint: str) -> Device:
    """Pin `fingerprint`, which must be the one that the device shows now. Audited; deliveries that waited go on.

    Raises as `presented`, and Conflict when it shows another one meanwhile, or has another address by now.
    """
    seen = presented(actor, device)
    if not fingerprints.is_same(seen.fingerprint, fingerprint):
        raise Conflict(
            "fingerprint_changed",
            _("The device shows another fingerprint now: %(seen)s. Compare it anew.")
            % {"seen": fingerprints.readable(seen.fingerprint)},
        )
    connector = registry.known()[device.connector]
    with transaction.atomic():
        current = Device.objects.select_for_update(no_key=True).get(pk=device.pk)
        if _address(current) != _address(device):
            # what was confirmed is another device; and whoever may entrust secrets would entrust them unseen
            raise Conflict(
                "address_changed",
                _("Somebody has just changed the device's connector or its address. Look again."),
            )
        settings = {**current.connector_settings, connector.pin_setting: seen.fingerprint}
        inventory.update_device(actor, current, connector_settings=settings)
        audit.record(actor, "device.confirm_fingerprint", current, {"fingerprint": seen.fingerprint})
    return current
