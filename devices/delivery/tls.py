"""TLS towards devices: whom we talk to is settled by a pinned certificate before anything secret is sent.

A device begins with a certificate that its factory or it itself made, which no CA vouches for. So its fingerprint is
looked at and confirmed by a person once; after that the certificates that this product sent to it count as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from functools import cache
from typing import Any

import requests
from cryptography import x509
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from devices.delivery import probe
from devices.delivery.connectors.base import Endpoint, Presented
from devices.delivery.errors import NotConfirmed, WrongFingerprint
from devices.texts import Sentence
from scep.transport import Adapter, new_session

_NOT_CONFIRMED = Sentence(
    gettext_noop(
        "The device's certificate has not been confirmed yet, so neither password nor key was sent. Compare the "
        "SHA-256 fingerprint that it shows, %(seen)s, with the one at the device, and confirm it on the device's "
        "page."
    )
)
_ANOTHER = Sentence(
    gettext_noop(
        "A certificate with the SHA-256 fingerprint %(pinned)s was expected, or one that was installed from here; "
        "the device shows %(seen)s. Neither password nor key was sent. Find out why it changed (a reset, a repair, "
        "somebody in between) before you confirm the new one."
    )
)


def normalized(fingerprint: str) -> str:
    """A fingerprint as people write it, with colons and in capitals, as 64 lower-case hexadecimal digits."""
    return "".join(fingerprint.split()).replace(":", "").lower()


def readable(fingerprint: str) -> str:
    """Pairs of digits with colons between, as browsers and OpenSSL show it."""
    return ":".join(fingerprint[i : i + 2] for i in range(0, len(fingerprint), 2)).upper()


def present(endpoint: Endpoint, *, timeout: float, allow_old_tls: bool) -> Presented:
    """What the device shows now. Raises Unreachable."""
    leaf = probe.served_leaf(
        endpoint.host,
        endpoint.port,
        timeout,
        allow_old_tls=allow_old_tls,
        server_name=endpoint.server_name,
    )
    return Presented(hashlib.sha256(leaf).hexdigest(), _described(leaf))


def _described(leaf: bytes) -> str:
    try:
        found = x509.load_der_x509_certificate(leaf)
        return _("%(subject)s, valid until %(date)s") % {
            "subject": found.subject.rfc4514_string(),
            "date": f"{found.not_valid_after_utc:%Y-%m-%d}",
        }
    except ValueError:
        return ""


def pinned_session(
    endpoint: Endpoint,
    *,
    pinned: str,
    installed: Collection[str] = (),
    timeout: float,
    allow_old_tls: bool = False,
) -> requests.Session:
    """A session with `endpoint` alone, every connection of which shows the certificate that was seen here.

    That must be the one whose SHA-256 fingerprint is `pinned`, or one of those that were `installed`. `timeout` in
    seconds bounds this look. Raises NotConfirmed when nothing is pinned and it is none of ours, WrongFingerprint for
    another, and Unreachable; nothing was sent then.
    """
    seen = present(endpoint, timeout=timeout, allow_old_tls=allow_old_tls)
    wanted = [normalized(pinned)] if pinned else []
    if not any(hmac.compare_digest(seen.fingerprint, each) for each in [*wanted, *installed]):
        if not pinned:
            raise NotConfirmed(_NOT_CONFIRMED(seen=readable(seen.fingerprint)), seen=seen.fingerprint)
        text = _ANOTHER(pinned=readable(normalized(pinned)), seen=readable(seen.fingerprint))
        raise WrongFingerprint(text, seen=seen.fingerprint)
    session = new_session(_Pinned(seen.fingerprint, endpoint, allow_old_tls=allow_old_tls))
    session.verify = False  # the fingerprint is what counts, and urllib3 asserts it on every connection
    return session


# of its own, for urllib3 sets what it wants in it
_context = cache(probe.new_context)


class _Pinned(Adapter):
    """Connects only where the certificate has the fingerprint."""

    def __init__(self, fingerprint: str, endpoint: Endpoint, *, allow_old_tls: bool) -> None:
        self._how: dict[str, Any] = {
            "assert_fingerprint": fingerprint,
            "assert_hostname": False,
            "ssl_context": _context(allow_old_tls=allow_old_tls),
        }
        if endpoint.server_name:
            self._how["server_hostname"] = endpoint.server_name
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs | self._how)
