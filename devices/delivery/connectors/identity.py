"""What devices say they are, out of the texts that they give: IEEE 1284 device IDs, IPP and SNMP strings."""

from __future__ import annotations

import re
from dataclasses import fields

from devices.delivery.connectors.base import Identity

LONGEST = 100
"""Characters of each text; a device has no more columns for it."""

_FIRMWARE = re.compile(r"\b(?:firmware|fw|version|ver)\b[ :./]*v?([0-9][0-9A-Za-z._-]*)", re.IGNORECASE)

_KEYS = {
    "vendor": ("MFG", "MANUFACTURER"),
    "model": ("MDL", "MODEL"),
    "serial_number": ("SN", "SERN", "SERIALNUMBER"),
    "firmware": ("FWVER", "FW", "FIRMWARE"),
}


def of_device_id(device_id: str) -> Identity:
    """Out of an IEEE 1284 device ID: `MFG:Example;MDL:MFP 4000;SN:A1;`."""
    pairs = (pair.partition(":") for pair in device_id.split(";"))
    told = {key.strip().upper(): value.strip() for key, _colon, value in pairs}
    found = {name: next((told[key] for key in keys if told.get(key)), "") for name, keys in _KEYS.items()}
    return plain(Identity(**found))


def firmware_in(text: str) -> str:
    """The version that a free text (sysDescr) names, or the empty text."""
    found = _FIRMWARE.search(text)
    return found[1].rstrip(".") if found else ""


def vendor_and_model(make_and_model: str, vendor: str) -> tuple[str, str]:
    """Apart: without a known vendor the first word is it."""
    text = make_and_model.strip()
    if not vendor:
        vendor, _space, rest = text.partition(" ")
        return (vendor, rest.strip()) if rest else ("", text)
    return vendor, text[len(vendor) :].strip() if text.lower().startswith(f"{vendor.lower()} ") else text


def merged(*identities: Identity) -> Identity:
    """Each text from the first that has it."""
    return Identity(
        **{
            each.name: next((value for one in identities if (value := getattr(one, each.name))), "")
            for each in fields(Identity)
        }
    )


def plain(identity: Identity) -> Identity:
    """Without control characters, and no longer than LONGEST: it is a stranger's text."""
    return Identity(
        **{
            each.name: "".join(c if c.isprintable() else " " for c in getattr(identity, each.name)).strip()[
                :LONGEST
            ]
            for each in fields(Identity)
        }
    )
