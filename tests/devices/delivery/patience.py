"""Time enough for real counterparts, on a machine that is slow or stands still for some seconds.

The product's own timeouts are made for devices that do not answer. A test that is about one of those sets it itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from devices.delivery import probe
from devices.delivery.connectors import ipp, snmp
from devices.delivery.connectors.http_upload import HttpUploadConnector
from devices.delivery.connectors.pappl import PapplConnector
from devices.delivery.connectors.sftp import SftpConnector
from devices.delivery.connectors.virtual import VirtualConnector
from devices.delivery.connectors.web import WebConnector

ENOUGH = 60.0
"""Seconds for one step."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up that only takes its time."""
    for connector in (WebConnector, VirtualConnector):
        monkeypatch.setattr(connector, "connect_timeout", ENOUGH)
    for uploading in (HttpUploadConnector, PapplConnector, VirtualConnector):
        monkeypatch.setattr(uploading, "read_timeout", ENOUGH)
    monkeypatch.setattr(SftpConnector, "step_timeout", ENOUGH)
    monkeypatch.setattr(SftpConnector, "patience", 3 * ENOUGH)
    for look in (probe.served_leaf, probe.look, probe.look_at):
        default(monkeypatch, look, timeout=ENOUGH)
    default(monkeypatch, ipp.Timeouts.__init__, connect=ENOUGH, read=ENOUGH)
    default(monkeypatch, snmp.Access.__init__, timeout=ENOUGH)


def default(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], **values: Any) -> None:
    """Parameters of `function` that may be left out are `values` then."""
    positional = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty
    ]
    assert values.keys() <= {parameter.name for parameter in positional}
    changed = tuple(values.get(parameter.name, parameter.default) for parameter in positional)
    monkeypatch.setattr(function, "__defaults__", changed)
