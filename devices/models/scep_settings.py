"""[Settings for Certificate Issuance Auto Request] and the device's SCEP server (R2, R9 to R15)."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.device import Device
from devices.models.parameters import KeyAndCertificateParameters
from devices.models.scep_server import ScepServer
from devices.rules.schedule import Period


class ScepSettings(KeyAndCertificateParameters):
    """One per device: its SCEP server, its timer, and what is asked for when the timer rings."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="scep_settings")
    server = models.ForeignKey(
        ScepServer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="settings",
        verbose_name=_("SCEP server"),
    )
    timer_enabled = models.BooleanField(
        _("Enable Timer for Certificate Issuance Auto Request"), default=False
    )
    request_start_at = models.DateTimeField(_("Request Start Date/Time"), null=True, blank=True)
    auto_adjust = models.BooleanField(
        _("Auto Adjust Issuance Request Time"),
        default=True,
        help_text=_(
            "The request is sent a random 1 to 600 seconds after the specified time, "
            "so that many devices do not ask the SCEP server at once."
        ),
    )
    offset_seconds = models.PositiveSmallIntegerField(_("Drawn offset"), null=True, editable=False)
    """Seconds that [Auto Adjust ...] drew when the timer was set (R10); null while the timer is off."""
    polling_count = models.PositiveSmallIntegerField(
        _("Number of polls"),
        default=0,
        validators=[MaxValueValidator(100)],
        help_text=_("0 to 100; 0 ends a deferred or unanswered request at once."),
    )
    polling_interval_seconds = models.PositiveIntegerField(
        _("Polling interval"),
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(86400)],
        help_text=_("Seconds between two polls, 1 to 86400."),
    )
    request_interval_days = models.PositiveSmallIntegerField(
        _("Request Interval: Every"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text=_("Days, 1 to 3650. Leave empty for no periodic requests."),
    )
    renew_at_percent = models.PositiveSmallIntegerField(
        _("Renew at this part of the lifetime (%)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(99)],
        help_text=_("Percent of the certificate's lifetime, 1 to 99. Leave empty to go by other rules only."),
    )
    renew_days_before = models.PositiveSmallIntegerField(
        _("Renew this many days before the end"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text=_("Days, 1 to 3650. The earliest of these rules and of the request interval counts."),
    )
    auto_restart = models.BooleanField(
        _("Automatically Restart Device After Acquiring Certificate"),
        default=False,
        help_text=_("The device restarts even during a batch import or export."),
    )
    delete_old_key = models.BooleanField(
        _("Delete Old Key and Certificate"),
        default=False,
        help_text=_(
            "The old key and certificate with the same key use are overwritten; the default key never is."
        ),
    )

    class Meta:
        verbose_name = _("SCEP settings")
        verbose_name_plural = _("SCEP settings")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(timer_enabled=False)
                | models.Q(
                    server__isnull=False, request_start_at__isnull=False, offset_seconds__isnull=False
                ),
                name="scep_settings_timer_is_complete",
            ),
            models.CheckConstraint(
                condition=models.Q(offset_seconds__isnull=True) | models.Q(offset_seconds__range=(0, 600)),
                name="scep_settings_offset",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["server"], condition=models.Q(timer_enabled=True), name="scep_settings_timers_on"
            )
        ]

    @property
    def period(self) -> Period:
        """When requests are sent again (R12)."""
        return Period(self.request_interval_days, self.renew_at_percent, self.renew_days_before)

    def __str__(self) -> str:
        return f"SCEP settings of {self.device_id}"
