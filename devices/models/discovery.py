"""Searches of an address range for devices, and what they found: proposed for adding, never added by themselves."""

from __future__ import annotations

import ipaddress
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.audit import AuditEvent
from devices.models.choices import SearchStateChoices
from devices.models.device import Device
from devices.models.fields import BytesField

MOST_ADDRESSES = 4096
"""Of one search: an IPv4 network /20."""

_OPEN = models.Q(state__in=["running", "waiting"])


def addresses_of(network: str) -> list[str]:
    """The addresses that a search of `network` asks, in order; those of hosts alone. Raises ValueError."""
    found = ipaddress.ip_network(network, strict=False)
    if found.num_addresses > MOST_ADDRESSES:
        raise ValueError
    return [str(address) for address in found.hosts()]


def validate_network(value: str) -> None:
    """Raise ValidationError unless `value` is an IP network of at most MOST_ADDRESSES addresses, of hosts."""
    try:
        found = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValidationError(
            _("“%(value)s” is no network; write one like 10.1.2.0/24."), params={"value": value}
        ) from None
    if found.num_addresses > MOST_ADDRESSES:
        raise ValidationError(
            _("A search asks at most %(most)d addresses, as many as a /20 has; this network has %(has)d."),
            params={"most": MOST_ADDRESSES, "has": found.num_addresses},
        )
    if found.is_multicast or found.is_unspecified or found.is_reserved:
        raise ValidationError(_("No host has an address of “%(value)s”."), params={"value": value})


class DeviceSearch(models.Model):
    """One search, from the wish to its end. The row is the truth, as with jobs: `position` says what was asked."""

    network = models.CharField(
        _("Network"),
        max_length=50,
        validators=[validate_network],
        help_text=_("For example 10.1.2.0/24; at most a /20. Nothing else is asked."),
    )
    ipp_port = models.PositiveIntegerField(
        _("IPP port"), default=631, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    snmp = models.JSONField(_("SNMP"), default=dict, blank=True)
    """How to ask over SNMP, without the secrets; empty: not at all."""
    snmp_secrets_encrypted = BytesField(null=True, editable=False)
    """Gone when the search has ended."""
    state = models.CharField(
        _("State"), max_length=10, choices=SearchStateChoices.choices, default=SearchStateChoices.WAITING
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(_("Who"), max_length=150)
    source = models.CharField(_("From where"), max_length=10, choices=AuditEvent.Source.choices)
    address = models.GenericIPAddressField(null=True, blank=True)
    total = models.PositiveIntegerField(_("Addresses"), default=0)
    position = models.PositiveIntegerField(_("Asked"), default=0)
    """How many of the addresses were asked."""
    answered = models.PositiveIntegerField(_("Found"), default=0)
    created_at = models.DateTimeField(_("Created"))
    started_at = models.DateTimeField(_("Started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("Completed"), null=True, blank=True)
    next_action_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("Search for devices")
        verbose_name_plural = _("Searches for devices")
        default_permissions = ()
        permissions: ClassVar = [("search_devices", "Can search networks for devices")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=(_OPEN & models.Q(next_action_at__isnull=False, completed_at__isnull=True))
                | (
                    ~_OPEN
                    & models.Q(
                        next_action_at__isnull=True,
                        lease__isnull=True,
                        completed_at__isnull=False,
                        snmp_secrets_encrypted__isnull=True,
                    )
                ),
                name="device_search_open_is_due_closed_holds_no_secret",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_action_at"], condition=_OPEN, name="device_search_due"),
        ]

    def __str__(self) -> str:
        return self.network

    @property
    def is_open(self) -> bool:
        """True while something is still to be asked."""
        return self.completed_at is None


class FoundDevice(models.Model):
    """One address that answered as a printer does; the newest answer of each."""

    host = models.CharField(_("IP address or FQDN"), max_length=253, unique=True)
    vendor = models.CharField(_("Vendor"), max_length=100, blank=True)
    model = models.CharField(_("Model"), max_length=100, blank=True)
    serial_number = models.CharField(_("Serial number"), max_length=100, blank=True)
    firmware = models.CharField(_("Firmware"), max_length=100, blank=True)
    answered_by = models.CharField(_("Answered over"), max_length=20)
    """IPP, SNMP, or both."""
    found_at = models.DateTimeField(_("Found"))
    search = models.ForeignKey(
        DeviceSearch, on_delete=models.SET_NULL, null=True, blank=True, related_name="found"
    )
    device = models.ForeignKey(
        Device, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("Device")
    )
    """The device that was added from it."""

    class Meta:
        ordering = ["host"]
        verbose_name = _("Found device")
        verbose_name_plural = _("Found devices")
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=["-found_at", "host"], name="found_device_newest")]

    def __str__(self) -> str:
        return self.host
