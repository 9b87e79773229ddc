"""Which keys a new one overwrites, what it is called, and whether it fits (R6, R11, R14).

Pure: works on plain values, decides, and leaves the doing to devices/keystore.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class KeyUse(StrEnum):
    """[Key Use Location] (R6), as the API spells it."""

    NONE = "none"
    TLS = "tls"
    IEEE_802_1X = "ieee_802_1x"
    IPSEC = "ipsec"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key of a device's key store, as far as these rules look at it."""

    name: str
    key_use: KeyUse
    ipsec_destination: str = ""
    is_default: bool = False


def overwritten(
    held: Collection[HeldKey], *, name: str, key_use: KeyUse, ipsec_destination: str, delete_old_key: bool
) -> tuple[HeldKey, ...]:
    """The keys that the new one replaces under [Delete Old Key and Certificate] (R14).

    Those with the same use; with the use [None], which many keys may share, the one of the same name.
    The default key is never among them.
    """
    if not delete_old_key:
        return ()
    return tuple(
        key
        for key in held
        if not key.is_default
        and (key.key_use, key.ipsec_destination) == (key_use, ipsec_destination)
        and (key_use is not KeyUse.NONE or key.name == name)
    )


def fits(held_count: int, overwritten_count: int, key_limit: int) -> bool:
    """True when the device can hold one more key after the overwriting (R11, first case)."""
    return held_count - overwritten_count < key_limit


def free_name(wanted: str, taken: Collection[str], *, max_length: int = 64) -> str:
    """`wanted`, or `wanted-2`, `wanted-3` ... when the device holds a key of that name already."""
    if wanted not in taken:
        return wanted
    number = 2
    while True:
        suffix = f"-{number}"
        name = wanted[: max_length - len(suffix)] + suffix
        if name not in taken:
            return name
        number += 1
