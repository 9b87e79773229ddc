"""A printer as its SNMP agent shows it: what it is, whether it is idle, and how it is restarted.

Host Resources MIB (RFC 2790), Printer MIB (RFC 3805), SNMP-FRAMEWORK-MIB (RFC 3411).
"""

from __future__ import annotations

from typing import ClassVar

from django.utils.translation import gettext_lazy, gettext_noop

from devices.delivery.connectors import identity, ipp, snmp
from devices.delivery.connectors.base import Activity, Capability, Connector, Identity, Sighting
from devices.delivery.connectors.settings import Kind, Setting
from devices.delivery.connectors.snmp import Access, Value
from devices.delivery.errors import NotSupported

SYS_DESCR = "1.3.6.1.2.1.1.1"
SYS_UPTIME = "1.3.6.1.2.1.1.3"
"""Hundredths of a second since the agent started."""
ENGINE_BOOTS = "1.3.6.1.6.3.10.2.1.2"
"""snmpEngineBoots: how often the agent has started."""
HR_DEVICE_DESCR = "1.3.6.1.2.1.25.3.2.1.3"
HR_DEVICE_TYPE = "1.3.6.1.2.1.25.3.2.1.2"
HR_PRINTER_STATUS = "1.3.6.1.2.1.25.3.5.1.1"
PRT_GENERAL_RESET = "1.3.6.1.2.1.43.5.1.1.3"
PRT_SERIAL_NUMBER = "1.3.6.1.2.1.43.5.1.1.17"
DEVICE_ID = "1.3.6.1.4.1.2699.1.2.1.2.1.1.3"
"""ppmPrinterIEEE1284DeviceId of the Printer Working Group's port monitor MIB."""

POWER_CYCLE_RESET = 4

_NO_RESET = gettext_noop(
    "The device's SNMP agent has no prtGeneralReset (RFC 3805), so it cannot be restarted over SNMP. Restart it by "
    "hand, or switch the restart over SNMP off in the device's data."
)

_IDLE, _PRINTING, _WARMUP = 3, 4, 5

IDENTITY_COLUMNS = (SYS_DESCR, HR_PRINTER_STATUS, HR_DEVICE_DESCR, PRT_SERIAL_NUMBER, DEVICE_ID)


class SnmpDevice(Connector):
    """Identifies and restarts a device over SNMP, beside whatever its connector can."""

    label = gettext_lazy("SNMP")
    schema = (
        *snmp.ACCESS_SCHEMA,
        Setting(
            name="ipp_port",
            label=gettext_lazy("Ask over IPP whether the device is idle, at port"),
            kind=Kind.NUMBER,
            minimum=1,
            maximum=65535,
            help_text=gettext_lazy(
                "For devices that do not tell it over SNMP; mostly 631. Empty: over SNMP."
            ),
        ),
    )
    capabilities = frozenset({Capability.IDENTIFY, Capability.RESTART})
    patience: ClassVar[float] = 3 * 8.0 + ipp.PATIENCE

    @property
    def access(self) -> Access:
        """The agent of this device."""
        return Access.of(self.target.host, self.target.settings, self.target.secrets)

    def identify(self) -> Identity:
        """What the agent says of the device."""
        return identity_of(snmp.first_rows(self.access, IDENTITY_COLUMNS))

    def look(self) -> Sighting:
        """hrPrinterStatus or IPP's printer-state, snmpEngineBoots and sysUpTime."""
        rows = snmp.first_rows(self.access, (HR_PRINTER_STATUS, ENGINE_BOOTS, SYS_UPTIME))
        status, boots, uptime = (rows[name] for name in (HR_PRINTER_STATUS, ENGINE_BOOTS, SYS_UPTIME))
        port = self.setting("ipp_port")
        activity = ipp.activity(self.target.host, port) if port else _activity(status)
        return Sighting(
            activity,
            boots[1] if boots and isinstance(boots[1], int) and boots[1] >= 0 else None,
            uptime[1] / 100 if uptime and isinstance(uptime[1], int) else None,
        )

    def restart(self) -> None:
        """SET prtGeneralReset to powerCycleReset(4)."""
        row = snmp.first_rows(self.access, (PRT_GENERAL_RESET,))[PRT_GENERAL_RESET]
        if row is None:
            raise NotSupported(_NO_RESET)
        snmp.set_number(self.access, f"{PRT_GENERAL_RESET}.{row[0]}", POWER_CYCLE_RESET)


def _activity(status: tuple[str, Value] | None) -> Activity:
    match status:
        case (_, 4 | 5):  # printing, warmup
            return Activity.BUSY
        case (_, 1 | 3):  # other: standby, or an error that a restart does not make worse; idle
            return Activity.IDLE
    return Activity.UNKNOWN


def identity_of(rows: dict[str, tuple[str, Value] | None]) -> Identity:
    """Out of the first rows of IDENTITY_COLUMNS."""

    def text(column: str) -> str:
        row = rows.get(column)
        return str(row[1]) if row else ""

    by_id = identity.of_device_id(text(DEVICE_ID))
    vendor, model = identity.vendor_and_model(text(HR_DEVICE_DESCR), by_id.vendor)
    told = Identity(vendor, model, text(PRT_SERIAL_NUMBER), identity.firmware_in(text(SYS_DESCR)))
    return identity.plain(identity.merged(by_id, told))


def is_printer(rows: dict[str, tuple[str, Value] | None]) -> bool:
    """True when the agent shows a printer: anything else in the network answers SNMP, too."""
    return rows.get(HR_PRINTER_STATUS) is not None or rows.get(PRT_SERIAL_NUMBER) is not None
