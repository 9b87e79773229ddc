"""SCEP servers, and the use that is made of their allowance."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models.choices import RenewalFormChoices
from devices.models.validators import validate_certificates, validate_proxy, validate_scep_url


class ScepServer(models.Model):
    """A SCEP server (R2) with what the administrator permits and what the server last said of itself."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    url = models.CharField(
        _("SCEP Server URL"),
        max_length=500,
        validators=[validate_scep_url],
        help_text=_(
            "For example http://ca.example.com/scep or https://ca.example.com/certsrv/mscep/mscep.dll"
        ),
    )
    port = models.PositiveIntegerField(
        _("Port Number"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("1 to 65535. Leave empty to use the port in the URL, or 80 for http and 443 for https."),
    )
    timeout = models.PositiveSmallIntegerField(
        _("Communication Timeout"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(300)],
        help_text=_("Seconds, 1 to 300: without an answer within it the connection is given up."),
    )
    ca_identifier = models.CharField(
        _("CA identifier"),
        max_length=200,
        blank=True,
        help_text=_("Sent with GetCACert; most servers want it empty."),
    )
    ca_fingerprint = models.CharField(
        _("Pinned CA fingerprint"),
        max_length=200,
        blank=True,
        validators=[
            RegexValidator(
                r"^(?:[0-9A-Fa-f]{2}[:\s]?){32}$",
                _("Write the SHA-256 fingerprint as 64 hexadecimal digits, colons allowed."),
            )
        ],
        help_text=_("SHA-256. A CA certificate with another fingerprint is refused."),
    )
    allow_sha1 = models.BooleanField(
        _("Sign with SHA-1 where the server offers nothing better"), default=False
    )
    allow_3des = models.BooleanField(
        _("Encrypt with 3DES where the server offers nothing better"), default=False
    )
    allow_des_replies = models.BooleanField(
        _("Accept replies encrypted with single DES"),
        default=False,
        help_text=_("Some servers, micromdm's among them, answer in DES although they advertise AES."),
    )
    renewal_form = models.CharField(
        _("How renewals are asked for"),
        max_length=30,
        choices=RenewalFormChoices.choices,
        default=RenewalFormChoices.PKCS_REQ_WITH_CHALLENGE,
        help_text=_(
            "Servers differ. The first two need no challenge password where the server knows the old certificate."
        ),
    )
    tls_ca_certificates = models.TextField(
        _("CA certificates for HTTPS"),
        blank=True,
        validators=[validate_certificates],
        help_text=_(
            "In PEM: who may vouch for the SCEP server's HTTPS certificate. Leave empty for the public authorities."
        ),
    )
    proxy = models.CharField(
        _("HTTP proxy"),
        max_length=500,
        blank=True,
        validators=[validate_proxy],
        help_text=_("For example http://proxy.example.com:3128. Leave empty to connect directly."),
    )
    max_requests_per_minute = models.PositiveIntegerField(
        _("Most requests per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Leave empty for no limit."),
    )
    max_requests_at_once = models.PositiveIntegerField(
        _("Most requests at once"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Leave empty for no limit."),
    )
    profile = models.JSONField(null=True, blank=True, editable=False)
    """What GetCACaps and GetCACert said (scep.exchange.ServerProfile.to_json), or null: ask anew."""
    profile_fetched_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("SCEP server")
        verbose_name_plural = _("SCEP servers")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(port__isnull=True) | models.Q(port__range=(1, 65535)),
                name="scep_server_port",
            ),
            models.CheckConstraint(condition=models.Q(timeout__range=(1, 300)), name="scep_server_timeout"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a port that is given twice and differently."""
        if self.port is not None and self.url:
            in_url = urlsplit(self.url).port
            if in_url is not None and in_url != self.port:
                raise ValidationError(
                    {
                        "port": _(
                            "The URL names port %(in_url)s and this field %(port)s: give the port once."
                        )
                        % {"in_url": in_url, "port": self.port}
                    }
                )

    @property
    def endpoint(self) -> str:
        """The URL to talk to, with the port in it."""
        parts = urlsplit(self.url)
        if self.port is None or parts.port is not None:
            return self.url
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return urlunsplit(parts._replace(netloc=f"{host}:{self.port}"))


class AllowanceUse(models.Model):
    """One request that a worker took up for a server with a limit per minute; kept for that minute."""

    server = models.ForeignKey(ScepServer, on_delete=models.CASCADE, related_name="allowance_uses")
    at = models.DateTimeField()

    class Meta:
        verbose_name = _("Use of a server's allowance")
        verbose_name_plural = _("Uses of a server's allowance")
        indexes: ClassVar = [models.Index(fields=["server", "at"], name="allowance_use")]

    def __str__(self) -> str:
        return f"server {self.server_id} at {self.at:%H:%M:%S}"
