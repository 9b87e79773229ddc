"""[Settings for Key and Certificate To Be Issued] (R4, R15): the same fields for settings and requests."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from devices import secrets
from devices.models.choices import KeyLengthChoices, KeyUseChoices, SignatureAlgorithmChoices
from devices.models.fields import BytesField
from devices.models.validators import validate_host

COMMON_NAME_LENGTH = 64
"""Characters at most (RFC 5280 appendix A.1, ub-common-name)."""

PARAMETER_FIELDS = (
    "key_name",
    "signature_algorithm",
    "key_length",
    "organization",
    "common_name",
    "key_use",
    "ipsec_destination",
)
"""The fields of KeyAndCertificateParameters that are not secret."""


class ChallengePassword(models.Model):
    """[Challenge Password]: stored encrypted, and shown to nobody."""

    challenge_password_encrypted = BytesField(null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def has_challenge_password(self) -> bool:
        """True when a challenge password is stored; the dashboard shows that much of it."""
        return bool(self.challenge_password_encrypted)

    def set_challenge_password(self, password: str) -> None:
        """Store `password` encrypted; the empty one removes it."""
        self.challenge_password_encrypted = secrets.encrypt_text(password)

    def reveal_challenge_password(self) -> str:
        """The password in clear, for its one use. Raises devices.secrets.SecretUnreadable."""
        return secrets.decrypt_text(self.challenge_password_encrypted)


class KeyAndCertificateParameters(ChallengePassword):
    """What a key and its certificate are to look like, and what they are used for."""

    key_name = models.CharField(
        _("Key Name"),
        max_length=64,
        default="SCEP",
        validators=[
            RegexValidator(r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", _("Use printable ASCII characters."))
        ],
        help_text=_("1 to 64 printable ASCII characters; unique on the device."),
    )
    signature_algorithm = models.CharField(
        _("Signature Algorithm"),
        max_length=10,
        choices=SignatureAlgorithmChoices.choices,
        default=SignatureAlgorithmChoices.SHA256,
    )
    key_length = models.PositiveSmallIntegerField(
        _("Key Length (bit)"), choices=KeyLengthChoices.choices, default=KeyLengthChoices.BITS_2048
    )
    organization = models.CharField(_("Organization"), max_length=64, blank=True)
    common_name = models.CharField(
        _("Common Name"),
        max_length=COMMON_NAME_LENGTH,
        blank=True,
        validators=[validate_host],
        help_text=_(
            "IP address or FQDN. Windows IPPS clients need the IP address; an FQDN needs DNS. "
            "Leave empty to use the device's own address."
        ),
    )
    key_use = models.CharField(
        _("Key Use Location"),
        max_length=12,
        choices=KeyUseChoices.choices,
        default=KeyUseChoices.NONE,
    )
    ipsec_destination = models.CharField(_("IPSec destination"), max_length=100, blank=True)

    class Meta:
        abstract = True

    def copy_parameters(self, source: KeyAndCertificateParameters) -> None:
        """Take over every field of `source`, the encrypted password included."""
        for name in (*PARAMETER_FIELDS, "challenge_password_encrypted"):
            setattr(self, name, getattr(source, name))
