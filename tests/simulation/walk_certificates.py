"""The walk's part about keys and certificates: R6, R14, the key limit, and what there is at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from tests.simulation.records import Final, Held, Key, Settings


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was asked for, as far as the key store is concerned."""

    key_name: str
    key_use: str
    ipsec_destination: str
    delete_old_key: bool


def in_use(held: Held | None, settings: Settings) -> Key | None:
    """The key that does what the settings want one for; the newest, where several do."""
    keys = [
        key
        for key in (held.keys if held else ())
        if (key.key_use, key.ipsec_destination) == (settings.key_use, settings.ipsec_destination)
    ]
    return max(keys, key=lambda key: key.issued_at, default=None)


def _overwritten(held: Held | None, wanted: Parameters) -> set[str]:
    """R14: certificates of the keys that have to go; with [None], which many share, those of the same name."""
    return {
        key.certificate
        for key in (held.keys if held else ())
        if wanted.delete_old_key
        and not key.is_default
        and (key.key_use, key.ipsec_destination) == (wanted.key_use, wanted.ipsec_destination)
        and (wanted.key_use != "none" or key.name == wanted.key_name)
    }


def has_room(held: Held | None, wanted: Parameters) -> bool:
    """R11: whether one more key fits when the old one is gone."""
    return held is None or len(held.keys) - len(_overwritten(held, wanted)) + 1 <= held.limit


def wrong_in_change(before: Held | None, after: Held, wanted: Parameters | None) -> Iterator[tuple[str, str]]:
    """Rule and text of what is wrong with a key store that changed; `wanted` when a request just succeeded."""
    if len(after.keys) > after.limit:
        yield "key limit", f"{len(after.keys)} keys, {after.limit} fit"
    names = [key.name for key in after.keys]
    if len(names) != len(set(names)):
        yield "R6", f"key names are not unique: {sorted(names)}"
    for key in after.keys:
        function = (key.key_use, key.ipsec_destination)
        others = [each for each in after.keys if (each.key_use, each.ipsec_destination) == function]
        if key.key_use != "none" and len(others) > 1:
            yield "R6", f"{len(others)} keys for {key.key_use}"
    old = {key.certificate: key for key in (before.keys if before else ())}
    new = {key.certificate: key for key in after.keys}
    gone, came = old.keys() - new.keys(), new.keys() - old.keys()
    if before is None or after.cleared:
        return
    if any(old[certificate].is_default for certificate in gone):
        yield "R14", "the default key is gone"
    expected = _overwritten(before, wanted) if wanted else set()
    if gone - expected:
        yield "R14", f"{[old[certificate].name for certificate in gone - expected]} overwritten"
    if expected - gone:
        yield "R14", f"{[old[certificate].name for certificate in expected - gone]} not overwritten"
    if len(came) != (1 if wanted else 0):
        yield "R6", f"{len(came)} new keys"
    for key in (new[certificate] for certificate in came):
        function = (key.key_use, key.ipsec_destination)
        if wanted is not None and function != (wanted.key_use, wanted.ipsec_destination):
            yield "R6", f"the new key is assigned to {function}"


def wrong_in_final(final: Final) -> Iterator[str]:
    """What is wrong with a key at the end: it and its certificate belong together and are what is shown."""
    if final.key.is_default:
        return  # the manufacturer's
    certificate = x509.load_pem_x509_certificate(final.certificate.encode())
    private_key = load_der_private_key(final.private_key, None, unsafe_skip_rsa_key_validation=True)
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*spki) != private_key.public_key().public_bytes(*spki):
        yield f"the certificate of {final.key.name} is for another key than the stored one"
    if certificate.fingerprint(hashes.SHA256()).hex() != final.key.certificate:
        yield f"the certificate of {final.key.name} is another one than shown"
    shown = (final.key.not_before, final.key.not_after)
    if (certificate.not_valid_before_utc, certificate.not_valid_after_utc) != shown:
        yield f"the certificate of {final.key.name} is valid at other times than shown"
