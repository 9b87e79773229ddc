"""The connector to the demo's virtual MFPs (`python -m fleet.demo.mfp`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery import tls
from devices.delivery.connectors import http
from devices.delivery.connectors.base import (
    Activity,
    Capability,
    Connector,
    Endpoint,
    Identity,
    Material,
    Presented,
    Sighting,
)
from devices.delivery.connectors.settings import TLS_FINGERPRINT, Setting, tls_fingerprint
from devices.delivery.errors import (
    DeviceAway,
    DeviceBusy,
    DeviceRefused,
    KeyStoreFull,
    UnexpectedAnswer,
    WrongPassword,
)
from devices.texts import Sentence

_PATH = re.compile(r"/mfp/[A-Za-z0-9._-]{1,100}")

_NO_STATE = gettext_noop(
    "The virtual MFP was expected to tell its state, boot counter and uptime; it told something else. Check that the "
    "address in its connector's settings is one of a virtual MFP."
)
_WRONG_PASSWORD = gettext_noop(
    "The device did not accept the administrator's password in its connector's settings. Correct it in the device's "
    "data; the key is sent again then."
)
_FULL = gettext_noop(
    "The key store of the device is full. Delete a key at the device, then deliver this one again."
)
_DO_NOT_FIT = gettext_noop(
    "The device did not take the key: it said that key and certificate do not fit (HTTP status 400). Request a new "
    "certificate."
)
_RESTARTING = gettext_noop("The device is restarting and answers again when it is ready.")
_BUSY = gettext_noop("The device is busy with a job and did not restart.")
_NOT_PERMITTED = gettext_noop(
    "The device does not permit a restart from outside. Permit it at the device, or restart it there."
)
_NOBODY = gettext_noop(
    "There is no virtual MFP with this serial number (HTTP status 404). Check the address in its connector's "
    "settings."
)
_ANOTHER_STATUS = Sentence(
    gettext_noop(
        "The device was expected to answer with HTTP status 200 or 202; it answered with %(status)s. Look at the "
        "device's own log."
    )
)


def validate_url(value: str) -> None:
    """Raise ValidationError unless `value` is the address of a virtual MFP.

    The path is fixed: so the setting cannot make this server talk to anything else.
    """
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if (
        parts.scheme != "http"
        or not host
        or not _PATH.fullmatch(parts.path)
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        raise ValidationError(
            _("“%(value)s” is not the address of a virtual MFP: one looks like %(example)s."),
            params={"value": value, "example": "http://127.0.0.1:8100/mfp/SERIAL"},
        )


class VirtualConnector(Connector):
    """Talks JSON over HTTP, GET <url>/status, POST <url>/restart; keys go over HTTPS to the same port."""

    label = gettext_lazy("Virtual MFP of the demo")
    schema = (
        Setting(
            name="url",
            label=gettext_lazy("Address of the virtual MFP"),
            help_text=gettext_lazy("For example http://127.0.0.1:8100/mfp/SERIAL, with its serial number."),
            required=True,
            check=validate_url,
        ),
        Setting(
            name="password",
            label=gettext_lazy("Administrator's password"),
            help_text=gettext_lazy("Where the device takes keys under its password only."),
            is_secret=True,
        ),
        tls_fingerprint(),
    )
    capabilities = frozenset({Capability.IDENTIFY, Capability.RESTART, Capability.INSTALL, Capability.REMOVE})
    pin_setting = TLS_FINGERPRINT
    connect_timeout: ClassVar[float] = 5.0
    read_timeout: ClassVar[float] = 10.0
    patience = connect_timeout + read_timeout

    def identify(self) -> Identity:
        """Vendor, model, serial number and firmware."""
        status = self._ask("GET", "status")
        return Identity(
            **{name: str(status.get(name, "")) for name in ("vendor", "model", "serial_number", "firmware")}
        )

    def look(self) -> Sighting:
        """Its state, boot counter and uptime."""
        status = self._ask("GET", "status")
        state, boots, uptime = (status.get(name) for name in ("state", "boot_count", "uptime_seconds"))
        if state not in ("idle", "busy") or type(boots) is not int or not isinstance(uptime, int | float):
            raise UnexpectedAnswer(_NO_STATE)
        return Sighting(Activity(state), boots, float(uptime))

    def restart(self) -> None:
        """POST <url>/restart: 202 when it will."""
        self._ask("POST", "restart")

    def install(self, material: Material) -> None:
        """PUT <url>/keys/NAME: 200 when it has it."""
        chain = material.private_key_pem() + material.certificate_pem() + material.chain_pem()
        self._key("PUT", material, chain)

    def activate(self, material: Material) -> None:
        """POST <url>/keys/NAME: 200 when it uses it."""
        self._key("POST", material, material.key_use.value.encode())

    def remove(self, material: Material) -> None:
        """DELETE <url>/keys/NAME: 200, or 404 when it is gone."""
        self._key("DELETE", material, b"")

    def endpoints(self) -> Sequence[Endpoint]:
        """The one port of all virtual MFPs, asked for this one."""
        return [self._endpoint]

    def present(self) -> Presented:
        """The certificate that it serves."""
        return tls.present(self._endpoint, timeout=self.connect_timeout, allow_old_tls=False)

    @property
    def _endpoint(self) -> Endpoint:
        parts = urlsplit(self.setting("url"))
        return Endpoint(parts.hostname or "", parts.port or 80, server_name=parts.path.rsplit("/", 1)[1])

    def _key(self, method: str, material: Material, content: bytes) -> None:
        """Send what is secret, over a connection that is pinned. Raises any DeliveryError."""
        endpoint = self._endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        path = f"{urlsplit(self.setting('url')).path}/keys/{quote(material.name, safe='')}"
        password = self.target.secrets.get("password", "")
        with tls.pinned_session(
            endpoint,
            pinned=self.setting(TLS_FINGERPRINT) or "",
            installed=self.target.installed_fingerprints,
            timeout=self.connect_timeout,
        ) as session:
            reply = http.ask(
                method,
                f"https://{host}:{endpoint.port}{path}",
                connect_timeout=self.connect_timeout,
                read_timeout=self.read_timeout,
                session=session,
                data=content,
                auth=("admin", password) if password else None,
            )
        match reply.status:
            case 401:
                raise WrongPassword(_WRONG_PASSWORD)
            case 507:
                raise KeyStoreFull(_FULL)
            case 404 if method == "DELETE":
                return
        self._answer(reply)

    def _ask(self, method: str, what: str) -> Mapping[str, Any]:
        """The JSON of a 2xx answer. Raises the DeliveryError that any other status stands for."""
        reply = http.ask(
            method,
            f"{self.setting('url')}/{what}",
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
        )
        return self._answer(reply)

    @staticmethod
    def _answer(reply: http.Reply) -> Mapping[str, Any]:
        """Raises the DeliveryError that any status but 200 and 202 stands for."""
        match reply.status:
            case 200 | 202:
                return reply.json()
            case 400:
                raise DeviceRefused(_DO_NOT_FIT)
            case 503:
                raise DeviceAway(_RESTARTING)
            case 409:
                raise DeviceBusy(_BUSY)
            case 403:
                raise DeviceRefused(_NOT_PERMITTED)
            case 404:
                raise DeviceRefused(_NOBODY)
            case status:
                raise UnexpectedAnswer(_ANOTHER_STATUS(status=status))
