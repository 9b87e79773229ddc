"""Which connectors there are: the built-in ones, and what other packages bring by entry points.

A package adds one with the entry point group `fleetseal.connectors`: the entry's name is stored with the device, its
object is a subclass of Connector. What cannot be loaded is logged and left out; a name is never taken twice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from devices.delivery.connectors import settings
from devices.delivery.connectors.base import Capability, Connector
from devices.delivery.connectors.download import DownloadConnector
from devices.delivery.connectors.http_upload import HttpUploadConnector
from devices.delivery.connectors.pappl import PapplConnector
from devices.delivery.connectors.sftp import SftpConnector
from devices.delivery.connectors.virtual import VirtualConnector

if TYPE_CHECKING:
    from devices.delivery.connectors.settings import Text

logger = logging.getLogger(__name__)

GROUP = "fleetseal.connectors"
NO_CONNECTOR = "none"
"""The name that a device without a connector has."""
NAME_LENGTH = 30

BUILT_IN: Mapping[str, type[Connector]] = MappingProxyType(
    {
        "virtual": VirtualConnector,
        "pappl": PapplConnector,
        "sftp": SftpConnector,
        "http_upload": HttpUploadConnector,
        "download": DownloadConnector,
    }
)


@cache
def known() -> Mapping[str, type[Connector]]:
    """Every connector by its name, read once per process."""
    found = dict(BUILT_IN)
    for entry in entry_points(group=GROUP):
        if entry.name in found or entry.name == NO_CONNECTOR:
            logger.error("the connector %s of %s is left out: the name is taken", entry.name, entry.value)
            continue
        if not re.fullmatch(rf"[a-z][a-z0-9_]{{0,{NAME_LENGTH - 1}}}", entry.name):
            logger.error("the connector %r is left out: lower-case letters, digits and _", entry.name)
            continue
        connector = _load(entry)
        if connector is not None:
            found[entry.name] = connector
    return MappingProxyType(found)


def _load(entry: Any) -> type[Connector] | None:
    try:
        loaded = entry.load()
    except Exception:  # another package's fault must not keep this one from starting
        logger.exception("the connector %s (%s) cannot be loaded and is left out", entry.name, entry.value)
        return None
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        logger.error("the connector %s is left out: %s is no subclass of Connector", entry.name, entry.value)
        return None
    return loaded


def choices() -> list[tuple[str, Text]]:
    """Names and labels, for fields."""
    return [(NO_CONNECTOR, _("None")), *((name, connector.label) for name, connector in known().items())]


def secret_names() -> frozenset[str]:
    """The names of the settings that any connector keeps secret."""
    schemas = (connector.schema for connector in known().values())
    return frozenset(setting.name for schema in schemas for setting in schema if setting.is_secret)


def address_in(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of the connector `name`, those that are a part of the address; none without a connector."""
    connector = known().get(name)
    return settings.address_in(connector.schema, values) if connector else {}


def can(name: str, capability: Capability) -> bool:
    """True when the connector `name` is there and can do it."""
    connector = known().get(name)
    return connector is not None and capability in connector.capabilities
