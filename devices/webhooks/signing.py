"""The signature of Standard Webhooks: HMAC-SHA256 over id, timestamp and body. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

PREFIX = "whsec_"

SHORTEST, LONGEST = 24, 64
"""Bytes of a key that the specification permits."""


class NoSecret(ValueError):
    """A text that is no secret of Standard Webhooks."""


def draw_secret() -> str:
    """A new secret of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key in `secret`, which may lack its prefix. Raises NoSecret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise NoSecret from None
    if not SHORTEST <= len(key) <= LONGEST:
        raise NoSecret
    return key


def headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that let the receiver know sender, age and content. `timestamp` in seconds since 1970."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
