"""Certificate issuance requests. Each is at the same time a line of its device's status log (R16 to R18)."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models.functions import Mod
from django.utils.translation import gettext_lazy as _

from devices.models.choices import StateChoices, StatusChoices, TriggerChoices
from devices.models.device import Device
from devices.models.fields import BytesField
from devices.models.keystore import KeyAndCertificate
from devices.models.parameters import KeyAndCertificateParameters
from devices.models.scep_server import ScepServer
from devices.rules.lifecycle import CLOSED_STATES, OPEN_STATES, STATUS, State, Status

LOG_LINES = 20
"""Lines of the status log that are kept per device (R18)."""

# plain strings, so that migrations do not depend on the enumeration
_OPEN = sorted(state.value for state in OPEN_STATES)
_CLOSED = sorted(state.value for state in CLOSED_STATES)
_IS_OPEN = models.Q(state__in=_OPEN)
_IS_CLOSED = models.Q(state__in=_CLOSED)


class IssuanceRequest(KeyAndCertificateParameters):
    """One request to a SCEP server, from its schedule to its end.

    `state` is written by devices/enrollment alone: with a compare-and-swap on state and lease.
    `next_action_at` is when somebody has to look at the row again, and the only truth about it: the queue
    just rings. Whoever takes the row up moves it to the end of the lease; a lost worker's row so
    comes due again by itself.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="requests")
    server = models.ForeignKey(
        ScepServer,
        on_delete=models.SET_NULL,
        null=True,
        related_name="requests",
        verbose_name=_("SCEP server"),
    )
    sequence = models.PositiveIntegerField()
    """Counts the device's requests; its remainder by 20 is the line of the log that it overwrites."""
    trigger = models.CharField(_("Trigger"), max_length=10, choices=TriggerChoices.choices)
    state = models.CharField(
        _("State"), max_length=12, choices=StateChoices.choices, default=StateChoices.SCHEDULED
    )
    details = models.CharField(_("Details"), max_length=100, blank=True)
    """R17's words, empty unless the request ended in an error."""
    explanation = models.TextField(_("Explanation"), blank=True)
    """What was expected, what came, and what the reader can do. Holds no secret."""

    request_at = models.DateTimeField(_("Request Date/Time"))
    offset_seconds = models.PositiveSmallIntegerField(
        _("Drawn offset"), default=0, validators=[MaxValueValidator(600)]
    )
    """Seconds of R10 that `request_at` holds already."""
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)

    polls_left = models.PositiveSmallIntegerField(default=0)
    polling_interval_seconds = models.PositiveIntegerField(default=60)
    delete_old_key = models.BooleanField(default=False)
    auto_restart = models.BooleanField(default=False)

    transaction_id = models.CharField(_("Transaction ID"), max_length=128, blank=True)
    private_key_encrypted = BytesField(null=True, editable=False)
    csr_encrypted = BytesField(null=True, editable=False)
    """PKCS #10; encrypted because it holds the challenge password."""
    signer_certificate = BytesField(null=True, editable=False)
    """Signs the messages: self-signed, or the old certificate in a renewal that is told apart."""
    signer_key_encrypted = BytesField(null=True, editable=False)
    """Its key, where that is not the new one."""
    renewal_form = models.CharField(max_length=30, blank=True, editable=False)
    """How the server is asked for a renewal, where that differs from a first request."""

    next_action_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    """Who may act on the row until `next_action_at`; null: nobody does."""
    claimed_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When it was claimed, as long as no worker has taken it up."""
    takeovers = models.PositiveSmallIntegerField(default=0, editable=False)
    """How often in a row somebody took this up and was not heard of again."""

    certificate = models.ForeignKey(
        KeyAndCertificate, on_delete=models.SET_NULL, null=True, blank=True, related_name="requests"
    )

    class Meta:
        ordering = ["-sequence"]
        verbose_name = _("Certificate issuance request")
        verbose_name_plural = _("Certificate issuance requests")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device"], condition=_IS_OPEN, name="issuance_one_open_request_per_device"
            ),
            models.UniqueConstraint(
                models.F("device"), Mod(models.F("sequence"), LOG_LINES), name="issuance_20_lines_per_device"
            ),
            models.CheckConstraint(
                condition=(_IS_OPEN & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (
                    _IS_CLOSED
                    & models.Q(next_action_at__isnull=True, lease__isnull=True, completed_at__isnull=False)
                ),
                name="issuance_open_is_due_closed_is_not",
            ),
            models.CheckConstraint(
                condition=_IS_OPEN
                | models.Q(
                    private_key_encrypted__isnull=True,
                    csr_encrypted__isnull=True,
                    signer_key_encrypted__isnull=True,
                    challenge_password_encrypted__isnull=True,
                ),
                name="issuance_closed_holds_no_secret",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[State.SCHEDULED.value, *_CLOSED])
                | models.Q(
                    private_key_encrypted__isnull=False,
                    csr_encrypted__isnull=False,
                    signer_certificate__isnull=False,
                )
                & ~models.Q(transaction_id=""),
                name="issuance_under_way_has_its_transaction",
            ),
            models.CheckConstraint(
                condition=models.Q(offset_seconds__range=(0, 600)), name="issuance_offset"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["server", "next_action_at"], condition=_IS_OPEN, name="issuance_due"),
            models.Index(fields=["server"], condition=models.Q(lease__isnull=False), name="issuance_leased"),
            models.Index(
                fields=["server", "claimed_at"],
                condition=models.Q(claimed_at__isnull=False),
                name="issuance_claimed",
            ),
            models.Index(fields=["-completed_at"], condition=_IS_CLOSED, name="issuance_ended"),
        ]

    def __str__(self) -> str:
        return f"request {self.sequence} of device {self.device_id}"

    @property
    def is_automatic(self) -> bool:
        """True unless somebody sent it by hand."""
        return self.trigger != TriggerChoices.MANUAL

    @property
    def status(self) -> Status:
        """The manual's [Status] (R16)."""
        return STATUS[State(self.state)]

    def get_status_display(self) -> str:
        """The manual's label of `status`."""
        return str(StatusChoices(self.status.value).label)
