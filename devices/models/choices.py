"""The choices of stored fields: the values of devices/rules and scep with the manual's labels.

The labels in [brackets] of the device manual stand here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from devices.rules.deployment import DeploymentState
from devices.rules.drift import Drift
from devices.rules.keys import KeyUse
from devices.rules.lifecycle import State, Status
from devices.rules.restart import RestartState
from scep.algorithms import SignatureAlgorithm
from scep.transaction import RenewalForm


class StateChoices(models.TextChoices):
    """`devices.rules.lifecycle.State` for people."""

    SCHEDULED = State.SCHEDULED.value, _("Scheduled")
    PREPARED = State.PREPARED.value, _("Key and CSR made")
    SENT = State.SENT.value, _("Sent")
    PENDING = State.PENDING.value, _("Deferred by the server")
    SUCCESSFUL = State.SUCCESSFUL.value, _("Successful")
    FAILED = State.FAILED.value, _("Error")


class StatusChoices(models.TextChoices):
    """The manual's [Status] (R16)."""

    TO_BE_PROCESSED = Status.TO_BE_PROCESSED.value, _("To Be Processed")
    PROCESSING = Status.PROCESSING.value, _("Processing...")
    ERROR = Status.ERROR.value, _("Error")
    SUCCESSFUL = Status.SUCCESSFUL.value, _("Successful")


class KeyUseChoices(models.TextChoices):
    """[Key Use Location] (R6)."""

    NONE = KeyUse.NONE.value, _("None")
    TLS = KeyUse.TLS.value, _("TLS")
    IEEE_802_1X = KeyUse.IEEE_802_1X.value, _("IEEE 802.1X")
    IPSEC = KeyUse.IPSEC.value, _("IPSec")


class SignatureAlgorithmChoices(models.TextChoices):
    """[Signature Algorithm] (R4)."""

    SHA256 = SignatureAlgorithm.SHA256.value, _("SHA-256")
    SHA384 = SignatureAlgorithm.SHA384.value, _("SHA-384")
    SHA512 = SignatureAlgorithm.SHA512.value, _("SHA-512")
    SHA1 = SignatureAlgorithm.SHA1.value, _("SHA-1 (legacy)")


class KeyLengthChoices(models.IntegerChoices):
    """[Key Length (bit)] (R4)."""

    BITS_2048 = 2048, _("2048")
    BITS_3072 = 3072, _("3072")
    BITS_4096 = 4096, _("4096")
    BITS_1024 = 1024, _("1024 (legacy)")


class TriggerChoices(models.TextChoices):
    """Why a request came to be."""

    MANUAL = "manual", _("Manual")
    TIMER = "timer", _("Timer")
    PERIODIC = "periodic", _("Periodic")


class RenewalFormChoices(models.TextChoices):
    """How a SCEP server wants to be asked for a renewal (scep.transaction.RenewalForm)."""

    RENEWAL_REQ = RenewalForm.RENEWAL_REQ.value, _("RenewalReq, signed with the old certificate (RFC 8894)")
    PKCS_REQ_SIGNED_BY_OLD = (
        RenewalForm.PKCS_REQ_SIGNED_BY_OLD.value,
        _("PKCSReq, signed with the old certificate (older servers)"),
    )
    PKCS_REQ_WITH_CHALLENGE = (
        RenewalForm.PKCS_REQ_WITH_CHALLENGE.value,
        _("PKCSReq with the challenge password, like the first request"),
    )


class JobKindChoices(models.TextChoices):
    """What a job does to each of its devices; devices/jobs/kinds.py says how."""

    MANUAL_REQUEST = "manual_request", _("Certificate Issuance Request")
    APPLY_TEMPLATE = "apply_template", _("Apply a template")
    SPREAD = "spread", _("Spread")
    RESTART = "restart", _("Restart")
    DELIVER = "deliver", _("Deliver again")
    CHECK_IMPORT = "check_import", _("Check a file")
    APPLY_IMPORT = "apply_import", _("Import a file")


class RowOutcomeChoices(models.TextChoices):
    """What a row of a file comes to."""

    ADDED = "added", _("Added")
    CHANGED = "changed", _("Changed")
    UNCHANGED = "unchanged", _("Unchanged")
    LOCKED = "locked", _("Locked by its timer")
    """It changes the SCEP server under a timer that is on: only with `suspend_timers` (R3)."""
    REFUSED = "refused", _("Refused")


class FileFormatChoices(models.TextChoices):
    """How a file of devices is written (R19)."""

    CSV = "csv", _("CSV")
    XML = "xml", _("XML")


