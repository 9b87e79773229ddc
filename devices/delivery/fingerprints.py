"""Fingerprints as they are stored, compared and shown: those of certificates, and those of SSH host keys.

A certificate's is 64 hexadecimal digits, written with or without colons, in any case. An SSH host key's is `SHA256:`
and Base64 without its padding, as `ssh-keygen -l` prints it: there, case counts.
"""

from __future__ import annotations

import hmac

from devices.delivery import tls

_SSH = "SHA256:"


def readable(fingerprint: str) -> str:
    """For people, as it is shown where they compare it; empty for none."""
    text = fingerprint.strip()
    return text if text.startswith(_SSH) else tls.readable(tls.normalized(text))


def is_same(one: str, other: str) -> bool:
    """True for one fingerprint in two spellings."""
    return hmac.compare_digest(_plain(one), _plain(other))


def _plain(fingerprint: str) -> bytes:
    text = fingerprint.strip()
    return (text.rstrip("=") if text.startswith(_SSH) else tls.normalized(text)).encode()
