"""What connectors over a device's own web pages share: their port, and sessions pinned to its certificate."""

from __future__ import annotations

from typing import ClassVar

import requests

from devices.delivery import tls
from devices.delivery.connectors.base import Connector, Endpoint, Presented
from devices.delivery.connectors.settings import TLS_FINGERPRINT


class WebConnector(Connector):
    """A connector whose schema has `port`, `tls_fingerprint` and `allow_old_tls`."""

    pin_setting = TLS_FINGERPRINT
    connect_timeout: ClassVar[float] = 5.0
    """Seconds."""

    def present(self) -> Presented:
        """The certificate on the port of the web pages."""
        return tls.present(self._endpoint, timeout=self.connect_timeout, allow_old_tls=self._allow_old_tls)

    @property
    def _endpoint(self) -> Endpoint:
        return Endpoint(self.target.host, self.setting("port"))

    @property
    def _allow_old_tls(self) -> bool:
        return bool(self.setting("allow_old_tls"))

    def _session(self) -> requests.Session:
        """Raises as `tls.pinned_session` does; nothing was sent then."""
        return tls.pinned_session(
            self._endpoint,
            pinned=self.setting(TLS_FINGERPRINT) or "",
            installed=self.target.installed_fingerprints,
            timeout=self.connect_timeout,
            allow_old_tls=self._allow_old_tls,
        )
