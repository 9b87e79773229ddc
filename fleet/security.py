"""Who the client is behind proxies, and what browsers are told beyond Django's own security headers."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ClientAddressMiddleware:
    """Makes REMOTE_ADDR the client's address behind FLEETSEAL_PROXIES proxies, for audit and limits.

    Each proxy appends the address that it was called from to X-Forwarded-For; what stands further left may be
    the client's own invention.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        forwarded = request.headers.get("X-Forwarded-For", "").split(",")
        if 0 < settings.PROXIES <= len(forwarded):
            address = forwarded[-settings.PROXIES].strip()
            # where there is no address, the proxy's own is better than nothing
            with contextlib.suppress(ValueError):
                request.META["REMOTE_ADDR"] = str(ipaddress.ip_address(address))
        return self.get_response(request)


POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # uPlot and Tabler set style attributes
        "img-src 'self' data:",  # Tabler's checkmarks are data: images
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

_SWAGGER_PATH = "/api/v1/docs/"
_SWAGGER_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")


class ContentSecurityPolicyMiddleware:
    """Nothing but our own files: what somebody manages to write into a page does not run."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = _SWAGGER_POLICY if request.path == _SWAGGER_PATH else POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
