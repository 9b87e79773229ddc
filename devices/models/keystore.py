"""The key store of each device: keys with their certificates."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.choices import KeyUseChoices
from devices.models.device import Device
from devices.models.fields import BytesField
from devices.models.scep_server import ScepServer


class KeyAndCertificate(models.Model):
    """A private key and its certificate, registered for one device.

    Issued, delivered and verified are three facts (F5): each has its own time.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="keys")
    server = models.ForeignKey(
        ScepServer, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    """The SCEP server that issued the certificate."""
    name = models.CharField(_("Key Name"), max_length=64)
    key_use = models.CharField(
        _("Key Use Location"), max_length=12, choices=KeyUseChoices.choices, default=KeyUseChoices.NONE
    )
    """The function that the key is assigned to now; [None] when a newer key took the function over."""
    ipsec_destination = models.CharField(_("IPSec destination"), max_length=100, blank=True)
    is_default = models.BooleanField(_("Default key"), default=False)
    """R14 never overwrites it; a device has at most one."""
    key_length = models.PositiveSmallIntegerField(_("Key Length (bit)"))
    private_key_encrypted = BytesField(editable=False)
    certificate = models.TextField(_("Certificate"))
    """PEM, one certificate."""
    chain = models.TextField(_("Chain"), blank=True)
    """PEM, zero or more CA certificates, in the order the server sent them."""
    subject = models.CharField(_("Subject"), max_length=500)
    issuer = models.CharField(_("Issuer"), max_length=500)
    serial_number = models.CharField(_("Serial number"), max_length=64)
    """Of the certificate, upper-case hexadecimal."""
    fingerprint_sha256 = models.CharField(_("SHA-256 fingerprint"), max_length=64)
    not_before = models.DateTimeField(_("Valid from"))
    not_after = models.DateTimeField(_("Valid until"))
    issued_at = models.DateTimeField(_("Issued"))
    delivered_at = models.DateTimeField(_("Delivered"), null=True, blank=True)
    verified_at = models.DateTimeField(_("Verified"), null=True, blank=True)

    fetched_at = models.DateTimeField(_("Fetched by hand"), null=True, blank=True, editable=False)
    """When its private key was handed out; that happens once."""

    class Meta:
        ordering = ["-issued_at", "name"]
        permissions: ClassVar = [("download_key", "Can download private key")]
        verbose_name = _("Key and certificate")
        verbose_name_plural = _("Keys and certificates")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["device", "name"], name="key_name_unique_per_device"),
            models.UniqueConstraint(
                fields=["device", "key_use", "ipsec_destination"],
                condition=~models.Q(key_use=KeyUseChoices.NONE),
                name="key_one_per_function_of_a_device",
            ),
            models.UniqueConstraint(
                fields=["device"], condition=models.Q(is_default=True), name="key_one_default_of_a_device"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["not_after"], name="key_not_after"),
            models.Index(fields=["fingerprint_sha256"], name="key_fingerprint"),
        ]

    def __str__(self) -> str:
        return self.name
