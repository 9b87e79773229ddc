"""What the demo fleet looks like: sites in many time zones, devices with plausible names. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time


@dataclass(frozen=True, slots=True)
class Site:
    """One office: a device group and the rooms in which its devices stand."""

    name: str
    code: str
    time_zone: str
    network: str
    """The first three numbers of its IPv4 addresses (RFC 1918)."""
    rooms: tuple[str, ...]


SITES = (
    Site("Berlin", "ber", "Europe/Berlin", "10.49.30", ("Reception", "2nd floor north", "Legal", "Archive")),
    Site("São Paulo", "sao", "America/Sao_Paulo", "10.55.11", ("Recepção", "8º andar", "Financeiro")),
    Site("New York", "nyc", "America/New_York", "10.1.212", ("Lobby", "14th floor", "Mail room", "HR")),
    Site("Tokyo", "tyo", "Asia/Tokyo", "10.81.3", ("Entrance", "5F east", "5F west", "Design")),
    Site("Nairobi", "nbo", "Africa/Nairobi", "10.254.20", ("Front desk", "Workshop", "Library")),
    Site("Sydney", "syd", "Australia/Sydney", "10.61.2", ("Reception", "Level 3", "Dispatch")),
)

MAINTENANCE = (time(22, 0), time(5, 0))
"""Every site's maintenance window, in its own time zone."""

MODELS = (
    ("Canon", "imageRUNNER ADVANCE DX C5860i", "35.02"),
    ("Ricoh", "IM C4510", "2.14"),
    ("Konica Minolta", "bizhub C360i", "G00-R7"),
    ("Kyocera", "TASKalfa 4054ci", "2Z7_S000.004"),
    ("Xerox", "AltaLink C8155", "120.009.023"),
    ("HP", "Color LaserJet MFP E877", "5.7.1"),
    ("Lexmark", "CX944", "CXTPM.241.044"),
    ("Sharp", "BP-70C45", "03.01.R2"),
)

QUIRKS: Mapping[int, Mapping[str, bool]] = {9: {"never_comes_back": True}, 15: {"refuses": True}}
"""Numbers of the devices that misbehave when they are asked to restart, so that there is something to see."""


def restarts_by_itself(number: int) -> bool:
    """Which devices restart after each certificate (R13): every third."""
    return number % 3 == 0


def devices(first: int, last: int) -> Iterator[dict[str, str]]:
    """The fields of devices number `first` to `last` - 1; number n is the same in every demo.

    Each also has `site`, the name of its group.
    """
    for number in range(first, last):
        site = SITES[number % len(SITES)]
        of_site = number // len(SITES)
        vendor, model, firmware = MODELS[(number * 5 + of_site) % len(MODELS)]
        name = f"mfp-{site.code}-{of_site + 1:02d}"
        # most are called by their address, some by a name: both kinds of subjectAltName occur (R5)
        by_name = number % 4 == 3 or of_site >= 240
        yield {
            "name": name,
            "host": f"{name}.print.example.com" if by_name else f"{site.network}.{10 + of_site}",
            "serial_number": f"{vendor[:2].upper()}{site.code.upper()}{7_310_000 + number * 137}",
            "vendor": vendor,
            "model": model,
            "firmware": firmware,
            "location": f"{site.name}, {site.rooms[of_site % len(site.rooms)]}",
            "site": site.name,
        }
