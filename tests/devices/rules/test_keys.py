"""What a new key overwrites, whether it fits, what it is called (R6, R11, R14)."""

from __future__ import annotations

from devices.rules.keys import HeldKey, KeyUse, fits, free_name, overwritten

DEFAULT = HeldKey("Default Key", KeyUse.TLS, is_default=True)
OLD_TLS = HeldKey("SCEP", KeyUse.TLS)
OLD_8021X = HeldKey("radius", KeyUse.IEEE_802_1X)
IPSEC_A = HeldKey("tunnel-a", KeyUse.IPSEC, "a")
IPSEC_B = HeldKey("tunnel-b", KeyUse.IPSEC, "b")
SPARE = HeldKey("spare", KeyUse.NONE)
HELD = [DEFAULT, OLD_TLS, OLD_8021X, IPSEC_A, IPSEC_B, SPARE]


def gone(
    key_use: KeyUse, *, name: str = "SCEP", destination: str = "", delete_old_key: bool = True
) -> set[str]:
    """Names of the keys that a new one overwrites."""
    keys = overwritten(
        HELD, name=name, key_use=key_use, ipsec_destination=destination, delete_old_key=delete_old_key
    )
    return {key.name for key in keys}


def test_r14_the_same_use_is_overwritten_and_the_default_key_never() -> None:
    assert gone(KeyUse.TLS) == {"SCEP"}
    assert gone(KeyUse.IEEE_802_1X) == {"radius"}


def test_r14_off_keeps_everything() -> None:
    assert gone(KeyUse.TLS, delete_old_key=False) == set()


def test_r14_ipsec_goes_by_destination() -> None:
    assert gone(KeyUse.IPSEC, destination="b") == {"tunnel-b"}
    assert gone(KeyUse.IPSEC, destination="c") == set()


def test_r14_a_key_without_use_goes_by_its_name() -> None:
    assert gone(KeyUse.NONE, name="spare") == {"spare"}
    assert gone(KeyUse.NONE, name="SCEP") == set(), "the key of that name has a use"
    assert gone(KeyUse.NONE, name="Default Key") == set()


def test_r11_overwriting_makes_room() -> None:
    assert fits(9, 0, 10)
    assert not fits(10, 0, 10)
    assert fits(10, 1, 10)


def test_a_taken_name_gets_a_number() -> None:
    assert free_name("SCEP", {"other"}) == "SCEP"
    assert free_name("SCEP", {"SCEP", "SCEP-2"}) == "SCEP-3"
    long = "k" * 64
    assert free_name(long, {long}) == "k" * 62 + "-2"