class JobStateChoices(models.TextChoices):
    """Where a job stands."""

    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    FINISHED = "finished", _("Finished")
    CANCELED = "canceled", _("Canceled")
    REFUSED = "refused", _("Refused: nothing was done")


class JobItemStateChoices(models.TextChoices):
    """What came of a job for one device."""

    WAITING = "waiting", _("Waiting")
    DONE = "done", _("Done")
    REFUSED = "refused", _("Refused")
    CANCELED = "canceled", _("Canceled")


class RestartStateChoices(models.TextChoices):
    """`devices.rules.restart.RestartState` for people."""

    WAITING = RestartState.WAITING.value, _("Waiting")
    REQUESTED = RestartState.REQUESTED.value, _("Asked")
    COMING_BACK = RestartState.COMING_BACK.value, _("Restarting...")
    DONE = RestartState.DONE.value, _("Restarted")
    FAILED = RestartState.FAILED.value, _("Error")
    REFUSED = RestartState.REFUSED.value, _("Refused by the device")


class SearchStateChoices(models.TextChoices):
    """Where a search for devices stands."""

    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    FINISHED = "finished", _("Finished")
    CANCELED = "canceled", _("Canceled")


class WhenBusyChoices(models.TextChoices):
    """What becomes of a restart of a device that does not get idle in time."""

    GIVE_UP = "give_up", _("Give the restart up")
    RESTART = "restart", _("Restart it all the same")


class RestartTriggerChoices(models.TextChoices):
    """Why a device is restarted."""

    MANUAL = "manual", _("Manual")
    AUTOMATIC = "automatic", _("After a certificate")


class ScopeChoices(models.TextChoices):
    """What an API token may be used for; devices/access.py says which permissions that is."""

    FULL = "full", _("Everything that you may do")
    READ = "read", _("Look at everything")
    DEVICES = "devices", _("Devices and device groups")
    SETTINGS = "settings", _("SCEP servers and SCEP settings")
    REQUESTS = "requests", _("Certificate issuance requests")
    ADMINISTRATION = "administration", _("Webhooks")


class WebhookEventChoices(models.TextChoices):
    """What webhooks can be told of."""

    ISSUANCE_SUCCESSFUL = "issuance_request.successful", _("A certificate was issued")
    ISSUANCE_FAILED = "issuance_request.failed", _("A request ended in an error")
    CERTIFICATE_EXPIRING = "certificate.expiring", _("A certificate will expire")
    DEVICE_DRIFT = "device.drift", _("A device does not serve its certificate")
    TEST = "webhook.test", _("Test event")


class DeliveryStateChoices(models.TextChoices):
    """Where a webhook's delivery stands."""

    WAITING = "waiting", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Given up")


def _plain(text: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(text).lower())


def spelled(choices: Iterable[tuple[Any, Any]], given: object) -> Any:
    """The value of the choice that `given` means, as stored or as shown, in any case and punctuation: sha256.

    Raises ValidationError that lists the choices.
    """
    pairs, wanted = [*choices], _plain(given)
    for value, label in pairs:
        if wanted and wanted in (_plain(value), _plain(label)):
            return value
    raise ValidationError(
        gettext("“%(value)s” is not a choice; choose one of %(known)s.")
        % {"value": str(given)[:100], "known": ", ".join(str(value) for value, _label in pairs)}
    )


class DeploymentStateChoices(models.TextChoices):
    """`devices.rules.deployment.DeploymentState` for people."""

    ISSUED = DeploymentState.ISSUED.value, _("Issued")
    DELIVERED = DeploymentState.DELIVERED.value, _("Delivered")
    ACTIVE = DeploymentState.ACTIVE.value, _("Activated")
    VERIFIED = DeploymentState.VERIFIED.value, _("Verified")
    NOT_VERIFIABLE = DeploymentState.NOT_VERIFIABLE.value, _("Delivered, not verifiable")
    ROLLING_BACK = DeploymentState.ROLLING_BACK.value, _("Bringing the old key back...")
    ROLLED_BACK = DeploymentState.ROLLED_BACK.value, _("Old key brought back")
    FAILED = DeploymentState.FAILED.value, _("Delivery failed")


class DriftChoices(models.TextChoices):
    """`devices.rules.drift.Drift` for people."""

    OTHER_CERTIFICATE = Drift.OTHER_CERTIFICATE.value, _("Another certificate")
    EXPIRED = Drift.EXPIRED.value, _("Expired certificate")
    WEAK_KEY = Drift.WEAK_KEY.value, _("Weak key")
    WRONG_NAME = Drift.WRONG_NAME.value, _("Wrong host name")
