"""Secrets at rest: encrypted under a key ring, so that a key can be replaced without an outage.

The ring is a list of Fernet keys (FLEETSEAL_ENCRYPTION_KEYS): the first encrypts, every one decrypts.
To replace a key, put the new one first, run `manage.py rotate_secrets`, then drop the old one.
Plain values exist in memory only, between `decrypt` and their use.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.translation import gettext_noop


class SecretUnreadable(Exception):
    """A stored secret that no key of the ring opens."""

    def __init__(self) -> None:
        super().__init__(
            gettext_noop(
                "a stored secret cannot be decrypted with any key in FLEETSEAL_ENCRYPTION_KEYS; "
                "add the key that it was encrypted with to the end of the list"
            )
        )


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _current() -> MultiFernet:
    return _ring(tuple(settings.ENCRYPTION_KEYS))


def encrypt(secret: bytes) -> bytes:
    """The token to store for `secret` (authenticated encryption, about a third longer)."""
    return _current().encrypt(secret)


def decrypt(token: bytes | memoryview) -> bytes:
    """The secret behind a stored token. Raises SecretUnreadable."""
    try:
        return _current().decrypt(bytes(token))
    except InvalidToken:
        raise SecretUnreadable from None


def rotate(token: bytes | memoryview) -> bytes:
    """The same secret, encrypted under the ring's first key. Raises SecretUnreadable."""
    try:
        return _current().rotate(bytes(token))
    except InvalidToken:
        raise SecretUnreadable from None


def encrypt_text(secret: str) -> bytes | None:
    """The token for a text; None for the empty one, which is not a secret."""
    return encrypt(secret.encode()) if secret else None


def decrypt_text(token: bytes | memoryview | None) -> str:
    """The text behind a token that `encrypt_text` made. Raises SecretUnreadable."""
    return decrypt(token).decode() if token else ""
