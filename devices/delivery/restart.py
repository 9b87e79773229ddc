"""Who may have a device restarted, and when (R7)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from devices import access, audit, restarts
from devices.access import Permission
from devices.audit import Actor
from devices.delivery.connectors.registry import NO_CONNECTOR
from devices.errors import Conflict
from devices.models import Device, Restart, RestartSettings
from devices.models.choices import RestartTriggerChoices
from devices.rules import secret_places
from devices.rules.secret_places import SecretsPut


def obstacle(device: Device, open_restart: Restart | None) -> Conflict | None:
    """Why the device cannot be asked to restart now, or None."""
    if not restarts.can_restart(device):
        if device.connector == NO_CONNECTOR:
            return Conflict(
                "no_connector",
                _("This device has no connector. Choose one in the device's data, or restart it by hand."),
            )
        return Conflict(
            "connector_cannot_restart",
            _("The connector of this device cannot restart it. Restart it by hand."),
        )
    if open_restart is not None:
        return Conflict("restart_open", _("A restart of this device is under way. Wait until it has ended."))
    return None


@transaction.atomic
def request_restart(actor: Actor, device: Device, *, ring: bool = True) -> Restart:
    """Have `device` restart soon; what comes of it stands in the row. Audited.

    Without `ring` it waits for the next tick: for many at once.
    Raises PermissionDenied, and Conflict without a connector that can, or while a restart is open.
    """
    access.require(actor, Permission.RESTART_DEVICE)
    restarts.lock(device.pk)
    if problem := obstacle(device, restarts.open_restart(device.pk)):
        raise problem
    return restarts.append(actor, device, RestartTriggerChoices.MANUAL, now=timezone.now(), ring=ring)


SETTINGS_FIELDS = ("idle_minutes", "when_busy", "restart_over_snmp")
"""What people enter about restarts, besides `snmp`."""


@transaction.atomic
def save_settings(actor: Actor, device: Device, *, snmp: Any = None, **fields: Any) -> RestartSettings:
    """Change how the device is restarted. Audited.

    `snmp` replaces all settings of SNMP; secret ones that are left out stay, empty ones go, and `{}` ends SNMP.
    At another port those that stay are held until somebody gives them anew, unless `actor` may entrust them.
    Raises PermissionDenied, and ValidationError with a dict of fields.
    """
    access.require(actor, Permission.CHANGE_DEVICE)
    restarts.lock(device.pk)
    settings = restarts.settings_of(device)
    names = [*SETTINGS_FIELDS, "snmp"]
    before = {name: getattr(settings, name) for name in names}
    if unknown := set(fields) - set(SETTINGS_FIELDS):
        raise TypeError(f"there is no {', '.join(sorted(unknown))} among the settings of restarts")
    for name, value in fields.items():
        setattr(settings, name, value)
    problems: dict[str, list[str]] = {}
    was_held, was_for = settings.snmp_secrets_held, settings.snmp_secrets_entrusted_to
    put = SecretsPut(changed=False, all_given=False)
    if snmp is not None:
        try:
            put = settings.put_snmp(snmp)
        except ValidationError as error:
            problems = error.message_dict
    try:
        settings.full_clean(exclude={"device"} | ({"snmp"} if problems else set()))
    except ValidationError as error:
        raise ValidationError({**error.message_dict, **problems}) from None
    if problems:
        raise ValidationError(problems)
    settings.check_ways()
    changes: dict[str, Any] = dict(
        audit.difference(before, {name: getattr(settings, name) for name in names})
    )
    if snmp is not None and (put.all_given or access.permits(actor, Permission.ENTRUST_SECRETS)):
        settings.snmp_secrets_entrusted_to = settings.snmp_secrets_place
    if fate := secret_places.fate(
        put,
        was_held=was_held,
        is_held=settings.snmp_secrets_held,
        was_for=was_for,
        is_for=settings.snmp_secrets_entrusted_to,
    ):
        changes["snmp_secrets"] = fate
    if changes:
        settings.save()
        audit.record(actor, "restartsettings.update", device, changes)
    return settings
