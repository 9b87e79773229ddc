"""How often a token may call: FLEETSEAL_API_RATE calls per window, counted for all web processes together."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import caches
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from devices.access import limits_of

if TYPE_CHECKING:
    # the settings name this module, and rest_framework.views reads them while it is imported
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 10
"""How long nobody asks a counter that could not be reached."""

_pause_ends = 0.0

_clock = time.time


class TokenRateThrottle(BaseThrottle):
    """Counts the calls of each token, and of each user who signed in, within windows of fixed length.

    A counter that cannot be reached limits nobody: the limit protects the service, and must not end it.
    """

    _wait = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        """False when the window's calls are used up."""
        if settings.API_RATE is None:
            return True
        calls, seconds = settings.API_RATE
        now = _clock()
        window = int(now // seconds)
        self._wait = (window + 1) * seconds - now
        used = _count(f"api-rate:{_caller(request)}:{window}", seconds)
        return used <= calls

    def wait(self) -> float:
        """Seconds until the next window, for Retry-After."""
        return self._wait


def _caller(request: Request) -> str:
    limits = limits_of(request.user)
    return f"token-{limits.token_id}" if limits else f"user-{request.user.pk}"


def _count(key: str, seconds: int) -> int:
    """The calls so far, this one included; 0 when nobody can say."""
    global _pause_ends
    if time.monotonic() < _pause_ends:
        return 0
    counters = caches["counters"]
    try:
        counters.add(key, 0, timeout=seconds)
        return int(counters.incr(key))
    except ValueError:  # the window ended between the two
        return 1
    except (RedisError, OSError) as error:
        _pause_ends = time.monotonic() + _PAUSE_SECONDS
        logger.warning("Calls are not counted for %d s: %s", _PAUSE_SECONDS, error)
        return 0
