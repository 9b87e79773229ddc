"""Which key of a device is its default key: R14 never overwrites that one."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from devices import access, audit, keystore, restarts
from devices.access import Permission
from devices.audit import Actor
from devices.errors import Conflict
from devices.models import IssuanceRequest, KeyAndCertificate
from devices.rules.lifecycle import UNDER_WAY_STATES


@transaction.atomic
def set_default(actor: Actor, key: KeyAndCertificate, *, is_default: bool) -> KeyAndCertificate:
    """Mark `key` as its device's default key, in place of the one that is, or take the mark away. Audited.

    What is so already stays as it is. Raises PermissionDenied, and Conflict when the key has been overwritten, or
    when a request under way is going to overwrite it: the room for the new key was counted with that (R11).
    """
    access.require(actor, Permission.CHANGE_KEY)
    restarts.lock(key.device_id)
    locked = KeyAndCertificate.objects.select_related("device").filter(pk=key.pk).first()
    if locked is None:
        raise Conflict("key_gone", _("This key was overwritten meanwhile. Look at the device again."))
    if locked.is_default == is_default:
        return locked
    if is_default and _is_about_to_be_overwritten(locked):
        raise Conflict(
            "request_open",
            _(
                "A certificate issuance request of this device is under way, and overwrites this key. Wait until "
                "it has ended."
            ),
        )
    former = (
        KeyAndCertificate.objects.filter(device=locked.device, is_default=True).exclude(pk=locked.pk).first()
    )
    if former is not None:
        former.is_default = False
        former.save(update_fields=["is_default"])
    locked.is_default = is_default
    locked.save(update_fields=["is_default"])
    old, new = (former, locked) if is_default else (locked, None)
    facts = {"default_key": [old and old.name, new and new.name], "certificate": locked.fingerprint_sha256}
    audit.record(actor, "key.set_default", locked.device, facts)
    return locked


def _is_about_to_be_overwritten(key: KeyAndCertificate) -> bool:
    under_way = IssuanceRequest.objects.filter(device=key.device, state__in=sorted(UNDER_WAY_STATES)).first()
    return under_way is not None and key.name in keystore.names_overwritten_by(under_way)
