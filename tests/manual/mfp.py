"""A device that restarts: one of the demo's virtual MFPs, a process of its own."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from tests.manual.office import Office
from tests.peers.mfps import Mfps
from tests.peers.process import wait_until

_number = count(20)
"""Those before have their quirks: one never comes back from a restart, whichever test it was given to."""


class Mfp:
    """One MFP, which nobody used before."""

    def __init__(self, mfps: Mfps) -> None:
        self._mfps, self._number = mfps, next(_number)

    def connected(self, office: Office, server: int, **fields: Any) -> int:
        """The device that it is, with its connector, asking `server`."""
        return office.add_device(server, **self.connector, **fields)

    @property
    def connector(self) -> dict[str, Any]:
        """What leads to it, among a device's data."""
        settings = {
            "url": self._mfps.url(self._number),
            # as a person reads it at the device and confirms it
            "tls_fingerprint": self._mfps.factory_fingerprint,
        }
        return {"connector": "virtual", "connector_settings": settings}

    @property
    def starts(self) -> int:
        """How often it has started."""
        return self._mfps.boot_count(self._number)

    def behave(self, **behavior: Any) -> None:
        """From now on."""
        self._mfps.behave(self._number, **behavior)

    def watched(self, office: Office, device: int) -> dict[str, Any]:
        """Bring it the key, ask it for the restart that waits, and watch until it is back; the restart, over REST."""
        office.work_on_deliveries()
        office.work_on_restarts()
        wait_until(lambda: self._mfps.is_back(self._number), timeout=60, what="the virtual MFP being back")
        office.clock.ahead += timedelta(minutes=1)
        office.work_on_restarts()
        return office.restarts(device)[0]
