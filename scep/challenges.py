"""Which challenge passwords the responder takes: one for everybody, or one-time ones as NDES hands them out."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol


class Challenges(Protocol):
    """Called by the responder under its lock."""

    def accept(self, given: str, *, now: datetime) -> bool:
        """Whether a request with this challengePassword ("" for none) is granted; a one-time one is used up."""

    def outstanding(self, *, now: datetime) -> Collection[str]:
        """What messages may be encrypted under (RFC 8894 section 3.1)."""


class NoChallenge:
    """Everybody may enroll."""

    def accept(self, given: str, *, now: datetime) -> bool:
        """Yes."""
        return True

    def outstanding(self, *, now: datetime) -> Collection[str]:
        """None: there is no shared secret."""
        return ()


class SharedChallenge:
    """The same password for everybody and ever."""

    def __init__(self, challenge: str) -> None:
        self._challenge = challenge

    def accept(self, given: str, *, now: datetime) -> bool:
        """Whether it is the password."""
        return hmac.compare_digest(given.encode(), self._challenge.encode())

    def outstanding(self, *, now: datetime) -> Collection[str]:
        """The password."""
        return (self._challenge,)


class OneTimeChallenges:
    """NDES's way (quirk 19): `issue` gives a password that is good once and for an hour; five wait at most."""

    def __init__(self, *, lifetime: timedelta = timedelta(minutes=60), most: int = 5) -> None:
        self._lifetime = lifetime
        self._most = most
        self._expiry: dict[str, datetime] = {}

    def issue(self, *, now: datetime) -> str:
        """A new password. Raises RuntimeError while as many as may wait are unused, as NDES refuses then."""
        self._forget(now)
        if len(self._expiry) >= self._most:
            raise RuntimeError(f"the password cache is full: {self._most} wait to be used")
        challenge = secrets.token_hex(16).upper()
        self._expiry[challenge] = now + self._lifetime
        return challenge

    def accept(self, given: str, *, now: datetime) -> bool:
        """Whether it is one of the outstanding passwords, which it is no more afterwards."""
        self._forget(now)
        return self._expiry.pop(given, None) is not None

    def outstanding(self, *, now: datetime) -> Collection[str]:
        """Those issued, unused and not too old."""
        self._forget(now)
        return tuple(self._expiry)

    def _forget(self, now: datetime) -> None:
        self._expiry = {challenge: end for challenge, end in self._expiry.items() if end > now}
