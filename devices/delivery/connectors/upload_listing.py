"""Which certificates a device has, read from its web pages: what is there already, and which one is the old one.

A certificate is known by its issuer and serial number (RFC 5280 section 4.1.2.2): serial numbers alone are no more
than counters at some CAs. Nothing here changes anything on the device.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from devices.delivery.connectors import upload_texts
from devices.delivery.connectors.pages import Page
from devices.delivery.connectors.profiles import Listing
from devices.delivery.errors import DeviceRefused

MOST_LISTED = 50
"""Certificates that are looked at; devices hold a handful."""


class Visitor(Protocol):
    """Somebody who has signed in at the device."""

    def get(self, path: str) -> Page:
        """A page. Raises DeliveryError."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One certificate on the device."""

    number: str
    serial: int | None
    """None: its page does not say it."""
    names_issuer: bool
    """Its page names the issuer that was looked for."""


def numbers(visitor: Visitor, listing: Listing) -> Sequence[str]:
    """The number of each certificate in the device's list, in its order."""
    found = re.findall(listing.number, visitor.get(listing.path).text)
    return list(dict.fromkeys(found))[:MOST_LISTED]


def look(visitor: Visitor, listing: Listing, certificate: x509.Certificate) -> Sequence[Listed]:
    """Every certificate on the device, each page compared with the issuer of `certificate`."""
    issuer = _issuer(certificate)
    found = []
    for number in numbers(visitor, listing):
        text = visitor.get(listing.view.replace("{number}", number)).text
        serial = re.search(listing.serial, text)
        digits = re.sub(r"[^0-9A-Fa-f]", "", serial[1]) if serial else ""
        found.append(Listed(number, int(digits, 16) if digits else None, issuer in html.unescape(text)))
    return found


def _issuer(certificate: x509.Certificate) -> str:
    """Its common name, or what else names it; empty only for an issuer without a name."""
    names = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME) or list(certificate.issuer)
    return str(names[-1].value) if names else ""


def numbers_of(listed: Sequence[Listed], certificate: x509.Certificate) -> list[str]:
    """The numbers of those that are `certificate`: more than one where it was imported twice."""
    return [each.number for each in listed if each.serial == certificate.serial_number and each.names_issuer]


def to_delete(visitor: Visitor, listing: Listing, certificate: x509.Certificate) -> list[str]:
    """The numbers under which the device has `certificate`, none when it is gone.

    Raises DeviceRefused where that cannot be told for sure, or one of them is in use.
    """
    listed = look(visitor, listing, certificate)
    if listed and all(each.serial is None for each in listed):
        raise DeviceRefused(upload_texts.NO_SERIAL_NUMBERS)
    found = numbers_of(listed, certificate)
    if any(each.serial == certificate.serial_number and not each.names_issuer for each in listed):
        raise DeviceRefused(upload_texts.NOT_SURE(serial=f"{certificate.serial_number:x}"))
    if found and listing.in_use:
        chosen = _chosen(visitor.get(listing.in_use), {each.number for each in listed})
        if chosen in found:
            raise DeviceRefused(upload_texts.IN_USE(number=chosen))
    return found


def _chosen(page: Page, known: Collection[str]) -> str:
    """What is selected in the select that offers most of the `known` numbers; empty when none does."""
    selects = [field for field in page.fields() if field.type == "select"]
    best = max(selects, key=lambda field: len(set(known) & set(field.options)), default=None)
    return best.value if best is not None else ""
