"""What browsers are told beyond Django's own security headers."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

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
