"""The connector to devices that take a key over a form of their web pages; a profile says how (`profiles.py`).

Pages are walked as a browser does, and names of fields are discovered on them: they differ by model and firmware.
Nothing is sent before the certificate is the pinned one. What the device answers proves nothing: the probe does.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import rsa
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors import generic_profile, profiles, upload_listing, upload_texts
from devices.delivery.connectors.base import Capability, Endpoint
from devices.delivery.connectors.material import Material
from devices.delivery.connectors.profiles import Profile
from devices.delivery.connectors.self_test import Finding, SelfTesting
from devices.delivery.connectors.settings import Kind, Setting, tls_fingerprint
from devices.delivery.connectors.upload_walk import Visit, Walk
from devices.delivery.connectors.web import WebConnector
from devices.delivery.errors import DeliveryError, DeviceRefused, UnexpectedAnswer
from devices.rules.keys import KeyUse
from devices.texts import Sentence, localized

GENERIC = "generic"

_ALPHABET = string.ascii_letters + string.digits
_PASSWORD_LENGTH = 16
"""Of a PKCS #12: 95 bits, and short enough for every device that was reported."""

_RSA_ALONE = Sentence(
    gettext_noop(
        "%(kind)s takes RSA keys alone; this key is another one. Request a certificate with an RSA key."
    )
)


class HttpUploadConnector(WebConnector, SelfTesting):
    """Uploads key and certificate over the device's web pages."""

    label = gettext_lazy("Upload over the device's web pages")
    schema = (
        Setting(
            name="profile",
            label=gettext_lazy("Kind of device"),
            required=True,
            choices=(
                *((name, profiles.label_of(profile)) for name, profile in profiles.built_in().items()),
                (GENERIC, gettext_lazy("Another one: described below")),
            ),
        ),
        Setting(
            name="port",
            label=gettext_lazy("HTTPS port"),
            kind=Kind.NUMBER,
            minimum=1,
            maximum=65535,
            default=443,
        ),
        Setting(name="username", label=gettext_lazy("User name"), max_length=100, default="admin"),
        Setting(name="password", label=gettext_lazy("Password"), is_secret=True, max_length=200),
        tls_fingerprint(),
        Setting(
            name="allow_old_tls",
            label=gettext_lazy("Permit TLS 1.0 and 1.1 for old firmware"),
            kind=Kind.FLAG,
        ),
        *generic_profile.SCHEMA,
    )
    capabilities = frozenset({Capability.INSTALL, Capability.REMOVE})
    installs = frozenset({KeyUse.TLS, KeyUse.NONE})
    patience = 150.0
    read_timeout: ClassVar[float] = 20.0

    @property
    def profile(self) -> Profile:
        """How this device takes a key. Raises NotConnected for a description that is not complete."""
        name = self.setting("profile")
        if name == GENERIC:
            return generic_profile.of(self.setting)
        return profiles.built_in()[name]

    def endpoints(self) -> Sequence[Endpoint]:
        """The TLS ports in the device's data, or the web pages' own where that is none of them."""
        port = self.setting("port")
        ports = self.target.tls_ports if port in self.target.tls_ports else (port,)
        return [Endpoint(self.target.host, port) for port in ports]

    def install(self, material: Material) -> None:
        """Walk all steps of the profile."""
        profile = self.profile
        _check_material(profile, material)
        with self._session() as session:
            walk = Walk(self._visit(), profile, session, material)
            walk.begin()
            for step in profile.steps:
                walk.take(step)

    @property
    def settle_seconds(self) -> float:
        """As the profile was reported, or as it is described."""
        built_in = profiles.built_in().get(self.setting("profile"))
        return float(built_in.settle_seconds if built_in else self.setting("settle_seconds") or 0)

    def leaves(self, former: str, new: str) -> bool:
        """Whatever the names: such devices know certificates by numbers of their own."""
        built_in = profiles.built_in().get(self.setting("profile"))
        return built_in is not None and bool(built_in.removal)

    def remove(self, material: Material) -> None:
        """Sign in, find the certificate in the device's list by its serial number and issuer, delete it, look again.

        Nothing is deleted that is in use, or cannot be told from others. Raises NotSupported where the profile says
        nothing of it.
        """
        profile, certificate = self.profile, material.certificate
        listing = profile.listing
        if listing is None or not profile.removal:
            raise self._not_supported(Capability.REMOVE)
        with self._session() as session:
            walk = Walk(self._visit(), profile, session, None)
            walk.begin()
            for step in profile.signing_in:
                walk.take(step)
            for number in upload_listing.to_delete(walk, listing, certificate):
                for step in profile.removal:
                    walk.take(step, number=number)
                if number in upload_listing.numbers(walk, listing):
                    raise UnexpectedAnswer(upload_texts.STILL_THERE(number=number))

    def self_test(self) -> Sequence[Finding]:
        """Walk the steps until the first that would change something."""
        findings: list[Finding] = []
        doing = _("Settings")
        try:
            profile = self.profile
            doing = _("Certificate that the device shows")
            with self._session() as session:
                findings.append(Finding(doing, True, _("It is the confirmed one.")))
                walk = Walk(self._visit(), profile, session, None)
                doing = _("Sign in")
                walk.begin()
                for step in profile.steps:
                    doing = _(step.name)
                    if step.changes:
                        names = walk.names_for(step)
                        found = _("Not sent. It would send: %s.") % ", ".join(names)
                        findings.append(Finding(doing, True, found))
                        break
                    walk.take(step)
                    findings.append(Finding(doing, True, walk.summary()))
        except DeliveryError as error:
            findings.append(Finding(doing, False, localized(str(error))))
        return findings

    def _visit(self) -> Visit:
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return Visit(
            origin=f"https://{host}:{self.setting('port')}",
            username=self.setting("username") or "",
            password=self.target.secrets.get("password", ""),
            pkcs12_password=self.draw_password(),
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            patience=self.patience - self.connect_timeout,
        )

    def draw_password(self) -> str:
        """For one PKCS #12, which nobody opens but the device."""
        return "".join(secrets.choice(_ALPHABET) for _position in range(_PASSWORD_LENGTH))


def _check_material(profile: Profile, material: Material) -> None:
    if profile.rsa_only and not isinstance(material.certificate.public_key(), rsa.RSAPublicKey):
        raise DeviceRefused(_RSA_ALONE(kind=profile.label))
